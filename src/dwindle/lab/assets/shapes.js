// The shapes of a schedule, as dwindle.schedule's shapes, decays and tables.
class Constant extends Schedule {
  constructor({ factor = 1 } = {}) { super(); this.factor = real("factor", factor, { low: 0 }); }
  resolve() { return this; }
  toString() { return this.factor === 1 ? "constant" : `constant at ${percent(this.factor)}`; }
  at() { return this.factor; }
}

// g(x), falling from 1 to 0: a + rest = whole, x = a/whole; taken from the nearer end nothing cancels.
const FALLS = {
  linear: (a, rest, whole) => rest / whole,
  cosine: (a, rest, whole) => (rest < a ? sinSquared(rest, whole) : 1 - sinSquared(a, whole)),
  sqrt: (a, rest, whole) => (rest / whole) / (1 + Math.sqrt(a / whole)),
  square: (a, rest, whole) => (rest / whole) * ((whole + a) / whole),
  exponential: (a, rest, whole, r = 0.5) => {
    const pieces = powerParts(r);
    return power(pieces, a / whole) * (powerLessOne(pieces, rest / whole) / powerLessOne(pieces, 1));
  },
};

function fall(shape, a, rest, whole, exponent = 1, r = 0.5) {
  const g = FALLS[shape](a, rest, whole, r);
  if (exponent === 1) return g;
  if (exponent === 2) return g * g;
  return exponent === 0.5 ? Math.sqrt(g) : g ** exponent;
}

class Ramp extends Schedule {
  constructor({ end = 0, steps = null, start = 1, shape = "linear", power: bend = 1, warp = 1, ratio: r = 0.5 } = {}) {
    super();
    this.start = real("start", start, { low: 0 });
    this.end = real("end", end, { low: 0 });
    this.steps = asTime("steps", steps);
    this.shape = known("shape", { "1-sqrt": "sqrt", "1-square": "square" }[shape] || shape, [...Object.keys(FALLS), "geometric"]);
    this.power = real("power", bend, { above: 0 });
    this.warp = real("warp", warp, { above: 0 });
    if (this.shape === "geometric" && (start === 0 || end === 0)) throw new Refused("a geometric ramp never reaches 0; give start and end above 0, or use exponential.");
    if (this.shape === "geometric" && bend !== 1) throw new Refused("power has no meaning for a geometric ramp; change its end or use warp.");
    this.ratio = real("ratio", r, { above: 0 });
    if (r === 1) throw new Refused("ratio must not be 1, at which the exponential shape is a line; use linear.");
    if (r !== 0.5 && this.shape !== "exponential") throw new Refused(`ratio belongs to the exponential shape; got ${shown(r)} for ${this.shape}.`);
    this.whole = numberOfSteps(this.steps);
    this.low = Math.min(start, end);
    const high = Math.max(start, end);
    const span = high - this.low;
    this.span = this.low + span <= high ? span : towardsZero(span);
  }

  get duration() { return this.steps; }
  resolve(run, room = null) { return new Ramp({ ...this, steps: inSteps(this.steps, run, room) }); }

  toString() {
    const over = this.steps === null ? null : timeText(this.steps);
    const bends = [["power", this.power === 1 ? null : short(this.power)], ["warp", this.warp === 1 ? null : short(this.warp)], ["ratio", this.ratio === 0.5 ? null : short(this.ratio)]];
    if (this.end === 1 && this.start < 1) {
      return words(["warmup", over || ""], ["from", this.start === 0 ? null : percent(this.start)], ["shape", this.shape === "linear" ? null : this.shape], ...bends);
    }
    const head = this.shape === "exponential" ? ["ramp shape", this.shape] : [this.shape, ""];
    return words(head, ["to", percent(this.end)], ["from", this.start === 1 ? null : percent(this.start)], ["over", over], ...bends);
  }

  at(step) {
    if (this.whole === null) throw unresolved(this);
    return step <= 0 ? this.start : step >= this.whole ? this.end : this.inside(step);
  }

