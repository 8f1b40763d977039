// A study that runs: asked for every two seconds while it is looked at.
function studyView(root, served) {
  const place = root.querySelector(".studies");
  const view = { polls: 0, open: false, setting: new Map() };
  if (!served) return view;
  place.replaceChildren(element("p", { class: "said", role: "status" }, "asking …"));
  const body = element("div");
  place.append(body);
  const status = place.querySelector(".said");

  const map = (trials) => {
    const scored = trials.filter((trial) => trial.score !== null && trial.lam !== null && trial.peak !== null);
    if (!scored.length) return "";
    const sorted = (name) => [...new Set(scored.map((trial) => trial[name]))].sort((a, b) => a - b);
    const [lams, peaks] = [sorted("lam"), sorted("peak")];
    if (lams.length * peaks.length > 900) return element("p", { class: "note" }, "Too many different λ and rates for a map; the table has them.");
    const best = (lam, peak) => scored.filter((trial) => trial.lam === lam && trial.peak === peak).reduce((low, trial) => Math.min(low, trial.score), Infinity);
    const scores = lams.flatMap((lam) => peaks.map((peak) => best(lam, peak))).filter(Number.isFinite).sort((a, b) => a - b);
    const shade = (score) => Math.min(5, Math.floor(6 * scores.indexOf(score) / scores.length));
    return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "map of the best score by λ and learning rate" }, element("table", { class: "heat" },
      element("caption", {}, "Best score by λ (rows) and peak learning rate (columns); dark is lower, that is better"),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "λ \\ η"), ...peaks.map((peak) => element("th", { scope: "col" }, figure(peak, 3))))),
      element("tbody", {}, ...lams.map((lam) => element("tr", {}, element("th", { scope: "row" }, figure(lam, 3)), ...peaks.map((peak) => {
        const score = best(lam, peak);
        return Number.isFinite(score) ? element("td", { class: `q${shade(score)}` }, figure(score)) : element("td", { class: "none" }, "·");
      }))))));
  };
  const study = (one) => {
    const settings = one.settings.length ? one.settings : [null];
    const now = settings.includes(view.setting.get(one.folder)) ? view.setting.get(one.folder) : settings[0];
    const trials = one.trials.filter((trial) => trial.setting === undefined || trial.setting === now || now === null);
    const best = trials.filter((trial) => trial.score !== null).reduce((a, b) => (a === null || b.score < a.score ? b : a), null);
    const card = element("section", { class: "card", "aria-label": one.folder }, element("h3", {}, one.folder),
      element("p", {}, `${one.state}; ${trials.length} trials.${best ? ` Best score ${figure(best.score)}: ${best.plan || `λ ${figure(best.lam)}, η ${figure(best.peak)}, ${best.schedule}`}` : ""}`));
    if (settings.length > 1) choice(card, { label: "setting", options: settings.map((name) => [name, name]), value: now, change: (name) => { view.setting.set(one.folder, name); show(view.last); } });
    body.append(card);
    if (!trials.length) return;
    const picture = element("div");
    card.append(picture);
    let low = Infinity;
    const scored = trials.map((trial, i) => [i + 1, trial.score]).filter(([, score]) => score !== null);
    new Picture(picture, { title: `Best score so far, ${one.folder}`, x: { name: "trial", show: (v) => String(Math.round(v)) }, y: { name: "score" }, height: 240 }).draw([
      { kind: "dots", label: "each trial", colour: 7, x: scored.map(([i]) => i), y: scored.map(([, score]) => score), plain: true, size: 2.5 },
      { kind: "line", label: "best so far", colour: 1, x: scored.map(([i]) => i), y: scored.map(([, score]) => (low = Math.min(low, score))) },
    ]);
    card.append(map(trials));
    const rows = [...trials].sort((a, b) => (a.score ?? Infinity) - (b.score ?? Infinity)).slice(0, 200);
    card.append(element("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": `trials of ${one.folder}` }, element("table", {},
      element("thead", {}, element("tr", {}, ...["λ", "peak η", "score", "schedule", "state"].map((name, i) => element("th", { scope: "col", class: i > 2 ? "text" : null }, name)))),
      element("tbody", {}, ...rows.map((trial) => element("tr", {}, ...[figure(trial.lam), figure(trial.peak), figure(trial.score), trial.schedule, trial.stopped_at === null ? trial.state : `${trial.state} at epoch ${figure(trial.stopped_at)}`].map((cell, i) => element("td", { class: i > 2 ? "text" : null }, String(cell)))))))));
  };
  const show = (told) => {
    view.last = told;
    body.replaceChildren();
    if (!told.studies.length) { body.append(element("p", {}, "The lab was started without a study. Start it with "), element("pre", {}, "dwindle lab --study FOLDER")); return; }
    told.studies.forEach(study);
  };
  const ask = async () => {
    if (!view.open || document.hidden) return;
    try {
      const told = await served("study", {});
      view.polls += 1;
      if (JSON.stringify(told) !== JSON.stringify(view.last)) show(told);
      const running = told.studies.some((one) => one.state === "running");
      status.textContent = running ? "Running; asked every two seconds." : "Nothing runs now; asked every two seconds.";
    } catch (error) {
      status.textContent = error.message;
    }
    setTimeout(ask, 2000);
  };
  view.show = (open) => { const was = view.open; view.open = open; if (open && !was) ask(); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  return view;
}
