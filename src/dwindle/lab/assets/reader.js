// The tokens of a plan's text, the place in them, and the values that are one token or two, as dwindle.text.reader.
const PLAN_TOKEN = /\s+|(?<string>"(?:[^"\\]|\\.)*"?)|(?<word>1-sqrt\b|1-square\b|[A-Za-z][A-Za-z0-9_-]*)|(?<number>-?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?<sign>.)/gsu;
const LONGEST = 20000;

class Reader {
  constructor(text) {
    this.text = text;
    if (Array.from(text).length > LONGEST) throw new Refused(`a plan has at most ${LONGEST} characters; got ${Array.from(text).length}. Is this the right text?`, "ParseError");
    this.tokens = [];
    for (const match of text.matchAll(PLAN_TOKEN)) {
      const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
      if (kind) this.tokens.push({ kind, text: match[0], start: match.index });
    }
    this.tokens.push({ kind: "end", text: "", start: text.length });
    this.at = 0;
    this.parentheses = 0;
    this.height = 0;
  }

  get token() { return this.tokens[this.at]; }
  get kind() { return this.token.kind; }
  get ended() { return this.kind === "end"; }
  get word() { return this.kind === "word" ? this.token.text.toLowerCase().replaceAll("_", "-") : ""; }
  get shown() { return this.ended ? "the end of the text" : shown(this.token.text); }

  took(...choices) {
    const here = (this.kind === "word" || this.kind === "sign") && choices.includes(this.word || this.token.text);
    if (here) this.at += 1;
    return here;
  }

  expect(choice, why) { if (!this.took(choice)) this.fail(`${why}; got ${this.shown}`); }

  fail(said, at = this.at, kind = "ParseError") {
    const { start } = this.tokens[at];
    const rest = this.text.slice(start);
    const place = Array.from(this.text.slice(0, start)).length;
    const here = rest ? `at character ${place + 1}: ${shown(Array.from(rest).slice(0, 40).join(""))}` : "at the end of the text";
    const error = new Refused(`${said} (${here})`, kind);
    error.place = start;
    throw error;
  }

  unknown(said, options) { this.fail(`${this.shown} ${said}; ${suggestion(this.word, options.filter(Boolean))}`, this.at, "UnknownNameError"); }

  build(start, make) {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return this.fail(error.message, start, error.kind);
    }
  }

  number(after = "") {
    if (this.kind !== "number") this.fail(`a number was expected${after && ` after ${after}`}; got ${this.shown}`);
    const { text } = this.token;
    const value = /^-?(?:\d(?:_?\d)*)?(?:\.|e|$)/i.test(text) ? Number(text.replaceAll("_", "")) : NaN;
    if (!Number.isFinite(value)) this.fail(`${shown(text)} is not a finite number`);
    this.at += 1;
    return value;
  }

  factor() {
    const value = this.number();
    return this.took("%") ? value / 100 : value;
  }

  level() {
    const start = this.at;
    const value = this.factor();
    if (value >= 2 && this.at === start + 1 && /^\d+$/.test(this.tokens[start].text.replaceAll("_", ""))) {
      this.fail(`${value} means ${value * 100}%; write ${value}% or ${value * 100}%`, start);
    }
    return value;
  }

  time() {
    const start = this.at;
    const value = this.number();
    const unit = this.took("%") ? "%" : this.word;
    if (Object.hasOwn(UNITS, unit)) {
      if (unit !== "%") this.at += 1;
      const rounding = ROUNDINGS.slice(1).includes(this.word) ? this.word : "nearest";
      if (rounding !== "nearest") this.at += 1;
      return this.build(start, () => new Time(value, unit, rounding));
    }
    const { text, start: begin } = this.tokens[start];
    if (unit && this.token.start === begin + text.length) this.unknown("is not a unit", ["st", "ep", "%", "ex", "tok"]);
    return value;
  }

  steps() {
    const start = this.at;
    const value = this.time();
    if (value instanceof Time && value.unit !== "st") this.fail(`a table counts steps; got ${value}. Write for instance 'every 5st'`, start);
    return value instanceof Time ? value.value : value;
  }

  several(read) {
    this.expect("[", "a list such as [1 0.5 0.1] was expected");
    const values = [];
    while (!this.took("]")) {
      values.push(read());
      this.took(",");
    }
    return values;
  }

  times() { return this.several(() => this.time()); }
  factors() { return this.several(() => this.factor()); }
  yes() { return true; }

  name() {
    if (this.kind !== "word") this.fail(`a word was expected; got ${this.shown}`);
    this.at += 1;
    return this.tokens[this.at - 1].text;
  }

  string() {
    if (this.kind !== "string") this.fail(`text in double quotes was expected; got ${this.shown}`);
    let value;
    try {
      value = JSON.parse(this.token.text);
    } catch {
      this.fail("this text in quotes is not closed, or has an escape that JSON does not know");
    }
    this.at += 1;
    return value;
  }
}