  inside(step) {
    const steps = this.whole;
    const a = this.warp === 1 ? step : (step / steps) ** this.warp * steps;
    if (this.shape === "geometric") return this.start * power(powerParts(this.end / this.start, steps), a);
    const [gone, rest] = this.end > this.start ? [steps - a, a] : [a, steps - a];
    return this.low + this.span * fall(this.shape, gone, rest, steps, this.power, this.ratio);
  }
}

class Tanh extends Schedule {
  constructor({ end = 0, steps = null, lower = -6, upper = 3, warp = 1 } = {}) {
    super();
    this.end = real("end", end, { low: 0 });
    this.steps = asTime("steps", steps);
    this.lower = real("lower", lower);
    this.upper = real("upper", upper, { above: lower });
    this.warp = real("warp", warp, { above: 0 });
  }

  get duration() { return this.steps; }
  resolve(run, room = null) { return new Tanh({ ...this, steps: inSteps(this.steps, run, room) }); }

  toString() {
    return words(["tanh to", percent(this.end)], ["over", this.steps === null ? null : timeText(this.steps)], ["lower", this.lower === -6 ? null : short(this.lower)],
      ["upper", this.upper === 3 ? null : short(this.upper)], ["warp", this.warp === 1 ? null : short(this.warp)]);
  }

  at(step) {
    const steps = numberOfSteps(this.steps);
    if (steps === null) throw unresolved(this);
    let x = clamp(step, 0, steps) / steps;
    if (this.warp !== 1) x **= this.warp;
    const z = clamp(this.lower * (1 - x) + this.upper * x, -350, 350);
    return this.end + (1 - this.end) * (1 / (1 + Math.exp(2 * z)));
  }
}

class Exponential extends Schedule {
  constructor({ decay_rate, every = 1, staircase = false, allow_growth = false }) {
    super();
    this.decay_rate = real("decay_rate", decay_rate, { above: 0, remedy: "To stop training use a cooldown to 0." });
    if (!allow_growth && decay_rate > 1) throw new Refused(`decay_rate above 1 grows; got ${shown(decay_rate)}. If that is meant, say allow_growth=True.`);
    this.every = asTime("every", every);
    this.staircase = staircase;
    this.allow_growth = allow_growth;
    this.each = numberOfSteps(this.every);
    this.pieces = this.each === null ? null : powerParts(decay_rate, staircase ? 1 : this.each);
  }

  resolve(run) { return new Exponential({ ...this, every: inSteps(this.every, run) }); }

  toString() {
    return words([this.staircase ? "step by" : "exponential by", short(this.decay_rate)], ["every", timeText(this.every)], ["growing", this.allow_growth ? "" : null]);
  }

  at(step) {
    if (this.pieces === null) throw unresolved(this);
    return power(this.pieces, this.staircase ? floorDivide(step, this.each) : step);
  }
}

class PowerLaw extends Schedule {
  constructor({ exponent, every = 1, rate = 1, staircase = false }) {
    super();
    this.exponent = real("exponent", exponent, { low: 0 });
    this.every = asTime("every", every);
    this.rate = real("rate", rate, { low: 0 });
    this.staircase = staircase;
  }

  resolve(run) { return new PowerLaw({ ...this, every: inSteps(this.every, run) }); }

  toString() {
    const head = { 1: "inverse-time", 0.5: "inverse-sqrt" }[this.exponent] || `power-law ${short(this.exponent)}`;
    return words([head, ""], ["every", timeText(this.every)], ["rate", this.rate === 1 ? null : short(this.rate)], ["staircase", this.staircase ? "" : null]);
  }

  at(step) {
    const every = numberOfSteps(this.every);
    if (every === null) throw unresolved(this);
    const here = clamp(step, 0, LAST_STEP);
    const base = 1 + this.rate * (this.staircase ? floorDivide(here, every) : here / every);
    if (this.exponent === 1) return 1 / base;
    return 1 / (this.exponent === 0.5 ? Math.sqrt(base) : base ** this.exponent);
  }
}

