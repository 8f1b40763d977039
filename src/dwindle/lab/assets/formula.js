// A schedule written as a formula of the step, in Python's notation: read by hand, never run as code.
const FORMULA_FUNCTIONS = ["abs", "cos", "exp", "floor", "log", "max", "min", "sin", "sqrt", "tanh"];
const FORMULA_TOKEN = /\s+|(?<number>(?:\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign>\*\*|\/\/|<=|>=|==|!=|[-+*/%<>()[\],])|(?<other>.)/gsu;
// How tightly each part binds, in the order of Python's own grammar.
const BINDS = { test: 4, or: 6, and: 7, not: 8, compare: 9, sum: 15, product: 16, sign: 17, power: 18, atom: 20 };
const DEEPEST_FORMULA = 60;

class FormulaReader {
  constructor(text) {
    this.text = text;
    this.tokens = [...text.matchAll(FORMULA_TOKEN)].filter((m) => m.groups.number || m.groups.name || m.groups.sign || m.groups.other).map((m) => ({ kind: Object.keys(m.groups).find((k) => m.groups[k] !== undefined), text: m[0] }));
    this.at = 0;
    this.depth = 0;
  }

  get here() { return this.tokens[this.at] || { kind: "end", text: "" }; }
  took(...signs) {
    const { kind, text } = this.here;
    if ((kind !== "sign" && kind !== "name") || !signs.includes(text)) return null;
    this.at += 1;
    return text;
  }

  fail(why) { throw new Refused(`${shown(this.text)} is not a formula: ${why}.`, "ParseError"); }
  expect(sign) { if (!this.took(sign)) this.fail(`${shown(sign)} was expected, got ${this.here.text ? shown(this.here.text) : "the end"}`); }

  whole() {
    const node = this.choice();
    if (this.here.kind !== "end") this.fail("invalid syntax");
    return node;
  }

  choice() {
    this.depth += 1;
    if (this.depth > 2 * DEEPEST_FORMULA) throw new Refused(`a formula nests at most ${DEEPEST_FORMULA} deep; for many values use a table.`, "ParseError");
    const yes = this.either();
    let node = yes;
    if (this.took("if")) {
      const test = this.either();
      this.expect("else");
      node = { kind: "choice", test, yes, no: this.choice() };
    }
    this.depth -= 1;
    return node;
  }

  either() { return this.logic("or", () => this.logic("and", () => this.negated())); }

  logic(word, next) {
    const parts = [next()];
    while (this.took(word)) parts.push(next());
    return parts.length === 1 ? parts[0] : { kind: "logic", word, parts };
  }

  negated() { return this.took("not") ? { kind: "sign", sign: "not", of: this.negated() } : this.comparison(); }

  comparison() {
    const sides = [this.sum()];
    const signs = [];
    for (let sign = this.took("<", "<=", ">", ">=", "==", "!="); sign; sign = this.took("<", "<=", ">", ">=", "==", "!=")) { signs.push(sign); sides.push(this.sum()); }
    return signs.length ? { kind: "compare", signs, sides } : sides[0];
  }

  sum() { return this.chain(["+", "-"], () => this.chain(["*", "/", "//", "%"], () => this.signed())); }

  chain(signs, next) {
    let node = next();
    for (let sign = this.took(...signs); sign; sign = this.took(...signs)) node = { kind: "operation", sign, left: node, right: next() };
    return node;
  }

  signed() {
    const sign = this.took("+", "-");
    if (!sign) return this.powers();
    this.depth += 1;
    if (this.depth > 2 * DEEPEST_FORMULA) this.fail("too many signs");
    const node = { kind: "sign", sign, of: this.signed() };
    this.depth -= 1;
    return node;
  }

  powers() {
    const base = this.primary();
    return this.took("**") ? { kind: "operation", sign: "**", left: base, right: this.signed() } : base;
  }

  primary() {
    let node = this.atom();
    for (;;) {
      if (this.took("(")) node = { kind: "call", of: node, parts: this.items(")").parts };
      else if (this.took("[")) { node = { kind: "lookup", of: node, index: this.choice() }; this.expect("]"); } else return node;
    }
  }

  items(close) {
    const parts = [];
    let comma = false;
    while (!this.took(close)) {
      if (parts.length && !comma) this.fail(`${shown(close)} was expected`);
      parts.push(this.choice());
      comma = Boolean(this.took(","));
    }
    return { parts, comma };
  }

  atom() {
    const { kind, text } = this.here;
    if (kind === "number") {
      this.at += 1;
      const whole = /^[\d_]+$/.test(text);
      if (whole && /^0[\d_]*[1-9]/.test(text)) this.fail("a whole number does not begin with 0");
      return { kind: "number", value: Number(text.replaceAll("_", "")), whole };
    }
    if (kind === "name" && !["if", "else", "or", "and", "not"].includes(text)) { this.at += 1; return { kind: "name", name: text }; }
    if (this.took("[")) return { kind: "list", ...this.items("]"), open: "[" };
    if (this.took("(")) {
      const { parts, comma } = this.items(")");
      return parts.length === 1 && !comma ? parts[0] : { kind: "list", parts, open: "(" };
    }
    return this.fail("invalid syntax");
  }
}

const OPERATION_BINDS = { "+": BINDS.sum, "-": BINDS.sum, "*": BINDS.product, "/": BINDS.product, "//": BINDS.product, "%": BINDS.product, "**": BINDS.power };

// One spelling for equal formulas: Python's ast.unparse.
function spelled(node, tight = BINDS.test) {
  const wrap = (binds, text) => (tight > binds ? `(${text})` : text);
  const among = (parts) => parts.map((part) => spelled(part)).join(", ");
  switch (node.kind) {
    case "number": return node.whole ? String(node.value) : repr(node.value);
    case "name": return node.name;
    case "list": return node.open === "[" ? `[${among(node.parts)}]` : `(${among(node.parts)}${node.parts.length === 1 ? "," : ""})`;
    case "call": return `${spelled(node.of, BINDS.atom)}(${among(node.parts)})`;
    case "lookup": return `${spelled(node.of, BINDS.atom)}[${spelled(node.index)}]`;
    case "choice": return wrap(BINDS.test, `${spelled(node.yes, BINDS.test + 1)} if ${spelled(node.test, BINDS.test + 1)} else ${spelled(node.no, BINDS.test)}`);
    case "logic": return wrap(BINDS[node.word], node.parts.map((part, i) => spelled(part, BINDS[node.word] + i + 1)).join(` ${node.word} `));
    case "compare": return wrap(BINDS.compare, node.sides.map((side, i) => (i ? `${node.signs[i - 1]} ` : "") + spelled(side, BINDS.compare + 1)).join(" "));
    case "sign": return node.sign === "not" ? wrap(BINDS.not, `not ${spelled(node.of, BINDS.not)}`) : wrap(BINDS.sign, node.sign + spelled(node.of, BINDS.sign));
    default: {
      const binds = OPERATION_BINDS[node.sign];
      const [left, right] = node.sign === "**" ? [binds + 1, binds] : [binds, binds + 1];
      return wrap(binds, `${spelled(node.left, left)} ${node.sign} ${spelled(node.right, right)}`);
    }
  }
}

const counts = (node) => (node.kind === "name" ? node.name === "step"
  : [node.of, node.index, node.left, node.right, node.test, node.yes, node.no, ...(node.parts || []), ...(node.sides || [])].some((part) => part && counts(part)));

const WHOLE_OPERATIONS = { "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "//": (a, b) => (b === 0 ? NaN : floorDivide(a, b)), "%": (a, b) => (b === 0 ? NaN : modulo(a, b)) };
const COMPARISONS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "==": (a, b) => a === b, "!=": (a, b) => a !== b };
const bothKinds = (...parts) => (parts.every((part) => part.kind === "whole") ? "whole" : "real");

// A part as {value: step -> number, kind: "whole" | "real" | "condition"}.
function compiled(node, depth = 0) {
  if (depth > DEEPEST_FORMULA) throw new Refused(`a formula nests at most ${DEEPEST_FORMULA} deep; for many values use a table.`, "ParseError");
  const part = (inside) => compiled(inside, depth + 1);
  const condition = (inside) => {
    const made = part(inside);
    if (made.kind !== "condition") throw new Refused(`${shown(spelled(inside))} is a number where a condition such as 'step < 10' is meant.`, "ParseError");
    return made;
  };
  switch (node.kind) {
    case "number":
      if (!(node.value <= 1e300)) throw new Refused(`${shown(spelled(node))} is not a number that a formula can hold.`, "ParseError");
      return { value: () => node.value, kind: node.whole ? "whole" : "real" };
    case "name":
      if (node.name === "step") return { value: (step) => step, kind: "whole" };
      if (node.name === "pi") return { value: () => Math.PI, kind: "real" };
      throw new Refused(`${shown(node.name)} is not known in a formula; ${suggestion(node.name, ["step", "pi", ...FORMULA_FUNCTIONS])}`, "UnknownNameError");
    case "sign": {
      const of = part(node.of);
      if (node.sign === "not") return { value: (step) => !of.value(step), kind: "condition" };
      return node.sign === "-" ? { value: (step) => -of.value(step), kind: of.kind } : of;
    }
    case "logic": {
      const parts = node.parts.map(condition);
      return { value: (step) => parts.map((one) => one.value(step))[node.word === "and" ? "every" : "some"](Boolean), kind: "condition" };
    }
    case "compare": {
      const sides = node.sides.map(part);
      return { kind: "condition", value: (step) => { const found = sides.map((side) => side.value(step)); return node.signs.every((sign, i) => COMPARISONS[sign](found[i], found[i + 1])); } };
    }
    case "choice": {
      const [test, yes, no] = [condition(node.test), part(node.yes), part(node.no)];
      return { value: (step) => (test.value(step) ? yes : no).value(step), kind: bothKinds(yes, no) };
    }
    case "operation": return operation(node, part(node.left), part(node.right));
    case "call": return called(node, part);
    case "lookup": return lookedUp(node, part);
    default: throw new Refused(`a formula cannot hold ${node.open === "[" ? "List" : "Tuple"} ${shown(spelled(node))}; it has numbers, step, pi, + - * / // % **, and a if b else c.`, "ParseError");
  }
}

function operation(node, left, right) {
  if (node.sign === "/") return { kind: "real", value: (step) => { const b = right.value(step); return b === 0 ? NaN : left.value(step) / b; } };
  if (node.sign !== "**") return { kind: bothKinds(left, right), value: (step) => WHOLE_OPERATIONS[node.sign](left.value(step), right.value(step)) };
  const base = counts(node.left) ? NaN : left.value(0);
  if (!(base > 0 && base < Infinity)) {
    return { kind: "real", value: (step) => { const [a, b] = [left.value(step), right.value(step)]; return b === 1 ? a : b === 2 ? a * a : a ** b; } };
  }
  const pieces = powerParts(base);
  return {
    kind: "real",
    value: (step) => {
      const exponent = right.value(step);
      const size = base > 1 && Math.abs(exponent) > pieces.largest ? Infinity : power(pieces, Math.abs(exponent));
      return exponent >= 0 ? size : 1 / size;
    },
  };
}

function called(node, part) {
  const name = node.of.kind === "name" ? node.of.name : spelled(node.of);
  if (!FORMULA_FUNCTIONS.includes(name)) throw new Refused(`${shown(name)} is not a function of a formula; ${suggestion(name, FORMULA_FUNCTIONS)}`, "UnknownNameError");
  if (name === "min" || name === "max") {
    if (node.parts.length < 2) throw new Refused(`${shown(spelled(node))} needs two values or more.`, "ParseError");
    const parts = node.parts.map(part);
    const better = name === "min" ? (a, b) => (a < b ? a : b) : (a, b) => (a > b ? a : b);
    return { kind: bothKinds(...parts), value: (step) => parts.map((one) => one.value(step)).reduce(better) };
  }
  if (node.parts.length !== 1) throw new Refused(`${shown(spelled(node))} takes one value.`, "ParseError");
  const of = part(node.parts[0]);
  if (name === "abs") return { kind: of.kind, value: (step) => Math.abs(of.value(step)) };
  return { kind: name === "floor" ? "whole" : "real", value: (step) => Math[name](of.value(step)) };
}

function lookedUp(node, part) {
  if (node.of.kind !== "list" || !node.of.parts.length) throw new Refused(`${shown(spelled(node))} must look a number up in a list of numbers.`, "ParseError");
  if (counts(node.of)) throw new Refused(`the list of ${shown(spelled(node))} must hold plain numbers.`, "ParseError");
  const values = node.of.parts.map((item) => Number(part(item).value(0)));
  const index = part(node.index);
  if (index.kind !== "whole") throw new Refused(`the index of ${shown(spelled(node))} must be whole; use // or floor.`, "ParseError");
  return { kind: "real", value: (step) => values[clamp(index.value(step), 0, values.length - 1)] };
}

class Formula extends Schedule {
  constructor({ text }) {
    super();
    if (!text.trim()) throw new Refused(`a formula is text such as '0.5 ** (step // 30)'; got ${shown(text)}.`, "ParseError");
    const tree = new FormulaReader(text.trim()).whole();
    this.compiled = compiled(tree);
    this.text = spelled(tree);
    if (this.compiled.kind === "condition") throw new Refused(`${shown(this.text)} is true or false; a factor is a number. Write 'a if condition else b'.`, "ParseError");
    this.at(0);
  }

  resolve() { return this; }
  toString() { return `formula "${this.text}"`; }

  at(step) {
    const here = Math.min(Math.max(0, step), 2 ** 53);
    const value = Number(this.compiled.value(here));
    if (!(Number.isFinite(value) && value >= 0)) {
      const remedy = Number.isFinite(value) ? "Hold it with max(0, ...) or min(step, last)." : "Put max(1, ...) where it divides or takes a logarithm or root; hold what grows with min(step, last).";
      throw new Refused(`the formula ${shown(this.text)} is ${general(value)} at step ${here}; a factor must be finite and not negative. ${remedy}`);
    }
    return value;
  }
}
