// Numbers as Python writes and checks them, and the error every part of the page raises: what was given, why not, what to do.
class Refused extends Error {
  constructor(said, kind = "InvalidValueError") { super(said); this.kind = kind; }
}

const digitsOf = (value) => {
  for (let digits = 0; digits < 17; digits += 1) {
    const text = value.toExponential(digits);
    if (Number(text) === value) return text;
  }
  return value.toExponential(17);
};

// repr(float): the shortest digits; an exponent below 1e-4 and from 1e16 on.
function repr(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa, exponent] = digitsOf(value).split("e");
  const power = Number(exponent);
  if (power < -4 || power >= 16) return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  const text = value.toFixed(Math.max(0, mantissa.replace(/[-.]/g, "").length - 1 - power));
  return text.includes(".") ? text : `${text}.0`;
}

// f"{value:.{digits}g}"
function general(value, digits = 6) {
  if (!Number.isFinite(value)) return repr(value);
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const power = Number(exponent);
  const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (power < -4 || power >= digits) return `${bare(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  return bare(value.toFixed(Math.max(0, digits - 1 - power)));
}

// The shortest text that reads back as the value: 1e9, 0.1, 3e-4.
function short(value) {
  const plain = repr(value).replace(/\.0$/, "");
  const [mantissa, exponent] = digitsOf(value).split("e");
  const scientific = `${mantissa}e${Number(exponent)}`;
  return plain.includes("e") || scientific.length < plain.length ? scientific : plain;
}

const shortWhole = (value) => (Number.isInteger(value) && (Math.abs(value) < 1e6 || value % 1000 !== 0) ? String(value) : short(value));

// As a percentage where that reads back exactly, else as a number, but never as a bare 2, 3, …
function percent(value) {
  const share = general(value * 100, 12);
  if (!share.includes("e") && Number(share) / 100 === value) return `${share}%`;
  const number = short(value);
  return /^\d+$/.test(number) ? `${Number(number) * 100}%` : number;
}

function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const names = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [mark]: `\\${mark}` };
  return mark + Array.from(text, (c) => names[c] || (c < " " || c === "\x7f" ? `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}` : c)).join("") + mark;
}

function shown(value) {
  const text = typeof value === "string" ? quoted(value) : typeof value === "number" && !Number.isInteger(value) ? repr(value) : String(value);
  return Array.from(text).length <= 60 ? text : `${Array.from(text).slice(0, 57).join("")}...`;
}

const bound = (word, low) => (low === 0 ? { "at least": "zero or more", above: "positive" }[word] : `${word} ${general(low)}`);

function real(name, value, { low = -Infinity, high = Infinity, above = -Infinity, below = Infinity, remedy = "" } = {}) {
  const refuse = (rule) => { throw new Refused(`${name} must be ${rule}; got ${shown(value)}.${remedy ? ` ${remedy}` : ""}`); };
  if (typeof value !== "number") refuse("a real number");
  if (!Number.isFinite(value)) refuse("finite");
  if (value < low) refuse(bound("at least", low));
  if (value > high) refuse(`at most ${general(high)}`);
  if (value <= above) refuse(bound("above", above));
  if (value >= below) refuse(`below ${general(below)}`);
  return value;
}

function count(name, value, { low = 1, remedy = "" } = {}) {
  const refuse = (rule) => { throw new Refused(`${name} must be ${rule}; got ${shown(value)}.${remedy ? ` ${remedy}` : ""}`); };
  if (typeof value !== "number" || !Number.isInteger(value)) refuse("a whole number");
  if (value < low) refuse(low === 1 ? "positive" : `at least ${low}`);
  return value;
}

function known(name, value, choices) {
  if (choices.includes(value)) return value;
  throw new Refused(`${name} ${shown(value)} is not known; ${suggestion(value, choices)}`, "UnknownNameError");
}

// difflib's ratio: twice the letters in common blocks over the letters of both.
function matched(a, b) {
  let best = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    for (let j = 0; j < b.length; j += 1) {
      let size = 0;
      while (i + size < a.length && j + size < b.length && a[i + size] === b[j + size]) size += 1;
      if (size > best[2]) best = [i, j, size];
    }
  }
  const [i, j, size] = best;
  return size ? size + matched(a.slice(0, i), b.slice(0, j)) + matched(a.slice(i + size), b.slice(j + size)) : 0;
}

function suggestion(value, options) {
  const names = [...options].sort();
  const word = String(value).slice(0, 80);
  let near = null;
  let score = 0.6;
  names.forEach((name) => {
    const ratio = name.length + word.length ? 2 * matched(name, word) / (name.length + word.length) : 1;
    if (ratio >= score) { near = name; score = ratio; }
  });
  return near === null ? `it must be one of ${names.join(", ")}.` : `did you mean ${quoted(near)}?`;
}

const words = (...pairs) => pairs.filter(([, text]) => text !== null).map(([word, text]) => `${word} ${text}`.trim()).join(" ");
