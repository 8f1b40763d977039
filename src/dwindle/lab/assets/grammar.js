// The grammar of the one-line form, read by recursive descent, as dwindle.text.grammar: the same plans, the same complaints.
const DEEPEST = 50;
const SECTIONS = ["peak", "lr", "mask", "group", "layer-decay"];

function parsePlan(text) {
  const reader = new Reader(text);
  const found = {};
  const groups = [];
  while (!reader.ended || Object.keys(found).length) {
    const start = reader.at;
    const [name, value] = readSection(reader);
    if (name === "groups") groups.push(value);
    else if (Object.hasOwn(found, name)) reader.fail(`${name} is given twice; keep one`, start);
    else found[name] = value;
    if (reader.ended) break;
    reader.expect("|", "sections are separated by |");
  }
  if (!Object.hasOwn(found, "peak")) throw new Refused("a plan needs its peak learning rate; write 'peak 3e-4 | ...'.", "ParseError");
  return new Plan({ ...found, groups });
}

function readSchedule(reader) {
  const start = reader.at;
  let height = 0;
  const pieces = [];
  const lengths = [];
  do {
    pieces.push(readSum(reader));
    height = Math.max(height, reader.height);
    lengths.push(reader.took("for") ? reader.time() : null);
  } while (reader.took(","));
  if (lengths.length === 1 && lengths[0] === null) return pieces[0];
  return grown(reader, start, height, () => new Join(pieces, lengths));
}

const readSum = (reader) => readChain(reader, "+", readProduct, (terms) => new Sum(terms));
const readProduct = (reader) => readChain(reader, "*", readScaled, (factors) => new Product(factors));

function readChain(reader, sign, read, make) {
  const start = reader.at;
  const values = [read(reader)];
  let { height } = reader;
  while (reader.took(sign)) {
    values.push(read(reader));
    height = Math.max(height, reader.height);
  }
  return values.length === 1 ? values[0] : grown(reader, start, height, () => make(values));
}

function readScaled(reader) {
  const start = reader.at;
  if (reader.kind !== "number") return readWrapped(reader);
  const factor = reader.factor();
  reader.expect("*", "a number multiplies a schedule, as in '0.5 * cosine', or is one as 'constant at 0.5'");
  const value = readWrapped(reader);
  return grown(reader, start, reader.height, () => new Scaled(value, factor));
}

function readWrapped(reader) {
  const start = reader.at;
  let value = readLeaf(reader);
  while (Object.hasOwn(WRAPS, reader.word)) {
    const { word } = reader;
    const inside = value;
    const { height } = reader;
    reader.at += 1;
    const options = readOptions(reader, word, WRAPS[word]);
    value = grown(reader, start, height, () => WRAPS[word].make(options, inside));
  }
  return value;
}

function readLeaf(reader) {
  const start = reader.at;
  const { word } = reader;
  if (reader.took("(")) return readInside(reader);
  if (Object.hasOwn(ALONE, word)) {
    reader.at += 1;
    reader.expect("(", `${word} takes a schedule in parentheses`);
    const inside = readInside(reader);
    return grown(reader, start, reader.height, () => ALONE[word](inside));
  }
  if (word === "custom") reader.fail("a custom schedule is a function, and no function is read from text; write a formula of step, or a table");
  if (Object.hasOwn(SPELLED_OUT, word)) reader.fail(`${word} is written by its parts, for instance '${SPELLED_OUT[word]}'`, reader.at, "UnknownNameError");
  if (word && !Object.hasOwn(SHAPES, word)) reader.unknown("is not a schedule", Object.keys(SHAPES));
  if (!word) reader.fail(`a schedule was expected; got ${reader.shown}`);
  reader.at += 1;
  reader.height = 1;
  const ramp = word === "exponential" && ["to", "from", "over"].includes(reader.word);
  const form = ramp ? RAMP : SHAPES[word];
  const options = readOptions(reader, word, form);
  return reader.build(start, () => form.make(ramp ? { ...options, shape: word } : options));
}

// The schedule after an opening parenthesis, and the closing one.
function readInside(reader) {
  reader.parentheses += 1;
  if (reader.parentheses > DEEPEST) reader.fail(`parentheses nest at most ${DEEPEST} deep`);
  const value = readSchedule(reader);
  reader.expect(")", "a parenthesis is not closed");
  reader.parentheses -= 1;
  return value;
}

function grown(reader, start, height, make) {
  if (height >= DEEPEST) reader.fail(`schedules nest at most ${DEEPEST} deep`, start);
  const value = reader.build(start, make);
  reader.height = height + 1;
  return value;
}

