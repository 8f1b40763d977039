// Both decays on a small network that learns in the page, from a few hundred of the shipped images.
function decodedImages({ pixels, labels, side }) {
  const bytes = Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0));
  const size = side * side;
  return { images: labels.map((_, i) => Float64Array.from(bytes.subarray(i * size, (i + 1) * size), (value) => value / 255)), labels: [...labels] };
}

// The training set with a share of its labels replaced by another class, drawn by seed.
function withWrongLabels({ images, labels }, size, share, seed) {
  const random = new Random(seed, 4);
  const order = random.permutation(size);
  const wrong = new Set(order.slice(0, Math.round(share * size)));
  return { images: images.slice(0, size), labels: labels.slice(0, size).map((label, i) => { const other = Math.floor(random.uniform() * 9); return wrong.has(i) ? (label + 1 + other) % 10 : label; }) };
}

// Trains beside the page, or where no worker may run, in slices between its frames.
function trainer(tell) {
  let worker = null;
  let local = null;
  let timer = 0;
  const blob = () => {
    const url = URL.createObjectURL(new Blob([byId("engine").textContent], { type: "text/javascript" }));
    const policy = window.trustedTypes && trustedTypes.createPolicy("dwindle-lab", { createScriptURL: (text) => (text === url ? text : "") });
    return policy ? policy.createScriptURL(url) : url;
  };
  try {
    worker = new Worker(blob());
    worker.onmessage = ({ data }) => tell(data);
    worker.onerror = (event) => { event.preventDefault(); worker = null; if (local) local(); };
  } catch {
    worker = null;
  }
  let training = null;
  let going = false;
  let id = 0;
  const slice = () => {
    if (!going || training.ended) return;
    tell({ id, seen: training.nextEpoch(), answers: training.answers(12), ended: training.ended });
    timer = setTimeout(slice, 16);
  };
  const here = (message) => {
    clearTimeout(timer);
    if (message.start) {
      id = message.id;
      training = new Training(message.start);
      tell({ id, seen: training.history[0], answers: training.answers(12), ended: false });
    }
    going = message.going;
    if (going) timer = setTimeout(slice, 0);
  };
  return (message) => {
    if (!worker) { here(message); return; }
    local = () => here(message);
    worker.postMessage(message);
  };
}

