// What a schedule is, and the algebra on schedules, as dwindle.schedule.algebra: at(step) is a factor, 1 at the peak.
// resolve(run, room) turns times into steps; an open time fills the room.
class Schedule {
  get duration() { return null; }
}

const inner = (schedule) => `(${schedule})`;
const clamp = (x, low, high) => (x < low ? low : x > high ? high : x);

function bisectRight(edges, x) {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x < edges[middle]) high = middle; else low = middle + 1;
  }
  return low;
}

function unresolved(schedule) {
  return new Refused(`${schedule.constructor.name} still has times that are not steps; call .resolve(Horizon(...)) or use Plan.lrs(horizon).`, "UnresolvedTimeError");
}

function runningSums(spans) {
  const steps = spans.map(numberOfSteps);
  if (steps.includes(null)) return null;
  let sum = 0;
  return steps.map((one) => (sum += one));
}

function flatOf(kind, name, children) {
  return children.flatMap((child) => (child instanceof kind ? child[name] : [child]));
}

function longest(children) {
  const durations = children.map((child) => child.duration).filter((time) => time !== null);
  return durations.length && durations.every((time) => sameTime(time, durations[0])) ? durations[0] : null;
}

class Join extends Schedule {
  constructor(pieces, lengths = pieces.map(() => null)) {
    super();
    const flat = [];
    pieces.forEach((piece, i) => {
      const length = asTime("length", lengths[i]);
      if (piece instanceof Join && (length === null || sameTime(length, piece.duration))) piece.pieces.forEach((one, k) => flat.push([one, piece.lengths[k]]));
      else flat.push([piece, length]);
    });
    this.pieces = flat.map(([piece]) => piece);
    this.lengths = flat.map(([piece, length]) => (sameTime(length, piece.duration) ? null : length));
    this.edges = runningSums(this.spans.slice(0, -1));
  }

  get spans() { return this.pieces.map((piece, i) => (this.lengths[i] === null ? piece.duration : this.lengths[i])); }

  get duration() {
    const edges = runningSums(this.spans);
    return edges ? exactly(edges[edges.length - 1]) : null;
  }

  resolve(run, room = null) {
    const spans = this.spans.map((span) => (span === null ? null : inSteps(span, run)));
    const open = spans.flatMap((span, i) => (span === null ? [i] : []));
    if (open.length > 1) {
      throw new Refused(`only one piece may take the rest of the run, but ${open.map((i) => `piece ${i + 1}`).join(" and ")} have no length; say how long.`);
    }
    const taken = spans.reduce((sum, span) => sum + (numberOfSteps(span) || 0), 0);
    const whole = room === null ? run.steps : room;
    const rest = whole - taken;
    if (open.length && rest <= 0 && open[0] < spans.length - 1) {
      throw new Refused(`the pieces of the schedule need ${general(taken)} steps and leave none of ${general(whole)} for the open one; shorten them or lengthen the run.`);
    }
    const pieces = [];
    const lengths = [];
    this.pieces.forEach((piece, i) => {
      const last = i === spans.length - 1;
      const inside = spans[i] === null ? rest : numberOfSteps(spans[i]) || 0;
      const left = last && spans[i] !== null && this.lengths[i] === null ? rest + inside : inside;
      pieces.push(piece.resolve(run, Math.max(1, left)));
      lengths.push(spans[i] === null && last ? null : exactly(inside));
    });
    return new Join(pieces, lengths);
  }

  toString() {
    if (this.lengths.length === 1 && this.lengths[0] === null) return `join ${inner(this.pieces[0])}`;
    return this.pieces.map((piece, i) => `${piece instanceof Join ? inner(piece) : piece}${this.lengths[i] === null ? "" : ` for ${timeText(this.lengths[i])}`}`).join(", ");
  }

  at(step) {
    if (!this.edges) throw unresolved(this);
    const i = bisectRight(this.edges, step);
    return i ? this.pieces[i].at(step - this.edges[i - 1]) : this.pieces[0].at(step);
  }
}

