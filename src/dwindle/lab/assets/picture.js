// A picture in SVG: axes, lines, dots, bars and marks, in the colours of the style sheet; arrows walk along its lines.
const DASHES = ["", "7 4", "2 3", "10 4 2 4", "14 4"];

function ticksOf(low, high, log, most, whole) {
  if (!(high > low)) return [low];
  if (log) {
    const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const every = Math.max(1, Math.ceil((last - first + 1) / most));
    const powers = [];
    for (let power = first; power <= last; power += every) powers.push(10 ** power);
    if (powers.length > 2) return powers;
    const fine = [];
    for (let power = first - 1; power <= last; power += 1) [1, 2, 5].forEach((digit) => { if (digit * 10 ** power >= low * (1 - 1e-9) && digit * 10 ** power <= high * (1 + 1e-9)) fine.push(Number((digit * 10 ** power).toPrecision(3))); });
    return fine;
  }
  const rough = Math.max((high - low) / most, whole ? 1 : 0);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * size).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(Number((at * step).toPrecision(12)));
  return found;
}

class Picture {
  // x, y: {name, log, range, show, whole}, whole where only whole numbers have a meaning; parts are drawn by draw(parts, axes).
  constructor(place, { title, x, y, height = 260, by = x.name }) {
    Object.assign(this, { x, y, height, by, title });
    this.svg = drawn("svg", { role: "img", tabindex: "0", class: "picture-svg" });
    this.legend = element("ul", { class: "legend" });
    this.root = element("figure", { class: "picture" }, element("figcaption", {}, title), this.svg, this.legend);
    place.append(this.root);
    this.parts = [];
    this.spot = null;
    new ResizeObserver(() => this.paint()).observe(this.root);
    this.svg.addEventListener("pointermove", (event) => { this.spot = this.unscale(event.clientX - this.svg.getBoundingClientRect().left); this.point(); });
    this.svg.addEventListener("pointerleave", () => { this.spot = null; this.point(); });
    this.svg.addEventListener("blur", () => { this.spot = null; this.point(); });
    this.svg.addEventListener("keydown", (event) => this.walk(event));
  }

  // parts: {kind: "line" | "dots" | "bars" | "across" | "upright" | "shape", colour, label, x, y, dash, thin, quiet}
  draw(parts, { x = {}, y = {} } = {}) {
    this.parts = parts;
    this.x = { ...this.x, ...x };
    this.y = { ...this.y, ...y };
    this.paint();
  }