function readOptions(reader, word, { options, fixed = {}, needs = [] }) {
  const values = { ...fixed };
  const seen = new Set();
  if (options[""] && (reader.kind === "number" || reader.kind === "string" || reader.token.text === "[")) {
    const [field, read] = options[""];
    values[field] = reader[read]();
    seen.add(field);
  }
  while (reader.word && Object.hasOwn(options, reader.word)) {
    const [field, read] = options[reader.word];
    if (seen.has(field)) reader.fail(`${reader.shown} is given twice; keep one`);
    reader.at += 1;
    values[field] = reader[read]();
    seen.add(field);
  }
  if (SECTIONS.includes(reader.word) || CONVENTIONS.includes(reader.word)) reader.fail(`${reader.shown} begins another section; put a | before it`);
  if (Object.hasOwn(SHAPES, reader.word)) reader.fail(`${reader.shown} begins another schedule; put a comma before it`);
  if (reader.kind === "number") {
    reader.fail(`${reader.shown} was not expected; say which option of ${quoted(word)} it is: ${Object.keys(options).filter(Boolean).join(", ")}`);
  }
  if (reader.word && !Object.hasOwn(WRAPS, reader.word) && reader.word !== "for") {
    reader.unknown(`is not understood after ${quoted(word)}`, [...Object.keys(options), ...Object.keys(WRAPS), "for"]);
  }
  needs.forEach((need) => {
    if (!Object.hasOwn(values, options[need.split(" ")[0]][0])) reader.fail(`${word} needs more; write for instance '${word} ${needs.map((one) => one.trim()).join(" ")}'`);
  });
  return values;
}

function readSection(reader) {
  const start = reader.at;
  const { word } = reader;
  if (reader.took("peak", "lr")) return ["peak", reader.number("peak")];
  if (CONVENTIONS.includes(word)) return ["decay", readDecay(reader)];
  if (reader.took("mask")) return ["mask", readMask(reader)];
  if (reader.took("layer-decay")) return ["layer_decay", reader.number("layer-decay")];
  if (reader.took("group")) {
    const [name, match] = [reader.string(), reader.string()];
    reader.expect("times", "a group says its learning rate as 'times 10'");
    const scale = reader.number();
    return ["groups", reader.build(start, () => {
      Object.entries({ name, match }).forEach(([what, text]) => { if (!text) throw new Refused(`a group's ${what} must be text; got ${shown(text)}.`); });
      return { name, match, lr_scale: real("lr_scale", scale, { low: 0 }) };
    })];
  }
  if (["weight", "weight-decay", "wd"].includes(word)) {
    reader.fail(`${reader.shown} does not say which decay; name it: ${CONVENTIONS.map((one) => `${one} 0.1`).join(", ")}`);
  }
  if (word && ![SHAPES, ALONE, SPELLED_OUT].some((table) => Object.hasOwn(table, word)) && word !== "custom") {
    reader.unknown("is not a schedule", [...Object.keys(SHAPES), ...SECTIONS, ...CONVENTIONS]);
  }
  return ["schedule", readSchedule(reader)];
}

function readDecay(reader) {
  const start = reader.at;
  const convention = reader.word;
  if (!CONVENTIONS.includes(convention)) reader.unknown("is not a convention of weight decay", CONVENTIONS);
  reader.at += 1;
  if (Object.hasOwn(SHAPES, reader.word)) reader.fail(`a weight decay that is a schedule stands in parentheses; write '(${reader.word} ...)'`);
  const rate = reader.took("(") ? readInside(reader) : reader.number();
  const flags = {};
  while (["cautious", "overshoot"].includes(reader.word)) {
    if (flags[reader.word]) reader.fail(`${reader.shown} is given twice; keep one`);
    flags[reader.word] = true;
    reader.at += 1;
  }
  return reader.build(start, () => new Decay(convention, rate, flags));
}

function readMask(reader) {
  const rules = [];
  do {
    if (reader.took("standard")) rules.push(...STANDARD);
    else if (reader.took("everything")) rules.push(...EVERYTHING);
    else if (!reader.took("nothing")) rules.push(readRule(reader));
  } while (reader.took(","));
  return rules;
}

function readRule(reader) {
  const start = reader.at;
  const subject = reader.word;
  if (!SUBJECTS.includes(subject)) reader.unknown("is not what a mask looks at", [...SUBJECTS, "standard", "everything", "nothing"]);
  reader.at += 1;
  const pattern = reader.string();
  const negative = reader.took("does");
  reader.expect(negative ? "not" : "decays", "a rule ends in 'decays' or 'does not'");
  return reader.build(start, () => rule(subject, pattern, !negative));
}
