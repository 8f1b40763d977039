// Charts: draws what the evidence lists with uPlot; decides nothing about what a chart shows.
const dashes = [[], [7, 4], [2, 3], [10, 4, 2, 4], [14, 4], [2, 7]];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? Number(value.toPrecision(3)).toExponential() : String(Number(value.toPrecision(4)));
  return text.replace("-", "−").replace("e+", "e");
}

// Lines have their own epochs: one shared axis holds them all, and a line is null where it has no point.
function aligned(lines) {
  const x = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, index) => [value, index]));
  const columns = lines.map((line) => {
    const column = new Array(x.length).fill(undefined);
    line.x.forEach((value, index) => { column[place.get(value)] = line.y[index]; });
    return column;
  });
  return [x, ...columns];
}

// The value of a line at x, between its own points on a straight line; nothing outside them.
function valueAt(x, xs, ys) {
  let low = 0;
  let high = xs.length - 1;
  if (high < 0 || x < xs[0] || x > xs[high]) return undefined;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  if (xs[high] === x || xs[high] === xs[low]) return ys[high];
  if (xs[low] === x) return ys[low];
  if (ys[low] === null || ys[high] === null) return null;
  return ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low]);
}

const shape = (mark) => document.getElementById(`mark${mark}`).getAttribute("d");

function swatch(line) {
  const made = drawn("svg", { width: 26, height: 12, viewBox: "0 -6 26 12", "aria-hidden": "true" });
  if (line.dots) [4, 13, 22].forEach((cx) => made.append(drawn("circle", { cx, cy: 0, r: 1.6, class: "dot" })));
  else made.append(drawn("line", { x1: 0, x2: 26, y1: 0, y2: 0, "stroke-dasharray": dashes[line.dash].join(" ") }));
  if (line.mark) made.append(drawn("path", { d: shape(line.mark), transform: "translate(13 0) scale(.8)" }));
  return made;
}

// Lines that the legend names: not what only repeats another, nor what ends before the axis begins.
const named = (chart, line) => !line.quiet && (!chart.x || line.x[line.x.length - 1] >= chart.x[0]);

function legend(chart) {
  const lines = chart.lines.filter((line) => named(chart, line));
  const at = element("span", { class: "at" });
  const values = lines.map(() => element("b"));
  const items = lines.map((line, index) =>
    element("li", { class: `c${line.colour}` }, swatch(line), element("bdi", {}, line.label), values[index]));
  const list = element("ul", { class: "legend" }, element("li", {}, at), ...items);
  const by = chart.by || "epoch";
  const said = (value) => (chart.places === undefined || value === undefined || value === null ? figure(value) : value.toFixed(chart.places));
  const say = (when, place) => {
    at.textContent = when;
    values.forEach((value, index) => {
      const line = lines[index];
      const x = place(line);
      const found = valueAt(x, line.x, line.y);
      const half = line.lower && found !== undefined ? (valueAt(x, line.x, line.upper) - valueAt(x, line.x, line.lower)) / 2 : null;
      value.textContent = said(found) + (half === null ? "" : ` ±${Number(half.toPrecision(2))}`);
    });
  };
  const show = (x) => say(`${by} ${chart.by ? Math.round(x).toLocaleString("en") : figure(x)}`, () => x);
  const ended = () => say("at the end", (line) => line.x[line.x.length - 1]);
  const heard = () => [at.textContent, ...lines.map((line, index) => `${line.label} ${values[index].textContent}`)].join("; ");
  return { list, show, ended, heard };
}

// Behind the lines: the band of each forecast, inside the plot only.
function bands(u, lines) {
  inside(u, () => lines.filter((line) => line.lower).forEach((line) => {
    const edge = (values) => line.x.map((x, i) => [u.valToPos(x, "x", true), u.valToPos(values[i], "y", true)]);
    u.ctx.beginPath();
    [...edge(line.upper), ...edge(line.lower).reverse()].forEach(([x, y]) => u.ctx.lineTo(x, y));
    u.ctx.fillStyle = `${colour(`--c${line.colour}`)}${line.dash ? "16" : "2b"}`;
    u.ctx.fill();
  }));
}

