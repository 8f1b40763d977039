// Elements of the page, and the controls: a slider with its label and its number, a choice, a button.
const SVG = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  Object.entries(attributes).forEach(([key, value]) => { if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value); });
  node.append(...children);
  return node;
}

const element = (name, attributes = {}, ...children) => put(document.createElement(name), attributes, children);
const drawn = (name, attributes = {}, ...children) => put(document.createElementNS(SVG, name), attributes, children);
const byId = (id) => document.getElementById(id);

// Four digits, as a reader wants them.
function figure(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? Number(value.toPrecision(Math.min(digits, 3))).toExponential() : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e");
}

const whole = (value) => Math.round(value).toLocaleString("en");
let numbered = 0;

// A range input: `scale` "log" moves by equal ratios; `zero` makes the left end 0. change(value) is called on every move.
function slider(place, { label, low, high, step, value, scale = "plain", zero = false, show = figure, change }) {
  const id = `control-${(numbered += 1)}`;
  const log = scale === "log";
  const to = (position) => (!log ? position : zero && position <= Math.log10(low) - step / 2 ? 0 : Number((10 ** position).toPrecision(3)));
  const from = (number) => (!log ? number : number <= 0 ? Math.log10(low) - step : Math.log10(number));
  const bottom = log ? Math.log10(low) - (zero ? step : 0) : low;
  const input = element("input", { type: "range", id, min: bottom, max: log ? Math.log10(high) : high, step: log ? step : step });
  const output = element("output", { for: id });
  let now = value;
  const say = () => { output.textContent = show(now); input.setAttribute("aria-valuetext", show(now)); };
  const set = (number) => { now = number; input.value = from(number); say(); };
  input.addEventListener("input", () => { now = to(Number(input.value)); say(); change(now); });
  const root = element("div", { class: "control" }, element("label", { for: id }, label), output, input);
  place.append(root);
  set(value);
  return { get value() { return now; }, set, input, enable: (on) => { input.disabled = !on; root.classList.toggle("off", !on); } };
}

function choice(place, { label, options, value, change }) {
  const id = `control-${(numbered += 1)}`;
  const select = element("select", { id }, ...options.map(([key, said]) => element("option", { value: key }, said)));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  place.append(element("div", { class: "control choice" }, element("label", { for: id }, label), select));
  return { get value() { return select.value; }, set: (key) => { select.value = key; }, input: select };
}

function button(place, said, act, kind = "") {
  const made = element("button", { type: "button", class: kind }, said);
  made.addEventListener("click", act);
  place.append(made);
  return made;
}

// Pairs of name and number that a screen reader reads as a list, and the eye as a row of figures.
function facts(place) {
  const list = element("dl", { class: "numbers" });
  place.append(list);
  const shownNow = new Map();
  return (pairs) => {
    pairs.forEach(([name, text]) => {
      if (!shownNow.has(name)) {
        const value = element("dd");
        shownNow.set(name, value);
        list.append(element("div", {}, element("dt", {}, name), value));
      }
      shownNow.get(name).textContent = text;
    });
  };
}

// A folded table of the numbers behind a picture.
function numbersTable(place, caption) {
  const body = element("tbody");
  const head = element("thead");
  const details = element("details", { class: "behind" }, element("summary", {}, caption),
    element("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": caption }, element("table", {}, element("caption", { class: "sr" }, caption), head, body)));
  place.append(details);
  let last = null;
  const fill = () => {
    if (!details.open || !last) return;
    const [names, rows] = last;
    head.replaceChildren(element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name))));
    body.replaceChildren(...rows().map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, typeof cell === "number" ? figure(cell, 6) : cell ?? "–")))));
  };
  details.addEventListener("toggle", fill);
  return (names, rows) => { last = [names, rows]; fill(); };
}

// At most once a frame, with the latest values.
function eachFrame(act) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; act(); });
  };
}

function later(milliseconds, act) {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => act(...values), milliseconds); };
}

function copyButton(source, name, said = "Copy") {
  const made = element("button", { type: "button", "aria-label": `${said}: ${name}` }, said);
  const say = (text) => { made.textContent = text; setTimeout(() => { made.textContent = said; }, 2000); };
  made.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source());
      say("Copied");
    } catch {
      say("Select, Ctrl+C");
    }
  });
  return made;
}
