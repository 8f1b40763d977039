// A fit that wriggles through every point, and calms as λ grows.
function fitView(root) {
  const LAMBDAS = Array.from({ length: 121 }, (_, i) => 10 ** (-10 + i / 10));
  const setting = { truth: "wave", basis: "powers", degree: 12, size: 16, noise: 0.25, seed: 1 };
  const view = { setting, lambda: 1e-9, fit: null, now: null };
  const controls = root.querySelector(".controls-grid");
  const figures = root.querySelector(".pictures");
  const curve = new Picture(figures, { title: "The points, the curve behind them, and the fit", x: { name: "x" }, y: { name: "y" }, height: 320 });
  const errors = new Picture(figures, { title: "Error on these points and on new ones, over λ", x: { name: "λ", log: true }, y: { name: "error", log: true }, height: 320 });
  const weights = new Picture(figures, { title: "The weights, on a scale of powers of ten", x: { name: "weight", whole: true, show: (v) => String(Math.round(v)) }, y: { name: "size", show: (v) => (v === 0 ? "0" : `${v < 0 ? "−" : ""}${figure(10 ** Math.abs(v) / 100)}`) }, height: 220 });
  const tell = facts(root.querySelector(".told"));
  const table = numbersTable(root.querySelector(".told"), "The points and the fit as numbers");
  const signed = (w) => Math.sign(w) * Math.max(0, Math.log10(Math.abs(w) * 100 || 1e-9));

  const refit = () => {
    view.fit = new CurveFit(setting);
    view.path = LAMBDAS.map((lambda) => view.fit.at(lambda));
    view.best = view.path.reduce((best, one, i) => (one.test < view.path[best].test ? i : best), 0);
    paint();
  };
  const paint = () => {
    const now = view.fit.at(view.lambda);
    view.now = now;
    const { x, y } = view.fit.points;
    curve.draw([
      { kind: "line", label: "curve behind", colour: 7, dash: 1, x: GRID, y: view.fit.truth, plain: true },
      { kind: "line", label: "fit", colour: 1, x: GRID, y: now.line, plain: true },
      { kind: "dots", label: "points", colour: 2, x, y, size: 4, plain: true },
    ], { x: { range: [-1, 1] }, y: { range: [-2, 2] } });
    errors.draw([
      { kind: "line", label: "these points", colour: 2, dash: 1, x: LAMBDAS, y: view.path.map((one) => Math.max(one.train, 1e-3)), plain: true },
      { kind: "line", label: "new points", colour: 1, x: LAMBDAS, y: view.path.map((one) => Math.min(one.test, 100)), plain: true },
      { kind: "upright", label: "λ now", colour: 0, x: [view.lambda || LAMBDAS[0]], y: [], outside: true, value: figure(view.lambda) },
      { kind: "dots", label: "best λ", colour: 3, x: [LAMBDAS[view.best]], y: [view.path[view.best].test], size: 5, plain: true },
    ], { x: { range: [1e-10, 100] } });
    const tall = Math.max(4, ...view.path[0].w.map((w) => Math.abs(signed(w))));
    weights.draw([{ kind: "bars", label: "weight", colour: 1, x: now.w.map((_, i) => i + 1), y: now.w.map(signed), plain: true }], { x: { range: [0.4, now.w.length + 0.6] }, y: { range: [-tall, tall] } });
    tell([
      ["error on these points", figure(now.train)], ["error to expect on new points", figure(now.test)],
      ["effective degrees of freedom", `${figure(now.freedom)} of ${now.w.length + 1}`], ["length of the weights ‖w‖", figure(Math.hypot(...now.w))],
      ["best λ for new points", `${figure(LAMBDAS[view.best])}, error ${figure(view.path[view.best].test)}`],
    ]);
    table(["x", "y", "fit"], () => x.map((at, i) => [at, y[i], fitted(now, view.fit.rows[i])]));
  };
  const again = eachFrame(refit);
  const moved = eachFrame(paint);
  const set = (name) => (value) => { setting[name] = value; again(); };
  view.lambdaControl = slider(controls, { label: "λ, the weight decay", low: 1e-10, high: 100, step: 0.1, scale: "log", value: view.lambda, show: (v) => figure(v, 3), change: (v) => { view.lambda = v; moved(); } });
  slider(controls, { label: "degree, or number of bumps", low: 1, high: 15, step: 1, value: setting.degree, show: whole, change: set("degree") });
  slider(controls, { label: "number of points", low: 5, high: 120, step: 1, value: setting.size, show: whole, change: set("size") });
  slider(controls, { label: "noise", low: 0, high: 1, step: 0.01, value: setting.noise, change: set("noise") });
  choice(controls, { label: "features", options: [["powers", "powers of x"], ["legendre", "Legendre polynomials"], ["bumps", "bumps (RBF)"]], value: setting.basis, change: set("basis") });
  choice(controls, { label: "curve", options: [["wave", "wave"], ["hill", "hill"], ["step", "step"]], value: setting.truth, change: set("truth") });
  const buttons = element("div", { class: "buttons" });
  controls.append(buttons);
  button(buttons, "New points", () => { setting.seed += 1; again(); });
  button(buttons, "Go to the best λ", () => { view.lambda = LAMBDAS[view.best]; view.lambdaControl.set(view.lambda); paint(); });
  refit();
  return view;
}