// Over the lines: a shape along each forecast, and the name of a line beside its end, names pushed up where they would meet.
function ends(u, lines) {
  const ratio = devicePixelRatio;
  const tags = [];
  inside(u, () => lines.forEach((line, index) => {
    const last = line.y.reduce((found, value, i) => (value === null || line.x[i] > u.scales.x.max ? found : i), -1);
    if (last < 0) return;
    const place = (x, y) => [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
    const [x, y] = place(line.x[last], line.y[last]);
    if (line.tag && line.x[last] >= u.scales.x.min) tags.push({ line, x, y: Math.min(Math.max(y, u.bbox.top), u.bbox.top + u.bbox.height) });
    if (!line.mark) return;
    const { min, max } = u.scales.x;
    const along = [0.1, 0.32, 0.54, 0.76].map((part) => min + (max - min) * (part + 0.025 * (index % 6)));
    [...along.map((at) => [at, valueAt(at, line.x, line.y)]), [line.x[last], line.y[last]]].forEach(([at, value]) => {
      if (value === undefined || value === null) return;
      u.ctx.save();
      u.ctx.translate(...place(at, value));
      u.ctx.scale(ratio * 0.85, ratio * 0.85);
      const path = new Path2D(shape(line.mark));
      u.ctx.fillStyle = colour(`--c${line.colour}`);
      u.ctx.strokeStyle = colour("--paper");
      u.ctx.lineWidth = 2;
      u.ctx.stroke(path);
      u.ctx.fill(path);
      u.ctx.restore();
    });
  }));
  tags.sort((a, b) => b.y - a.y);
  tags.forEach((name, index) => tags.slice(0, index).forEach((below) => {
    if (Math.abs(name.x - below.x) < 60 * ratio) name.y = Math.min(name.y, below.y - 13 * ratio);
  }));
  u.ctx.save();
  u.ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  u.ctx.textBaseline = "middle";
  u.ctx.textAlign = "left";
  tags.forEach(({ line, x, y }) => {
    u.ctx.lineJoin = "round";
    u.ctx.lineWidth = 3 * ratio;
    u.ctx.strokeStyle = colour("--paper");
    u.ctx.strokeText(line.tag, x + 8 * ratio, y);
    u.ctx.fillStyle = colour(`--c${line.colour}`);
    u.ctx.fillText(line.tag, x + 8 * ratio, y);
  });
  u.ctx.restore();
}

function inside(u, paint) {
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
  paint();
  u.ctx.restore();
}

function series(line) {
  const ink = colour(`--c${line.colour}`);
  const made = { label: line.label, stroke: ink, width: line.thin ? 1.25 : 2, dash: dashes[line.dash], spanGaps: false,
    points: { show: line.x.length < 3 } };
  if (!line.dots) return made;
  const crowded = line.x.length > 120;
  return { ...made, paths: () => null, points: { show: true, size: crowded ? 3.5 : 4.5, width: 0, fill: ink + (line.pale ? "44" : crowded ? "88" : "cc"), space: 0 } };
}

const steps = [1, 2, 5].flatMap((first) => [...Array(9)].map((_, power) => first * 10 ** power)).sort((a, b) => a - b);

function options(chart, width, height, show) {
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--soft"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif", gap: 6 };
  const tagged = chart.lines.some((line) => line.tag);
  const all = (u) => [u.data[0][0], u.data[0][u.data[0].length - 1]];
  const seen = (u, low, high) => (chart.x && low <= all(u)[0] && high >= all(u)[1] ? chart.x : [low, high]);
  const label = (value) => (chart.places === undefined ? figure(value) : String(Number(value.toFixed(chart.places + 1))));
  return {
    width, height, legend: { show: false }, padding: [8, tagged ? 64 : 10, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: true, y: false }, sync: chart.sync ? { key: chart.sync, scales: ["x", null] } : undefined },
    scales: { x: { time: false, ...(chart.x ? { range: seen } : {}) }, y: { range: (u, low, high) => chart.range || [low, high] } },
    axes: [
      { ...axis, size: 30, incrs: steps, ...(chart.by ? { space: 64 } : {}) },
      { ...axis, size: 52, values: (u, marks) => marks.map(label), space: 36 },
    ],
    series: [{}, ...chart.lines.map(series)],
    hooks: {
      setCursor: [(u) => show(u.cursor.idx)],
      drawAxes: [(u) => bands(u, chart.lines)],
      draw: [(u) => ends(u, chart.lines)],
    },
  };
}

