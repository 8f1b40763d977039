// The plan: peak, schedule, decay and mask, and what they do to the learning rate and the weights, as dwindle.plan.
const CONVENTIONS = ["l2", "decoupled", "independent", "corrected"];

class Decay {
  constructor(convention, rate, { cautious = false, overshoot = false } = {}) {
    this.convention = convention;
    this.rate = rate instanceof Schedule ? rate : real("weight_decay", rate, { low: 0, remedy: "Decay shrinks weights; a negative one grows them." });
    if (convention === "l2" && cautious) throw new Refused("cautious compares the update with the weight, and l2 is part of the update; use decoupled.");
    this.cautious = cautious;
    this.overshoot = overshoot;
  }

  lambda(step) { return this.rate instanceof Schedule ? this.rate.at(step) : this.rate; }
  resolve(run) { return this.rate instanceof Schedule ? new Decay(this.convention, this.rate.resolve(run), this) : this; }

  // The share x that leaves each weight in a step beside the update; and what l2 adds to the gradient.
  share(step, lr, factor) {
    const lambda = this.lambda(step);
    return { l2: 0, decoupled: lr * lambda, independent: factor * lambda, corrected: lr * factor * lambda }[this.convention];
  }

  coupling(step) { return this.convention === "l2" ? this.lambda(step) : 0; }

  toString() {
    const number = this.rate instanceof Schedule ? `(${this.rate})` : short(this.rate);
    return `${this.convention} ${number}${this.cautious ? " cautious" : ""}${this.overshoot ? " overshoot" : ""}`;
  }
}

class Plan {
  constructor({ peak, schedule = new Constant(), decay = null, mask = STANDARD, groups = [], layer_decay = null }) {
    this.peak = real("peak", peak, { low: 0, remedy: "The learning rate must not be negative." });
    Object.assign(this, { schedule, decay, mask, groups });
    if (new Set(groups.map((group) => group.name)).size < groups.length) throw new Refused(`group names must differ; got [${groups.map((group) => quoted(group.name)).join(", ")}].`);
    this.layer_decay = layer_decay === null ? null : real("layer_decay", layer_decay, { above: 0, high: 1 });
    this.warning = this.overshoot();
  }

  overshoot() {
    if (!this.decay || this.decay.rate instanceof Schedule || this.decay.overshoot) return "";
    const share = this.decay.share(0, this.peak, 1);
    const { convention, rate } = this.decay;
    if (share >= 2) {
      throw new Refused(`${convention} decay ${general(rate)} takes ${general(share)} times each weight a step at peak ${general(this.peak)}: weights would change sign and grow. Lower it below ${general(rate / share)}, or say allow_overshoot=True.`);
    }
    return share >= 1 ? `${convention} decay ${general(rate)} at peak ${general(this.peak)} multiplies weights by ${general(1 - share)}: from the first step at the peak they change sign.` : "";
  }

  resolve(run) {
    return new Plan({ ...this, schedule: this.schedule.resolve(run), decay: this.decay && this.decay.resolve(run) });
  }

  // lr, share, l2 of one step of a resolved plan.
  dose(step) {
    const factor = this.schedule.at(step);
    const lr = this.peak * factor;
    return this.decay ? { lr, share: this.decay.share(step, lr, factor), l2: this.decay.coupling(step) } : { lr, share: 0, l2: 0 };
  }

  // The share of a weight that decay takes a step at the peak, the largest of the run where λ is a schedule; l2 as under plain SGD.
  peakShare(run) {
    if (!this.decay) return 0;
    if (!(this.decay.rate instanceof Schedule)) return this.decay.share(0, this.peak, 1) + this.peak * this.decay.coupling(0);
    const ready = this.resolve(run);
    const places = Math.min(run.steps, 2 ** 17);
    const apart = places < run.steps ? (run.steps - 1) / (places - 1) : 1;
    let most = 0;
    for (let i = 0; i < places; i += 1) {
      const { lr, share, l2 } = ready.dose(Math.floor(i * apart));
      most = Math.max(most, share + lr * l2);
    }
    return most;
  }

  timescale(run) { const share = this.peakShare(run); return share ? 1 / share : Infinity; }
  halfLife(run) { const share = this.peakShare(run); return share ? Math.log(2) / -Math.log1p(-Math.min(share, 1 - 1e-16)) : Infinity; }

  toString() {
    const parts = [`peak ${short(this.peak)}`, String(this.schedule)];
    if (this.decay) parts.push(String(this.decay));
    if (!sameRules(this.mask, STANDARD)) parts.push(`mask ${maskText(this.mask)}`);
    this.groups.forEach((group) => parts.push(`group ${asciiString(group.name)} ${asciiString(group.match)} times ${short(group.lr_scale)}`));
    if (this.layer_decay !== null) parts.push(`layer-decay ${short(this.layer_decay)}`);
    return parts.join(" | ");
  }
}

const MOST_STEPS = 200000;

// At most `most` steps of a run, and there lr, shrink and what decay alone has left of w(0) before that step (last: after the run).
// Beyond 200,000 steps the product is taken over that many equal stretches, by their middles: `about` is then true.
function planCurves(plan, run, most = 400) {
  const ready = plan.resolve(run);
  const places = Math.min(most, run.steps);
  const step = Array.from({ length: places }, (_, i) => (places === 1 ? 0 : Math.round(i * ((run.steps - 1) / (places - 1)))));
  const about = run.steps > MOST_STEPS;
  const dose = step.map((at) => ready.dose(at));
  const taken = ({ lr, share, l2 }) => share + lr * l2;
  const kept = (x) => Math.log1p(-Math.min(x, 2 - x)); // log |1 - x|: beyond 1 a step turns the sign
  const share_left = [];
  let sum = 0;
  let sign = 1;
  if (about) {
    const wide = run.steps / MOST_STEPS;
    let next = 0;
    for (let i = 0; i < MOST_STEPS; i += 1) {
      while (next < places && step[next] <= i * wide) { share_left.push(Math.exp(sum)); next += 1; }
      sum += wide * kept(taken(ready.dose(Math.floor((i + 0.5) * wide))));
    }
    while (share_left.length < places) share_left.push(Math.exp(sum));
  } else {
    let next = 0;
    for (let t = 0; t < run.steps; t += 1) {
      const here = step[next] === t ? dose[next] : ready.dose(t);
      if (step[next] === t) { share_left.push(sign * Math.exp(sum)); next += 1; }
      sum += kept(taken(here));
      if (taken(here) > 1) sign = -sign;
    }
  }
  return { step, lr: dose.map((one) => one.lr), shrink: dose.map((one) => 1 - one.share), l2: dose.map((one) => one.l2), share_left, left: sign * Math.exp(sum), about, resolved: ready };
}
