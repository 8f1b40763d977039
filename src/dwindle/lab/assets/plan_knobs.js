// What the sliders of the plan editor read from a plan, and the plan they make of it.
const isWarmup = (piece) => piece instanceof Ramp && piece.end === 1 && piece.start < 1;
const piecesOf = (schedule) => (schedule instanceof Join ? schedule.pieces : [schedule]);

function joinedPieces(schedule, pieces, lengths) {
  return pieces.length === 1 && (lengths[0] ?? null) === null ? pieces[0] : new Join(pieces, lengths);
}

const lengthsOf = (schedule) => (schedule instanceof Join ? schedule.lengths : [null]);

// The warm-up as a share of the run in percent (0: none), or null where a slider cannot say it.
function warmupOf(plan, run) {
  const [first] = piecesOf(plan.schedule);
  if (!isWarmup(first)) return 0;
  if (piecesOf(plan.schedule).length === 1 || first.steps === null || lengthsOf(plan.schedule)[0] !== null) return null;
  return 100 * numberOfSteps(inSteps(first.steps, run)) / run.steps;
}

function withWarmup(plan, share) {
  const [pieces, lengths] = [[...piecesOf(plan.schedule)], [...lengthsOf(plan.schedule)]];
  if (isWarmup(pieces[0])) { pieces.shift(); lengths.shift(); }
  const schedule = joinedPieces(plan.schedule, share ? [new Ramp({ start: 0, end: 1, steps: new Time(share, "%") }), ...pieces] : pieces, share ? [null, ...lengths] : lengths);
  return new Plan({ ...plan, schedule });
}

// Where the last piece ends, as a share of the peak; null where it has no end of its own.
function endOf(plan) {
  const pieces = piecesOf(plan.schedule);
  const last = pieces[pieces.length - 1];
  return (last instanceof Ramp && !isWarmup(last) && last.shape !== "geometric") || last instanceof Tanh ? last.end : null;
}

function withEnd(plan, end) {
  const pieces = [...piecesOf(plan.schedule)];
  const last = pieces.pop();
  return new Plan({ ...plan, schedule: joinedPieces(plan.schedule, [...pieces, new last.constructor({ ...last, end })], lengthsOf(plan.schedule)) });
}

const lambdaOf = (plan) => (plan.decay === null ? 0 : plan.decay.rate instanceof Schedule ? null : plan.decay.rate);

function withLambda(plan, lambda) {
  if (plan.decay === null) return lambda ? new Plan({ ...plan, decay: new Decay("decoupled", lambda) }) : plan;
  return new Plan({ ...plan, decay: new Decay(plan.decay.convention, lambda, plan.decay) });
}
