// The plan editor: text, curves, sliders and code of one plan; the page reads the text itself, and a served page asks Python too.
const FIRST_PLAN = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1";

function planView(root, served) {
  const view = { text: FIRST_PLAN, steps: 10000, per_epoch: 500, framework: "torch", plan: null, answer: null };
  const text = byId("plan-text");
  const steps = byId("plan-steps");
  // What is said of the run besides its steps: the name in Python, its field, its name in an address.
  const worths = [["steps_per_epoch", byId("plan-epoch"), "epoch"], ["batch_size", byId("plan-batch"), "batch"], ["tokens_per_step", byId("plan-tokens"), "tokens"]];
  const said = byId("plan-said");
  const figures = root.querySelector(".pictures");
  const x = { name: "step", show: (v) => figure(v, 6) };
  const lr = new Picture(figures, { title: "Learning rate", x, y: { name: "lr", zero: true }, height: 300 });
  const left = new Picture(figures, { title: "What decay alone leaves of the first weights", x, y: { name: "share", range: [0, 1.02] }, height: 300 });
  const shrink = new Picture(figures, { title: "Share that leaves each weight in a step", x, y: { name: "1 − shrink", zero: true }, height: 220 });
  const tell = facts(root.querySelector(".told"));
  const table = numbersTable(root.querySelector(".told"), "The curves as numbers");
  const knobs = root.querySelector(".controls-grid");
  const size = (node) => { const value = Number(node.value.replaceAll(/[,_\s]/g, "")); return node.value.trim() === "" ? null : value; };

  const show = (plan, run) => {
    const made = planCurves(plan, run);
    lr.draw([{ kind: "line", label: "lr", colour: 1, x: made.step, y: made.lr }]);
    left.draw([{ kind: "line", label: "w / w(0)", colour: 3, x: [...made.step, run.steps], y: [...made.share_left, made.left] }]);
    const share = made.step.map((_, i) => 1 - made.shrink[i] + made.lr[i] * made.l2[i]);
    shrink.draw([{ kind: "line", label: plan.decay && plan.decay.convention === "l2" ? "lr·λ, as under plain SGD" : "1 − shrink", colour: 2, x: made.step, y: share }]);
    const time = (value) => (Number.isFinite(value) ? `${figure(value)} steps${run.steps_per_epoch ? ` = ${figure(value / run.steps_per_epoch)} epochs` : ""}${run.tokens_per_step ? ` = ${figure(value * run.tokens_per_step)} tokens` : ""}` : "endless: no decay");
    tell([
      ["τ = 1/(lr·λ) at the peak", time(plan.timescale(run))], ["half-life of a weight at the peak", time(plan.halfLife(run))],
      [`left of w(0) after ${whole(run.steps)} steps`, `${made.about ? "about " : ""}${figure(100 * made.left)} %`],
      ["lr at the first and the last step", `${figure(made.lr[0])}, ${figure(made.lr[made.lr.length - 1])}`], ["in steps", String(made.resolved)],
    ]);
    table(["step", "lr", "shrink", "left of w(0)"], () => made.step.map((step, i) => [whole(step), made.lr[i], made.shrink[i], made.share_left[i]]));
    view.curves = made;
  };
  const complain = (error, run) => {
    said.className = "said bad";
    said.textContent = error.message;
    text.setAttribute("aria-invalid", "true");
    if (error.place !== undefined) {
      said.append(element("code", { class: "place-mark", "aria-hidden": "true" }, view.text.slice(Math.max(0, error.place - 20), error.place), element("mark", {}, view.text.slice(error.place, error.place + 1) || "⏎"), view.text.slice(error.place + 1, error.place + 20)));
    }
    if (served && run) askPython();
  };
  const accept = (plan) => {
    said.className = "said";
    said.textContent = plan.warning || (String(plan) === view.text.trim() ? "" : `the same plan, in its one spelling: ${plan}`);
    text.removeAttribute("aria-invalid");
  };
  // keep: leave the sliders as the hand that drags them has them.
  const read = (keep = false) => {
    let run = null;
    view.plan = null;
    view.run = null;
    try {
      run = horizon(size(steps), Object.fromEntries(worths.map(([name, node]) => [name, size(node)])));
      view.run = run;
      const plan = parsePlan(view.text);
      show(plan, run);
      view.plan = plan;
      accept(plan);
      if (!keep) setKnobs(plan, run);
      history.replaceState(null, "", `#plan=${encodeURIComponent(view.text)}&steps=${run.steps}${worths.map(([name, , key]) => (run[name] ? `&${key}=${run[name]}` : "")).join("")}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      [peak, warm, end, lam].forEach((one) => one.enable(false));
      complain(error, run);
    }
    code();
    if (served && view.plan) askPython();
  };
  const setKnobs = (plan, run) => {
    const states = [[peak, plan.peak || null], [warm, warmupOf(plan, run)], [end, endOf(plan)], [lam, lambdaOf(plan)]];
    states.forEach(([knob, value]) => { knob.enable(value !== null); if (value !== null) knob.set(value); });
  };
  const turned = (change) => (value) => {
    if (!view.plan) return;
    try {
      view.text = String(change(view.plan, value));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      complain(error, null);
      return;
    }
    text.value = view.text;
    read(true);
  };
  const percentShown = (v) => `${figure(v, 3)} %`;
  const peak = slider(knobs, { label: "peak learning rate", low: 1e-6, high: 10, step: 0.02, scale: "log", value: 3e-4, show: (v) => figure(v, 3), change: turned((plan, v) => new Plan({ ...plan, peak: Number(v.toPrecision(2)) })) });
  const warm = slider(knobs, { label: "warm-up, of the run", low: 0, high: 50, step: 0.5, value: 2, show: percentShown, change: turned(withWarmup) });
  const end = slider(knobs, { label: "end, of the peak", low: 0, high: 1, step: 0.01, value: 0.1, show: (v) => percentShown(100 * v), change: turned(withEnd) });
  const lam = slider(knobs, { label: "λ, the weight decay", low: 1e-6, high: 10, step: 0.05, scale: "log", zero: true, value: 0.1, show: (v) => figure(v, 3), change: turned((plan, v) => withLambda(plan, Number(v.toPrecision(2)))) });

  // Code: Python's own where it answers, else what applies the plan by dwindle's adapters.
  const list = byId("plan-frameworks");
  const tabs = FRAMEWORKS.map(([key, name], i) => {
    const tab = element("button", { type: "button", role: "tab", id: `code-${key}`, "aria-controls": "plan-code" }, name);
    tab.addEventListener("click", () => { view.framework = key; code(); });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = (i + step + tabs.length) % tabs.length;
      [view.framework] = FRAMEWORKS[next];
      code();
      tabs[next].focus();
    });
    list.append(tab);
    return tab;
  });
  const pane = byId("plan-code");
  const snippet = pane.querySelector(".snippet");
  snippet.append(copyButton(() => pane.querySelector("pre").textContent, "code"));
  function code() {
    tabs.forEach((tab, i) => {
      const on = FRAMEWORKS[i][0] === view.framework;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      if (on) pane.setAttribute("aria-labelledby", tab.id);
    });
    const note = pane.querySelector(".note");
    const pre = pane.querySelector("pre");
    const answer = view.answer && view.answer.asked === question() ? view.answer : null;
    if (answer && answer.told) {
      pre.textContent = answer.told.code[view.framework] || "";
      snippet.hidden = !answer.told.code[view.framework];
      note.textContent = (answer.told.notes[view.framework] || []).join(" ") || `${FRAMEWORKS.find(([key]) => key === view.framework)[1]}'s own means, written by Python's dwindle.`;
      return;
    }
    snippet.hidden = !view.plan;
    if (!view.plan) { note.textContent = "There is code once the plan can be read."; return; }
    const own = adapterCode(view.framework, view.plan, view.run);
    const command = convertCommand(view.framework, view.plan, view.run);
    pre.textContent = own ? `${own}\n# or, as ${view.framework}'s own source:\n#   ${command}\n` : `${command}\n`;
    note.textContent = own ? "This uses dwindle's adapter. The framework's own source needs Python: run the command in the last line, or open this page by dwindle lab."
      : "dwindle has no adapter for it. This command writes its own source; opened by dwindle lab, the page shows it here.";
  }

  const python = byId("plan-python");
  // What Python is asked, or null; an answer counts while the question is still the same.
  function question() { return view.run && JSON.stringify({ plan: view.text, ...view.run }); }
  const askPython = served ? later(300, async () => {
    const asked = question();
    if (!asked) return;
    try {
      const told = await served("plan", JSON.parse(asked));
      if (asked !== question()) return;
      view.answer = { asked, told };
      if (view.plan) {
        const ready = view.plan.resolve(view.run);
        const off = Math.max(0, ...told.step.map((step, i) => Math.abs(ready.dose(step).lr - told.lr[i]) / (Math.abs(told.lr[i]) || 1)));
        python.textContent = off < 1e-12 ? "Python reads the same plan and gives the same rates." : `Python's rates differ by ${figure(off)}: trust Python, and please report it.`;
      } else {
        python.textContent = `Python reads it: ${told.plan}. It left ${figure(100 * told.share_left[told.share_left.length - 1])} % of w(0).`;
        lr.draw([{ kind: "line", label: "lr, by Python", colour: 1, x: told.step, y: told.lr }]);
        left.draw([{ kind: "line", label: "w / w(0), by Python", colour: 3, x: told.step, y: told.share_left }]);
      }
    } catch (error) {
      if (asked !== question()) return;
      view.answer = { asked, told: null };
      python.textContent = view.plan || error.offline ? error.message : "";
    }
    code();
  }) : () => {};

  text.addEventListener("input", () => { view.text = text.value; read(); });
  [steps, ...worths.map(([, node]) => node)].forEach((node) => node.addEventListener("input", () => read()));
  const examples = byId("plan-examples");
  [FIRST_PLAN, "peak 0.1 | step by 0.5 every 5ep | l2 1e-4", "peak 3e-3 | warmup 1%, constant, 1-sqrt to 0% over 20% | decoupled 0.1", "peak 0.1 | cosine repeat cycles 3 growth 2 decay 0.8 | independent 1e-4", "peak 1e-3 | inverse-sqrt every 500st | decoupled (linear to 50%) cautious"].forEach((example) => {
    button(examples, example, () => { text.value = example; view.text = example; read(); }, "example");
  });
  // A shared address: #plan=TEXT&steps=N&epoch=K&batch=B&tokens=T
  view.open = (hash) => {
    const shared = new URLSearchParams(hash);
    if (!shared.get("plan")) { read(); return; }
    view.text = shared.get("plan");
    if (shared.has("steps")) steps.value = shared.get("steps");
    worths.forEach(([, node, key]) => { node.value = shared.get(key) || (shared.has("steps") ? "" : node.value); });
    text.value = view.text;
    read();
  };
  root.querySelector(".share").append(copyButton(() => location.href, "address of this plan", "Copy address"));
  return view;
}
