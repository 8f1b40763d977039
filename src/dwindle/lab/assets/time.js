// Times as people say them, 500st, 5ep, 20%, 1e9tok, and the run that turns them into steps; a number counts steps.
const UNITS = { st: "st", step: "st", steps: "st", ep: "ep", epoch: "ep", epochs: "ep", "%": "%", ex: "ex", example: "ex", examples: "ex",
  tok: "tok", token: "tok", tokens: "tok" };
const ROUNDINGS = ["nearest", "down", "exact"];
const LAST_STEP = 2 ** 62;

class Time {
  constructor(value, unit, rounding = "nearest") {
    if (!Object.hasOwn(UNITS, unit)) throw new Refused(`unit ${shown(unit)} is not known; ${suggestion(unit, Object.keys(UNITS))}`, "UnknownNameError");
    this.unit = UNITS[unit];
    this.value = real("time", value);
    if (this.unit === "%" && !(value >= -100 && value <= 100)) throw new Refused(`a share of the run must be between 0% and 100%; got ${general(value)}%.`);
    this.rounding = known("rounding", rounding, ROUNDINGS);
    if (this.unit === "st" && rounding !== "nearest") {
      throw new Refused(`${shortWhole(value)}st is a number of steps and is taken as it is; leave out ${shown(rounding)}.`);
    }
  }

  steps(run) {
    if (this.unit === "st") return this.value;
    const exact = this.exact(run);
    if (this.rounding === "exact") return notBeyond(exact);
    if (this.rounding === "down") {
      const whole = this.unit === "%" ? Math.trunc(decimalShare(this.value) * run.steps) : Number(exact.n / exact.d);
      if (whole === 0 && exact.n !== 0n) throw new Refused(`${this} is less than one step of this run; give it in steps, or a longer run.`);
      return whole;
    }
    const whole = nearestWhole(exact);
    return whole === 0 && exact.n > 0n ? 1 : whole;
  }

  exact(run) {
    const { n, d } = fraction(this.value);
    if (this.unit === "%") return { n: n * BigInt(run.steps), d: d * 100n };
    const attribute = { ep: "steps_per_epoch", ex: "batch_size", tok: "tokens_per_step" }[this.unit];
    const worth = run[attribute];
    if (!worth) throw new Refused(`${this} needs to know ${attribute}; give it to the Horizon.`, "UnresolvedTimeError");
    return this.unit === "ep" ? { n: n * BigInt(worth), d } : { n, d: d * BigInt(worth) };
  }

  toString() { return `${shortWhole(this.value)}${this.unit}${this.rounding === "nearest" ? "" : ` ${this.rounding}`}`; }
}

// The float of the decimal number value/100, as int(share · steps) cuts it.
function decimalShare(value) {
  const [digits, exponent = "0"] = String(value).split("e");
  return Number(`${digits}e${Number(exponent) - 2}`);
}

function asTime(name, value, low = 1) {
  if (value === null) return null;
  if (value instanceof Time) {
    if (low !== null && value.value <= 0 && low > 0) throw new Refused(`${name} must be positive; got ${value}.`);
    if (low !== null && value.unit === "st" && value.value < 1e-6) throw new Refused(`${name} must be at least 1e-06 of a step; got ${value}.`);
    return value.unit === "st" && Number.isInteger(value.value) ? value.value : value;
  }
  if (value > 0 && value < 1) {
    throw new Refused(`${name} must be a whole number of steps or a time; got ${shown(value)}. For a share of the run write '${general(value * 100)}%'.`);
  }
  return count(name, value, { low: low === null ? -1e30 : low });
}

const exactly = (steps) => (Number.isInteger(steps) ? steps : new Time(steps, "st"));
const numberOfSteps = (time) => (time instanceof Time ? (time.unit === "st" ? time.value : null) : time);
const timeText = (time) => (time instanceof Time ? String(time) : `${shortWhole(time)}st`);
const sameTime = (a, b) => a === b || (a instanceof Time && b instanceof Time && a.value === b.value && a.unit === b.unit && a.rounding === b.rounding);

function inSteps(time, run, room = null) {
  if (time === null) return exactly(room === null ? run.steps : room);
  return time instanceof Time ? exactly(time.steps(run)) : time;
}

// The length of a run: steps, and what an epoch, an example and a token are worth in steps (null where not said).
function horizon(steps, { steps_per_epoch = null, batch_size = null, tokens_per_step = null } = {}) {
  const run = { steps: count("steps", steps), steps_per_epoch, batch_size, tokens_per_step };
  Object.entries(run).forEach(([name, value]) => { if (value !== null) count(name, value); });
  if (steps > 1e15) throw new Refused("the page counts up to 10^15 steps; Python up to 10^18.");
  return run;
}