function networkView(root, data) {
  const train = decodedImages(data.train);
  const validation = decodedImages(data.validation);
  const setting = { lambda: 0, lr: 0.3, kind: "cosine to 0%", batch: 20, size: 300, wrong: 0.2, hidden: 32, epochs: 80, seed: 1 };
  const view = { setting, history: [], state: "ready", run: 0, train, validation };
  const controls = root.querySelector(".controls-grid");
  const figures = root.querySelector(".pictures");
  const losses = new Picture(figures, { title: "Loss on the training images and on others", x: { name: "epoch" }, y: { name: "loss" }, height: 300 });
  const gaps = new Picture(figures, { title: "The gap between the two", x: { name: "epoch" }, y: { name: "gap" }, height: 300 });
  const norms = new Picture(figures, { title: "Length of the weights ‖w‖", x: { name: "epoch" }, y: { name: "‖w‖" }, height: 220 });
  const rates = new Picture(figures, { title: "The learning rate", x: { name: "epoch" }, y: { name: "η", zero: true }, height: 220 });
  const tell = facts(root.querySelector(".told"));
  const table = numbersTable(root.querySelector(".told"), "The training as numbers, an epoch a row");
  const shots = element("ul", { class: "shots" });
  root.querySelector(".told").before(element("div", {}, element("h3", {}, "What it says of twelve images it does not learn from"), shots));
  const cells = validation.images.slice(0, 12).map((image) => {
    const canvas = element("canvas", { width: data.validation.side, height: data.validation.side, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(data.validation.side, data.validation.side);
    image.forEach((value, i) => pixels.data.set([255 - value * 255, 255 - value * 255, 255 - value * 255, 255], 4 * i));
    context.putImageData(pixels, 0, 0);
    const said = element("span");
    shots.append(element("li", {}, canvas, said));
    return said;
  });

  // The textbook's cost C0 + (λ/2n)Σw² is l2 with λ/n.
  const plan = () => `peak ${short(setting.lr)} | ${setting.kind}${setting.lambda ? ` | l2 ${short(setting.lambda / setting.size)}` : ""}`;
  const paint = eachFrame(() => {
    const { history } = view;
    const epoch = history.map((one) => one.epoch);
    const x = { range: [0, setting.epochs] };
    const old = view.last && view.last.history.length > 1 ? view.last : null;
    const before = (key) => (old ? [{ kind: "line", label: "the run before", colour: 7, dash: 2, thin: true, x: old.history.map((one) => one.epoch), y: old.history.map(key) }] : []);
    losses.draw([
      ...before((one) => one.validation),
      { kind: "line", label: "training", colour: 2, dash: 1, x: epoch, y: history.map((one) => one.train) },
      { kind: "line", label: "validation", colour: 1, x: epoch, y: history.map((one) => one.validation) },
    ], { x, y: { zero: true } });
    gaps.draw([...before((one) => one.validation - one.train), { kind: "line", label: "validation − training", colour: 1, x: epoch, y: history.map((one) => one.validation - one.train) }], { x });
    norms.draw([...before((one) => one.norm), { kind: "line", label: "‖w‖", colour: 3, x: epoch, y: history.map((one) => one.norm) }], { x, y: { zero: true } });
    rates.draw([{ kind: "line", label: "η", colour: 4, x: epoch, y: history.map((one) => one.lr) }], { x, y: { zero: true } });
    const last = history[history.length - 1];
    if (last) {
      const share = (value) => `${(100 * value).toFixed(1)} %`;
      tell([["state", view.state], ["epoch", `${last.epoch} of ${setting.epochs}`], ["training loss, accuracy", `${figure(last.train)}, ${share(last.trainAccuracy)}`],
        ["validation loss, accuracy", `${figure(last.validation)}, ${share(last.accuracy)}`], ["gap", figure(last.validation - last.train)], ["‖w‖", figure(last.norm)],
        ["the plan", plan()]]);
    }
    table(["epoch", "η", "training", "validation", "gap", "‖w‖"], () => history.map((one) => [one.epoch, one.lr, one.train, one.validation, one.validation - one.train, one.norm]));
    (view.answers || []).forEach(([best, chance], i) => {
      const right = best === validation.labels[i];
      cells[i].textContent = `${right ? "✓" : "✗"} ${data.classes[best]}, ${Math.round(100 * chance)} %`;
      cells[i].className = right ? "" : "wrong";
    });
  });

  const send = trainer(({ id, seen, answers, ended }) => {
    if (id !== view.run) return; // an epoch of the run before
    view.history.push(seen);
    view.answers = answers;
    if (!Number.isFinite(seen.train)) { view.state = "diverged: the learning rate is too large"; send({ going: false }); label(); } else if (ended) { view.state = "done"; label(); }
    paint();
  });
  const begin = (going) => {
    if (view.history.length > 1) view.last = { history: view.history };
    view.history = [];
    view.state = going ? "learning" : "ready";
    const { lambda, lr, kind, size, wrong, ...rest } = setting;
    view.run += 1;
    send({ going, id: view.run, start: { ...rest, plan: plan(), train: withWrongLabels(train, size, wrong, setting.seed), validation } });
    label();
  };
  const bar = element("div", { class: "buttons" });
  const go = button(bar, "Start", () => {
    if (view.state === "learning") { view.state = "paused"; send({ going: false }); } else if (view.state === "paused") { view.state = "learning"; send({ going: true }); } else begin(true);
    label();
    paint();
  }, "primary");
  button(bar, "Reset", () => { begin(false); view.last = null; paint(); });
  button(bar, "Other seed", () => { setting.seed += 1; begin(view.state === "learning"); });
  const label = () => { go.textContent = { learning: "Pause", paused: "Go on", ready: "Start" }[view.state] || "Start again"; };
  // A knob that is turned begins the training anew; one that learns goes on learning, with the run before beside it.
  const restart = later(250, () => begin(view.state === "learning" || view.state === "done"));
  const set = (name) => (value) => { setting[name] = value; restart(); };
  slider(controls, { label: "λ of the cost (λ/2n)Σw²", low: 0.01, high: 30, step: 0.1, scale: "log", zero: true, value: setting.lambda, show: (v) => figure(v, 3), change: set("lambda") });
  slider(controls, { label: "η, the learning rate at its peak", low: 0.001, high: 3, step: 0.05, scale: "log", value: setting.lr, show: (v) => figure(v, 3), change: set("lr") });
  choice(controls, { label: "decay of η", options: [["constant", "constant"], ["step by 0.5 every 5ep", "halved every 5 epochs"], ["cosine to 0%", "cosine to 0"], ["linear to 0%", "linear to 0"], ["warmup 5ep, cosine to 0%", "warm-up, cosine"]], value: setting.kind, change: set("kind") });
  slider(controls, { label: "images in a batch", low: 5, high: 100, step: 5, value: setting.batch, show: whole, change: set("batch") });
  slider(controls, { label: "images to learn from", low: 50, high: train.images.length, step: 50, value: setting.size, show: whole, change: set("size") });
  slider(controls, { label: "wrong labels among them", low: 0, high: 0.5, step: 0.05, value: setting.wrong, show: (v) => `${Math.round(v * 100)} %`, change: set("wrong") });
  slider(controls, { label: "hidden units", low: 4, high: 64, step: 4, value: setting.hidden, show: whole, change: set("hidden") });
  slider(controls, { label: "epochs", low: 10, high: 200, step: 10, value: setting.epochs, show: whole, change: set("epochs") });
  controls.append(bar);
  view.setting = setting;
  begin(false);
  return view;
}