// Arrow keys walk along the curves, over at most a hundred places, the page keys over ten of them; Home and End jump to the ends.
function walk(event, plot, stops) {
  const now = plot.cursor.idx === null || plot.cursor.idx === undefined ? stops[stops.length - 1] : plot.cursor.idx;
  const after = stops.findIndex((stop) => stop > now);
  const before = stops.filter((stop) => stop < now).length - 1;
  const end = stops.length - 1;
  const target = {
    ArrowLeft: Math.max(before, 0), ArrowRight: after < 0 ? end : after, Home: 0, End: end,
    PageUp: Math.max(before - 9, 0), PageDown: after < 0 ? end : Math.min(after + 9, end),
  }[event.key];
  if (target === undefined || event.ctrlKey || event.altKey || event.metaKey) return false;
  event.preventDefault();
  plot.setCursor({ left: plot.valToPos(plot.data[0][stops[target]], "x"), top: 0 }, true, true);
  return true;
}

function stopsOf(chart, x) {
  const seen = x.map((_, index) => index).filter((index) => !chart.x || (x[index] >= chart.x[0] && x[index] <= chart.x[1]));
  const most = chart.by ? 101 : seen.length;
  return seen.length <= most ? seen : [...Array(most)].map((_, i) => seen[Math.round(i * (seen.length - 1) / (most - 1))]);
}

function draw(place, chart) {
  const data = aligned(chart.lines);
  const stops = stopsOf(chart, data[0]);
  const last = stops[stops.length - 1];
  const { list, show, ended, heard } = legend(chart);
  const final = chart.lines.filter((line) => named(chart, line)).map((line) => `${line.label} ${figure(line.y.filter((value) => value !== null).pop())}`);
  const canvas = element("div", {
    class: "draw", role: "application", "aria-roledescription": "chart, arrow keys move along it", tabindex: "0",
    "aria-label": `${chart.unit} by ${chart.by || "epoch"}; at the end: ${final.join("; ")}`,
  });
  const live = element("p", { class: "said sr", role: "status" }); // what the keys came to, for those who do not see it
  let saying = 0;
  const hear = () => {
    clearTimeout(saying);
    saying = setTimeout(() => { live.textContent = heard(); }, 150); // uPlot moves its cursor in the next frame
  };
  place.querySelectorAll(".draw, .legend, .said").forEach((old) => old.remove());
  place.append(canvas, ...(chart.bare ? [] : [list]), live);
  const height = chart.low || place.parentElement.classList.contains("three") ? 180 : chart.by ? 320 : 250;
  const none = (index) => index === null || index === undefined;
  const pick = (index) => (none(index) && chart.by ? ended() : show(data[0][none(index) ? last : index]));
  const plot = new uPlot(options(chart, canvas.clientWidth, height, pick), data, canvas);
  pick(null);
  canvas.addEventListener("keydown", (event) => { if (walk(event, plot, stops)) hear(); });
  const watcher = new ResizeObserver(() => {
    const width = canvas.clientWidth;
    if (width && width !== plot.width && !matchMedia("print").matches) plot.setSize({ width, height });
  });
  watcher.observe(canvas);
  return () => { clearTimeout(saying); watcher.disconnect(); plot.destroy(); };
}