class Product extends Schedule {
  constructor(factors) { super(); this.factors = flatOf(Product, "factors", factors); }
  get duration() { return longest(this.factors); }
  resolve(run, room = null) { return new Product(this.factors.map((one) => one.resolve(run, room))); }
  toString() { return (this.factors.length === 1 ? "product " : "") + this.factors.map(inner).join(" * "); }
  at(step) { return this.factors.map((one) => one.at(step)).reduce((a, b) => a * b); }
}

class Sum extends Schedule {
  constructor(terms) { super(); this.terms = flatOf(Sum, "terms", terms); }
  get duration() { return longest(this.terms); }
  resolve(run, room = null) { return new Sum(this.terms.map((one) => one.resolve(run, room))); }
  toString() { return (this.terms.length === 1 ? "sum " : "") + this.terms.map(inner).join(" + "); }
  at(step) { return this.terms.map((one) => one.at(step)).reduce((a, b) => a + b); }
}

class Scaled extends Schedule {
  constructor(schedule, factor) { super(); this.schedule = schedule; this.factor = real("factor", factor, { low: 0 }); }
  get duration() { return this.schedule.duration; }
  resolve(run, room = null) { return new Scaled(this.schedule.resolve(run, room), this.factor); }
  toString() { return `${short(this.factor)} * ${inner(this.schedule)}`; }
  at(step) { return this.factor * this.schedule.at(step); }
}

class Shift extends Schedule {
  constructor(schedule, { steps }) { super(); this.schedule = schedule; this.steps = asTime("steps", steps, null); }

  resolve(run, room = null) {
    const steps = inSteps(this.steps, run);
    const whole = room === null ? run.steps : room;
    return new Shift(this.schedule.resolve(run, Math.max(1, whole - (numberOfSteps(steps) || 0))), { steps });
  }

  toString() { return `${inner(this.schedule)} shift ${timeText(this.steps)}`; }

  at(step) {
    const steps = numberOfSteps(this.steps);
    if (steps === null) throw unresolved(this);
    return this.schedule.at((steps < 0 ? clamp(step, 0, LAST_STEP) : step) - steps);
  }
}

class Stretch extends Schedule {
  constructor(schedule, { by }) {
    super();
    const flat = schedule instanceof Stretch;
    this.by = real("by", by, { above: 0 }) * (flat ? schedule.by : 1);
    this.schedule = flat ? schedule.schedule : schedule;
  }

  resolve(run, room = null) { return new Stretch(this.schedule.resolve(run, (room === null ? run.steps : room) / this.by), { by: this.by }); }
  toString() { return `${inner(this.schedule)} stretch ${short(this.by)}`; }
  at(step) { return this.schedule.at(step / this.by); }
}

class Clip extends Schedule {
  constructor(schedule, { low = 0, high = null }) {
    super();
    this.schedule = schedule;
    this.low = real("low", low, { low: 0 });
    this.high = high === null ? null : real("high", high, { low });
  }

  get duration() { return this.schedule.duration; }
  resolve(run, room = null) { return new Clip(this.schedule.resolve(run, room), this); }
  toString() { return `${inner(this.schedule)} clip ${percent(this.low)}${this.high === null ? "" : ` to ${percent(this.high)}`}`; }
  at(step) { return clamp(this.schedule.at(step), this.low, this.high === null ? Infinity : this.high); }
}

