// A loss that rattles at a constant learning rate and falls when it decays: two runs side by side.
const EPOCHS = 40;
const PER_EPOCH = 10;
const KINDS = [["constant", "constant"], ["step", "halved in stairs"], ["exponential", "exponential"], ["cosine", "cosine to 0"], ["linear", "linear to 0"]];

// The plan of a learning rate, its decay and its period in epochs.
function valleyPlan({ lr, kind, period }) {
  const schedule = { constant: "constant", step: `step by 0.5 every ${period}ep`, exponential: `exponential by 0.5 every ${period}ep`, cosine: "cosine to 0%", linear: "linear to 0%" }[kind];
  return `peak ${short(lr)} | ${schedule}`;
}

function valleyView(root) {
  const view = { valley: "steep", noise: 1, seed: 1, runs: [{ lr: 0.2, kind: "constant", period: 5 }, { lr: 0.2, kind: "step", period: 5 }] };
  const figures = root.querySelector(".pictures");
  const steps = EPOCHS * PER_EPOCH;
  const run = horizon(steps, { steps_per_epoch: PER_EPOCH });
  const epochs = Array.from({ length: steps + 1 }, (_, i) => i / PER_EPOCH);
  const losses = new Picture(figures, { title: "The loss of the two runs", x: { name: "epoch" }, y: { name: "loss", log: true }, height: 320 });
  const rates = new Picture(figures, { title: "Their learning rates", x: { name: "epoch" }, y: { name: "η", zero: true }, height: 320 });
  const paths = ["A", "B"].map((name) => new Picture(figures, { title: `Run ${name}: the path of its two weights`, x: { name: "first weight, across the valley" }, y: { name: "second weight, along it" }, height: 300 }));
  const tell = facts(root.querySelector(".told"));
  const table = numbersTable(root.querySelector(".told"), "The losses as numbers, an epoch a row");

  const paint = () => {
    const place = VALLEYS[view.valley];
    const noise = view.valley === "noisy" ? view.noise : 0;
    view.results = view.runs.map((one) => {
      const plan = parsePlan(valleyPlan(one));
      const ready = plan.resolve(run);
      const lrs = Array.from({ length: steps }, (_, t) => ready.dose(t).lr);
      const made = descend({ valley: view.valley, noise: view.noise, seed: view.seed, lrs });
      const tail = made.loss.slice(-2 * PER_EPOCH);
      return { ...made, lrs, plan, floor: place.floor(one.lr, noise), end: meanOf(tail), low: Math.min(...tail), high: Math.max(...tail) };
    });
    const [a, b] = view.results;
    const floors = [a, b].filter((one, i) => Number.isFinite(one.floor) && one.floor > 0 && (i === 0 || one.floor !== a.floor));
    const capped = (values) => values.map((value) => (Number.isFinite(value) ? value : null));
    const span = [a, b].flatMap((one) => one.loss).filter((value) => value > 0 && Number.isFinite(value));
    losses.draw([
      ...(view.valley === "noisy" ? [{ kind: "line", label: "A expected", colour: 1, dash: 2, x: epochs, y: capped(a.expected) }, { kind: "line", label: "B expected", colour: 2, dash: 2, x: epochs, y: capped(b.expected) }] : []),
      { kind: "line", label: "run A", colour: 1, thin: true, x: epochs, y: capped(a.loss) },
      { kind: "line", label: "run B", colour: 2, thin: true, x: epochs, y: capped(b.loss) },
      ...floors.map((one) => ({ kind: "across", label: floors.length === 1 ? "floor at a constant η" : `floor of ${one === a ? "A" : "B"} at a constant η`, colour: one === a ? 3 : 5, dash: 1, y: [one.floor], value: figure(one.floor) })),
    ], { y: { range: [Math.max(1e-4, Math.min(...span)), Math.min(1e3, Math.max(...span) * 1.5)] } });
    rates.draw([a, b].map((one, i) => ({ kind: "line", label: `run ${"AB"[i]}`, colour: i + 1, dash: i, x: epochs.slice(0, -1), y: one.lrs })));
    const levels = [0.5, 1.5, 4, 8, 14].map((size) => place.level(size));
    [a, b].forEach((one, i) => {
      paths[i].draw([
        ...levels.map((points) => ({ kind: "shape", colour: 7, thin: true, pale: true, x: points.map(([x]) => x), y: points.map(([, y]) => y), outside: true })),
        { kind: "line", label: "path", colour: i + 1, thin: true, x: one.path.map(([x]) => x), y: one.path.map(([, y]) => y), quiet: true },
        { kind: "dots", label: "start and end", colour: 0, x: [one.path[0][0], one.path[steps][0]], y: [one.path[0][1], one.path[steps][1]], size: 4.5, plain: true },
      ], { x: { range: [-2.6, 2.6] }, y: { range: [-4, 4] } });
    });
    const ends = (one) => (one.low === one.high ? figure(one.end) : view.valley === "steep" && one.lrs[steps - 1] === one.lrs[0] ? `${figure(one.end)}, jumping between ${figure(one.low)} and ${figure(one.high)}` : `${figure(one.end)} (${figure(one.low)} to ${figure(one.high)})`);
    tell([
      ["A: loss over the last 2 epochs", ends(a)], ["A: floor at its first η", figure(a.floor)], ["A as a plan", String(a.plan)],
      ["B: loss over the last 2 epochs", ends(b)], ["B: floor at its first η", figure(b.floor)], ["B as a plan", String(b.plan)],
    ]);
    table(["epoch", "η of A", "loss of A", "η of B", "loss of B"], () => Array.from({ length: EPOCHS + 1 }, (_, e) => [e, a.lrs[Math.min(e * PER_EPOCH, steps - 1)], a.loss[e * PER_EPOCH], b.lrs[Math.min(e * PER_EPOCH, steps - 1)], b.loss[e * PER_EPOCH]]));
    root.querySelector(".formula").textContent = view.valley === "noisy"
      ? "C = ½Σ h·w² with h = 4 and 0.5, and noise σ in every gradient. At a constant η the loss settles at Σ ησ²/(2(2 − ηh)); the dotted lines are its exact expectation."
      : "C = 2·|w₁| + ¼·w₂². Every step across the valley is 2η long, so at a constant η the loss ends in jumping between two values whose mean is 2η.";
  };
  const moved = eachFrame(paint);
  const shared = root.querySelector(".shared");
  choice(shared, { label: "valley", options: [["steep", "steep walls, no noise"], ["noisy", "round, noisy gradients"]], value: view.valley, change: (v) => { view.valley = v; noise.enable(v === "noisy"); moved(); } });
  const noise = slider(shared, { label: "noise σ of the gradients", low: 0, high: 4, step: 0.05, value: view.noise, change: (v) => { view.noise = v; moved(); } });
  noise.enable(false);
  button(shared, "New noise", () => { view.seed += 1; moved(); });
  view.runs.forEach((one, i) => {
    const place = root.querySelector(`[data-run="${"AB"[i]}"]`);
    slider(place, { label: `η of run ${"AB"[i]}, at the start`, low: 0.001, high: 1, step: 0.02, scale: "log", value: one.lr, show: (v) => figure(v, 3), change: (v) => { one.lr = v; moved(); } });
    choice(place, { label: `decay of run ${"AB"[i]}`, options: KINDS, value: one.kind, change: (v) => { one.kind = v; period.enable(v === "step" || v === "exponential"); moved(); } });
    const period = slider(place, { label: `run ${"AB"[i]} halves every … epochs`, low: 1, high: 20, step: 1, value: one.period, show: whole, change: (v) => { one.period = v; moved(); } });
    period.enable(one.kind === "step" || one.kind === "exponential");
  });
  paint();
  return view;
}