const factorsOf = (factors) => factors.map((one) => real("factors", one, { low: 0 }));
const listed = (values, text) => `[${values.map(text).join(" ")}]`;

function increasing(name, values, low = 1) {
  const times = values.map((value) => asTime(name, value, low));
  if (!times.length) throw new Refused(`${name} must not be empty; for one value use constant.`);
  const unit = (time) => (time instanceof Time ? time.unit : "st");
  const size = (time) => (time instanceof Time ? time.value : time);
  [...new Set(times.map(unit))].forEach((kind) => {
    const same = times.filter((time) => unit(time) === kind).map(size);
    if (same.some((value, i) => i && value <= same[i - 1])) {
      throw new Refused(`${name} must increase; got [${times.map((time) => quoted(String(time))).join(", ")}]. Sort them and merge equal ones.`);
    }
  });
  const steps = times.map(numberOfSteps);
  return [times, steps.includes(null) ? null : steps];
}

class Piecewise extends Schedule {
  constructor({ boundaries, factors }) {
    super();
    [this.boundaries, this.edges] = increasing("boundaries", boundaries);
    this.factors = factorsOf(factors);
    if (factors.length !== boundaries.length + 1) {
      throw new Refused(`factors needs one value more than boundaries; got ${factors.length} for ${boundaries.length}. The first factor holds before the first boundary.`);
    }
  }

  resolve(run) { return new Piecewise({ boundaries: this.boundaries.map((time) => inSteps(time, run)), factors: this.factors }); }
  toString() { return `piecewise at ${listed(this.boundaries, timeText)} factors ${listed(this.factors, short)}`; }

  at(step) {
    if (this.edges === null) throw unresolved(this);
    return this.factors[bisectRight(this.edges, step)];
  }
}

class Interpolate extends Schedule {
  constructor({ at, factors, shape = "linear" }) {
    super();
    [this.points, this.edges] = increasing("at", at, null);
    this.factors = factorsOf(factors);
    if (factors.length !== at.length) throw new Refused(`factors needs one value per point; got ${factors.length} for ${at.length} points.`);
    this.shape = known("shape", shape, Object.keys(FALLS));
  }

  get duration() {
    const last = this.points[this.points.length - 1];
    return (last instanceof Time ? last.value : last) > 0 ? last : null;
  }

  resolve(run) { return new Interpolate({ at: this.points.map((time) => inSteps(time, run)), factors: this.factors, shape: this.shape }); }
  toString() { return `through ${listed(this.points, timeText)} factors ${listed(this.factors, short)}${this.shape === "linear" ? "" : ` shape ${this.shape}`}`; }

  at(step) {
    const edges = this.edges;
    if (edges === null) throw unresolved(this);
    const last = edges.length - 1;
    const here = clamp(clamp(step, 0, LAST_STEP), edges[0], edges[last]);
    if (last === 0) return this.factors[0];
    const i = clamp(bisectRight(edges, here) - 1, 0, last - 1);
    const [start, end] = [this.factors[i], this.factors[i + 1]];
    const whole = edges[i + 1] - edges[i];
    const inside = here - edges[i];
    if (inside <= 0) return start;
    const rises = end > start;
    const [low, high] = rises ? [start, end] : [end, start];
    const [gone, rest] = rises ? [whole - inside, inside] : [inside, whole - inside];
    return clamp(low + (high - low) * fall(this.shape, gone, rest, whole), low, high);
  }
}

class Table extends Schedule {
  constructor({ factors, every = 1 }) {
    super();
    this.factors = factorsOf(factors);
    if (!factors.length) throw new Refused("factors must not be empty; a table needs at least one value.");
    this.every = count("every", every);
  }

  get duration() { return this.factors.length * this.every; }
  resolve() { return this; }
  toString() { return `table ${listed(this.factors, short)}${this.every === 1 ? "" : ` every ${this.every}st`}`; }
  at(step) { return this.factors[clamp(floorDivide(step, this.every), 0, this.factors.length - 1)]; }
}