class Repeat extends Schedule {
  constructor(schedule, { every = null, growth = 1, decay = 1, cycles = null }) {
    super();
    this.schedule = schedule;
    this.every = asTime("every", every);
    this.growth = real("growth", growth, { low: 1, remedy: "Cycles that shrink would never end." });
    if (growth > 1 && growth < 1.001) throw new Refused(`growth must be 1 or at least 1.001; got ${shown(growth)}. For equal cycles use 1.`);
    this.decay = real("decay", decay, { above: 0, high: 1 });
    this.cycles = cycles === null ? null : count("cycles", cycles);
    if (cycles !== null && cycles * Math.log2(growth) > 1000) {
      throw new Refused(`${cycles} cycles that grow by ${general(growth)} are more than any run; give fewer, or leave cycles out.`);
    }
    if (cycles === null && every === null) throw new Refused("repeat needs every=, the length of the first cycle, or cycles=, how many fill the run.");
    const first = numberOfSteps(this.every);
    this.starts = first === null ? null : this.cycleStarts(first);
  }

  cycleStarts(first) {
    if (this.growth === 1) return [0];
    const starts = [];
    for (let start = 0, span = first; start <= LAST_STEP && (this.cycles === null || starts.length < this.cycles); start += span, span *= this.growth) starts.push(start);
    return starts;
  }

  resolve(run, room = null) {
    let whole = room;
    if (this.every === null) {
      const cycles = this.cycles || 1;
      const units = this.growth === 1 ? cycles : (this.growth ** cycles - 1) / (this.growth - 1);
      whole = (room === null ? run.steps : room) / units;
    }
    const every = inSteps(this.every, run, whole);
    return new Repeat(this.schedule.resolve(run, numberOfSteps(every)), { ...this, every });
  }

  toString() {
    return words([inner(this.schedule), "repeat"], ["every", this.every === null ? null : timeText(this.every)],
      ["growth", this.growth === 1 ? null : shortWhole(this.growth)], ["decay", this.decay === 1 ? null : short(this.decay)],
      ["cycles", this.cycles === null ? null : String(this.cycles)]);
  }

  at(step) {
    if (!this.starts) throw unresolved(this);
    const here = clamp(step, 0, LAST_STEP);
    let cycle;
    let local;
    if (this.growth === 1) {
      const every = numberOfSteps(this.every);
      cycle = floorDivide(here, every);
      local = here % every;
      if (this.cycles !== null) {
        const last = clamp(cycle, 0, this.cycles - 1);
        if (cycle > last) local = here - last * every;
        cycle = last;
      }
    } else {
      cycle = clamp(bisectRight(this.starts, here) - 1, 0, this.starts.length - 1);
      local = (here - this.starts[cycle]) / this.growth ** cycle;
    }
    const value = this.schedule.at(local);
    return this.decay === 1 ? value : value * power(powerParts(this.decay), cycle);
  }
}

class Mirror extends Schedule {
  constructor(schedule, { every = null }) { super(); this.schedule = schedule; this.every = asTime("every", every); }

  resolve(run, room = null) {
    const every = inSteps(this.every, run, room);
    return new Mirror(this.schedule.resolve(run, numberOfSteps(every)), { every });
  }

  toString() { return `${inner(this.schedule)} mirror${this.every === null ? "" : ` every ${timeText(this.every)}`}`; }

  at(step) {
    const every = numberOfSteps(this.every);
    if (every === null) throw unresolved(this);
    const phase = clamp(step, 0, LAST_STEP) % (2 * every);
    return this.schedule.at(phase <= every ? phase : 2 * every - phase);
  }
}

class Extend extends Schedule {
  constructor(schedule, { every = null }) {
    super();
    this.schedule = schedule;
    const said = asTime("every", every);
    this.every = said === null ? schedule.duration : said;
  }

  resolve(run, room = null) {
    const every = inSteps(this.every, run, room);
    return new Extend(this.schedule.resolve(run, numberOfSteps(every)), { every });
  }

  toString() { return words([inner(this.schedule), "extend"], ["every", this.every === null ? null : timeText(this.every)]); }

  at(step) {
    const every = numberOfSteps(this.every);
    if (every === null) throw unresolved(this);
    const here = clamp(step, 0, LAST_STEP);
    return this.schedule.at(here / clamp(-floorDivide(-here, every), 1, LAST_STEP));
  }
}