  limits(axis, which) {
    if (axis.range) return axis.range;
    let [low, high] = [Infinity, -Infinity];
    this.parts.forEach((part) => {
      if (part.outside) return;
      (part[which] || []).forEach((value) => {
        if (value === null || !Number.isFinite(value) || (axis.log && value <= 0)) return;
        if (value < low) low = value;
        if (value > high) high = value;
      });
    });
    if (low > high) return axis.log ? [0.1, 1] : [0, 1];
    if (axis.zero) low = Math.min(0, low);
    if (low === high) return axis.log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.5, high + (Math.abs(high) || 1) * 0.5];
    const room = which === "y" ? 0.05 : 0;
    return axis.log ? [low / (high / low) ** room, high * (high / low) ** room] : [low === 0 && axis.zero ? 0 : low - (high - low) * room, high + (high - low) * room];
  }

  paint() {
    const width = this.root.clientWidth;
    if (!width) return;
    const box = { left: 54, right: width - 12, top: 10, bottom: this.height - 34 };
    const scaleOf = ([low, high], log, from, to) => {
      const f = log ? Math.log10 : (v) => v;
      return (value) => from + (f(value) - f(low)) / (f(high) - f(low)) * (to - from);
    };
    this.xs = this.limits(this.x, "x");
    this.ys = this.limits(this.y, "y");
    this.box = box;
    this.px = scaleOf(this.xs, this.x.log, box.left, box.right);
    const py = scaleOf(this.ys, this.y.log, box.bottom, box.top);
    this.py = (value) => Math.max(-1e4, Math.min(1e4, py(value)));
    const back = this.axes(width);
    const clip = `clip-${this.title.replace(/\W+/g, "-")}`;
    const front = drawn("g", { "clip-path": `url(#${clip})` }, ...this.parts.map((part) => this.part(part)));
    this.cursor = drawn("g", { class: "cursor" });
    this.svg.replaceChildren(drawn("clipPath", { id: clip }, drawn("rect", { x: box.left - 5, y: box.top - 5, width: box.right - box.left + 10, height: box.bottom - box.top + 10 })), back, front, this.cursor);
    put(this.svg, { viewBox: `0 0 ${width} ${this.height}`, width, height: this.height }, []);
    this.key();
    this.point();
  }

  axes() {
    const { box } = this;
    const say = (axis) => axis.show || ((value) => figure(value));
    const across = ticksOf(...this.ys, this.y.log, this.height > 200 ? 6 : 4).map((value) => {
      const at = this.py(value);
      return drawn("g", {}, drawn("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }), drawn("text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, say(this.y)(value)));
    });
    const upright = ticksOf(...this.xs, this.x.log, Math.max(2, Math.floor((box.right - box.left) / 80)), this.x.whole).map((value) => {
      const at = this.px(value);
      return drawn("g", {}, drawn("line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom }), drawn("text", { x: at, y: box.bottom + 15, "text-anchor": at > box.right - 14 ? "end" : "middle" }, say(this.x)(value)));
    });
    return drawn("g", { class: "axes" }, ...across, ...upright, drawn("text", { class: "axis-name", x: box.right, y: this.height - 5, "text-anchor": "end" }, this.x.name));
  }

  part(part) {
    const { box } = this;
    const kind = `c${part.colour ?? 0}`;
    const dash = DASHES[part.dash || 0];
    if (part.kind === "across") return drawn("line", { class: `line ${kind}`, x1: box.left, x2: box.right, y1: this.py(part.y[0]), y2: this.py(part.y[0]), "stroke-dasharray": dash });
    if (part.kind === "upright") return drawn("line", { class: `line thin ${kind}`, x1: this.px(part.x[0]), x2: this.px(part.x[0]), y1: box.top, y2: box.bottom, "stroke-dasharray": dash || "4 3" });
    if (part.kind === "dots") return drawn("g", { class: `dots ${kind}` }, ...part.x.map((x, i) => (this.seen(part.y[i]) ? drawn("circle", { cx: this.px(x), cy: this.py(part.y[i]), r: part.size || 3.2 }) : "")));
    if (part.kind === "bars") {
      const wide = Math.max(2, (box.right - box.left) / part.x.length * 0.6);
      const zero = this.py(0);
      return drawn("g", { class: `bars ${kind}` }, ...part.x.map((x, i) => drawn("rect", { x: this.px(x) - wide / 2, width: wide, y: Math.min(zero, this.py(part.y[i])), height: Math.max(1, Math.abs(this.py(part.y[i]) - zero)) })));
    }
    let pen = "M";
    const path = part.x.map((x, i) => {
      if (!this.seen(part.y[i])) { pen = "M"; return ""; }
      const made = `${pen}${this.px(x).toFixed(1)} ${this.py(part.y[i]).toFixed(1)}`;
      pen = "L";
      return made;
    }).join("");
    return drawn("path", { class: `line ${kind}${part.thin ? " thin" : ""}${part.pale ? " pale" : ""}`, d: path, "stroke-dasharray": dash });
  }

  seen(value) { return value !== null && Number.isFinite(value) && !(this.y.log && value <= 0); }
  get named() { return this.parts.filter((part) => part.label && !part.quiet); }

  key() {
    this.values = this.named.map(() => element("b"));
    this.spotted = element("li", { class: "at" });
    this.legend.replaceChildren(this.spotted, ...this.named.map((part, i) => element("li", { class: `c${part.colour ?? 0}` }, this.swatch(part), element("span", {}, part.label), this.values[i])));
  }

  swatch(part) {
    const made = drawn("svg", { width: 26, height: 12, viewBox: "0 -6 26 12", "aria-hidden": "true" });
    if (part.kind === "dots") [5, 13, 21].forEach((cx) => made.append(drawn("circle", { cx, cy: 0, r: 3, class: "dot" })));
    else if (part.kind === "bars") made.append(drawn("rect", { x: 4, y: -5, width: 18, height: 10, class: "dot" }));
    else made.append(drawn("line", { x1: 0, x2: 26, y1: 0, y2: 0, "stroke-dasharray": DASHES[part.dash || (part.kind === "upright" ? 1 : 0)] }));
    return made;
  }

  unscale(pixel) {
    const { left, right } = this.box;
    const share = Math.min(1, Math.max(0, (pixel - left) / (right - left)));
    const [low, high] = this.xs;
    return this.x.log ? low * (high / low) ** share : low + (high - low) * share;
  }

  // The place of the part's value nearest to x.
  nearest(part, x) {
    let best = -1;
    const away = (value) => (this.x.log ? Math.abs(Math.log(value / x)) : Math.abs(value - x));
    part.x.forEach((value, i) => { if (part.y[i] !== null && (best < 0 || away(value) < away(part.x[best]))) best = i; });
    return best;
  }

  point() {
    if (!this.values) return;
    const show = this.y.show || ((value) => figure(value));
    const lines = this.named;
    const told = [];
    this.cursor.replaceChildren();
    let at = null;
    lines.forEach((part, i) => {
      if (part.kind === "across" || part.kind === "upright" || part.kind === "shape") { this.values[i].textContent = part.value ?? ""; return; }
      const index = this.spot === null ? part.here ?? part.x.length - 1 : this.nearest(part, this.spot);
      const value = part.y[index];
      this.values[i].textContent = this.spot === null && part.plain ? "" : show(value);
      if (value !== undefined && value !== null) told.push(`${part.label} ${show(value)}`);
      if (this.spot !== null && index >= 0 && this.seen(value)) {
        at ??= part.x[index];
        this.cursor.append(drawn("circle", { class: `c${part.colour ?? 0}`, cx: this.px(part.x[index]), cy: this.py(value), r: 4 }));
      }
    });
    const say = this.x.show || ((value) => figure(value));
    this.spotted.textContent = at === null ? "" : `${this.by} ${say(at)}`;
    this.svg.setAttribute("aria-label", `${this.title}. ${at === null ? "" : `${this.by} ${say(at)}: `}${told.join("; ")}`);
  }

  walk(event) {
    const part = this.named.find((one) => one.kind === "line");
    if (!part || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const last = part.x.length - 1;
    const now = this.spot === null ? last : this.nearest(part, this.spot);
    const by = Math.max(1, Math.round(last / 60));
    this.spot = part.x[{ ArrowLeft: Math.max(0, now - by), ArrowRight: Math.min(last, now + by), Home: 0, End: last }[event.key]];
    this.point();
  }
}
