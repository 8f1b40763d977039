// A log read in the page: CSV with a header, or one JSON object a line; every column of numbers becomes a series.
const LOG_ROLES = [
  ["lr", /^(train_|optim(izer)?_)?(lr|learning_?rate)(_\w+)?$/],
  ["validation loss", /^(val|valid|validation|eval|dev)_loss(_epoch|_step)?$/],
  ["training loss", /^(train(ing)?_)?loss(_epoch|_step)?$/],
  ["validation accuracy", /^(val|valid|validation|eval|dev)_acc(uracy)?$/],
  ["training accuracy", /^(train(ing)?_)?acc(uracy)?$/],
  ["gradient norm", /^(train_)?grad(ient)?_norm$/],
];
const STEP_NAMES = [["step", /^(train(er)?_)?(global_)?(step|steps|iter|iters|iteration|iterations)$/], ["epoch", /^epochs?$/]];
const plainName = (name) => name.split(" - ").pop().toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "");

function splitRows(text, separator) {
  const rows = [[]];
  let cell = "";
  let inside = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (inside && c === '"' && text[i + 1] === '"') { cell += c; i += 1; }
    else if (c === '"') inside = !inside;
    else if (!inside && (c === separator || c === "\n")) {
      rows[rows.length - 1].push(cell.trim());
      cell = "";
      if (c === "\n") rows.push([]);
    } else if (c !== "\r") cell += c;
  }
  rows[rows.length - 1].push(cell.trim());
  return rows.filter((row) => row.some(Boolean));
}

function tableOf(text) {
  const head = text.slice(0, text.search(/\r?\n|$/));
  const separator = [",", ";", "\t"].map((one) => [head.split(one).length, one]).sort((a, b) => b[0] - a[0])[0][1];
  const [names, ...rows] = splitRows(text, separator);
  if (!names || names.length < 2) throw new Refused("one column only. Separate columns by comma, semicolon or tab.", "DataError");
  return { names, rows: rows.filter((row) => row.join() !== names.join()).map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]]))) };
}

function objectsOf(text) {
  const notes = [];
  const rows = [];
  text.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    try {
      const row = JSON.parse(line);
      if (row && typeof row === "object" && !Array.isArray(row)) rows.push(row);
      else notes.push(`line ${i + 1} holds no object and was left out`);
    } catch { notes.push(`line ${i + 1} is not JSON and was left out`); }
  });
  return { names: [...new Set(rows.flatMap((row) => Object.keys(row)))], rows, notes };
}

// {series: {name: {step, value}}, roles, unit, notes}, as `POST /api/log` answers.
function readLog(text) {
  const json = text.trimStart().startsWith("{");
  if (text.trimStart().startsWith("{") && text.includes('"log_history"')) throw new Refused("this is a trainer_state.json; the page alone reads CSV and JSONL. `dwindle lab` reads it.", "DataError");
  const { names, rows, notes = [] } = json ? objectsOf(text) : tableOf(text);
  if (!rows.length) throw new Refused("no rows. Was anything logged?", "DataError");
  const number = (value) => (typeof value === "number" ? value : typeof value === "string" && value !== "" && !/^(nan|inf|-inf)$/i.test(value) ? Number(value) : NaN);
  const [unit, by] = STEP_NAMES.map(([kind, pattern]) => [kind, names.find((name) => pattern.test(plainName(name)))]).find(([, name]) => name !== undefined) || ["row", undefined];
  const series = {};
  names.forEach((name) => {
    if (name === by) return;
    const points = rows.map((row, i) => [by === undefined ? i : number(row[by]), number(row[name])]).filter(([step, value]) => Number.isFinite(step) && Number.isFinite(value));
    if (points.length) series[name] = { step: points.map(([step]) => step), value: points.map(([, value]) => value) };
  });
  if (!Object.keys(series).length) throw new Refused("no column of numbers was found. Is this a log?", "DataError");
  const roles = {};
  LOG_ROLES.forEach(([role, pattern]) => {
    const found = Object.keys(series).find((name) => pattern.test(plainName(name)));
    if (found) roles[role] = found;
  });
  return { series, roles, unit, notes };
}
