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
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
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

function legend(lines) {
  const at = element("span", { class: "at" });
  const values = lines.map(() => element("b"));
  const items = lines.map((line, index) => {
    const swatch = drawn("svg", { width: 26, height: 8, "aria-hidden": "true" });
    swatch.append(drawn("line", { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-dasharray": dashes[line.dash].join(" ") }));
    return element("li", { class: `c${line.colour}` }, swatch, element("bdi", {}, line.label), values[index]);
  });
  const list = element("ul", { class: "legend" }, element("li", {}, at), ...items);
  const show = (x, columns, index) => {
    at.textContent = `epoch ${figure(x[index])}`;
    values.forEach((value, line) => { value.textContent = figure(columns[line][index]); });
  };
  return { list, show };
}

function options(chart, width, height, show) {
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--soft"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif", gap: 6 };
  return {
    width, height, legend: { show: false }, padding: [8, 10, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: { range: (u, low, high) => chart.range || [low, high] } },
    axes: [
      { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
      { ...axis, size: 52, values: (u, marks) => marks.map(figure), space: 36 },
    ],
    series: [{}, ...chart.lines.map((line) => ({
      label: line.label, stroke: colour(`--c${line.colour}`), width: 2, dash: dashes[line.dash],
      spanGaps: false, points: { show: line.x.length < 3 },
    }))],
    hooks: { setCursor: [(u) => show(u.cursor.idx)] },
  };
}

// Arrow keys walk along the curves; Home and End jump to their ends.
function walk(event, plot, length) {
  const now = plot.cursor.idx === null || plot.cursor.idx === undefined ? length - 1 : plot.cursor.idx;
  const target = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: length - 1 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  const index = Math.max(0, Math.min(length - 1, target));
  plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: 0 });
}

function draw(place, chart) {
  const data = aligned(chart.lines);
  const last = data[0].length - 1;
  const { list, show } = legend(chart.lines);
  const ends = chart.lines.map((line) => figure(line.y.filter((value) => value !== null).pop()));
  const canvas = element("div", {
    class: "draw", role: "img", tabindex: "0",
    "aria-label": `${chart.unit} by epoch; at the end: ` + chart.lines.map((line, i) => `${line.label} ${ends[i]}`).join("; "),
  });
  place.querySelectorAll(".draw, .legend").forEach((old) => old.remove());
  place.append(canvas, list);
  const height = place.parentElement.classList.contains("three") ? 180 : 250;
  const pick = (index) => show(data[0], data.slice(1), index === null || index === undefined ? last : index);
  const plot = new uPlot(options(chart, canvas.clientWidth, height, pick), data, canvas);
  pick(last);
  canvas.addEventListener("keydown", (event) => walk(event, plot, data[0].length));
  const watcher = new ResizeObserver(() => {
    const width = canvas.clientWidth;
    if (width && width !== plot.width && !matchMedia("print").matches) plot.setSize({ width, height });
  });
  watcher.observe(canvas);
  return () => { watcher.disconnect(); plot.destroy(); };
}
