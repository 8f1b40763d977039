// A study that runs: asked for every two seconds while it is looked at.
function studyView(root, served) {
  const place = root.querySelector(".studies");
  const view = { polls: 0, open: false };
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
  // The card of a study is made once and filled anew: focus, scrolling and the cursor in a picture stay where they are.
  const cards = new Map();
  const cardOf = (folder) => {
    const said = element("p");
    const settings = element("div", { hidden: true });
    const drawing = element("div", { hidden: true });
    const about = element("div");
    const rows = element("tbody");
    const scroll = element("div", { class: "scroll tall", hidden: true, tabindex: "0", role: "group", "aria-label": `trials of ${folder}` }, element("table", {},
      element("thead", {}, element("tr", {}, ...["λ", "peak η", "score", "schedule", "state"].map((name, i) => element("th", { scope: "col", class: i > 2 ? "text" : null }, name)))), rows));
    body.append(element("section", { class: "card", "aria-label": folder }, element("h3", {}, folder), said, settings, drawing, about, scroll));
    const chosen = choice(settings, { label: "setting", options: [], value: "", change: () => show(view.last) });
    const picture = new Picture(drawing, { title: `Best score so far, ${folder}`, x: { name: "trial", whole: true, show: (v) => String(Math.round(v)) }, y: { name: "score" }, height: 240 });
    return { said, settings, drawing, about, rows, scroll, chosen, picture, names: [] };
  };
  const refill = (node, content) => {
    const old = node.firstElementChild;
    if (!content || !content.firstElementChild || !old || !old.hasAttribute("tabindex")) { node.replaceChildren(content); return; }
    old.replaceChildren(...content.childNodes);
  };
  const study = (one) => {
    if (!cards.has(one.folder)) cards.set(one.folder, cardOf(one.folder));
    const card = cards.get(one.folder);
    if (card.names.join("\n") !== one.settings.join("\n")) {
      const before = card.chosen.value;
      card.names = one.settings;
      card.chosen.input.replaceChildren(...one.settings.map((name) => element("option", { value: name }, name)));
      card.chosen.set(one.settings.includes(before) ? before : one.settings[0]);
    }
    card.settings.hidden = one.settings.length < 2;
    const trials = one.trials.filter((trial) => trial.setting === undefined || !one.settings.length || trial.setting === card.chosen.value);
    const best = trials.filter((trial) => trial.score !== null).reduce((a, b) => (a === null || b.score < a.score ? b : a), null);
    const winner = (one.winner_of || {})[card.chosen.value] || null;
    const won = winner ? ` The winner: ${winner}.` : "";
    const score = best ? ` ${winner ? "Best of the sweep, from one seed:" : "Best score"} ${figure(best.score)}: ${best.plan || `λ ${figure(best.lam)}, η ${figure(best.peak)}, ${best.schedule}`}` : "";
    card.said.textContent = `${one.state}; ${trials.length} trials.${won}${score}`;
    card.drawing.hidden = !trials.length;
    card.scroll.hidden = !trials.length;
    let low = Infinity;
    const scored = trials.map((trial, i) => [i + 1, trial.score]).filter(([, score]) => score !== null);
    card.picture.draw([
      { kind: "dots", label: "each trial", colour: 7, x: scored.map(([i]) => i), y: scored.map(([, score]) => score), plain: true, size: 2.5 },
      { kind: "line", label: "best so far", colour: 1, x: scored.map(([i]) => i), y: scored.map(([, score]) => (low = Math.min(low, score))) },
    ]);
    refill(card.about, map(trials));
    const rows = [...trials].sort((a, b) => (a.score ?? Infinity) - (b.score ?? Infinity)).slice(0, 200);
    card.rows.replaceChildren(...rows.map((trial) => element("tr", {}, ...[figure(trial.lam), figure(trial.peak), figure(trial.score), trial.schedule, `${trial.state}${trial.stopped_at === null ? "" : ` at epoch ${figure(trial.stopped_at)}`}${winner && trial.plan === winner ? ", the winner" : ""}`].map((cell, i) => element("td", { class: i > 2 ? "text" : null }, String(cell))))));
  };
  const show = (told) => {
    view.last = told;
    if (!told.studies.length) { body.replaceChildren(element("p", {}, "The lab was started without a study. Start it with "), element("pre", {}, "dwindle lab --study FOLDER")); return; }
    told.studies.forEach(study);
  };
  // One question at a time, and one timer: the page may be hidden and shown again within the two seconds.
  let [timer, asking] = [0, false];
  const ask = async () => {
    clearTimeout(timer);
    if (asking || !view.open || document.hidden) return;
    asking = true;
    try {
      const told = await served("study", {});
      view.polls += 1;
      if (JSON.stringify(told) !== JSON.stringify(view.last)) show(told);
      const running = told.studies.some((one) => one.state === "running");
      status.textContent = running ? "Running; asked every two seconds." : "Nothing runs now; asked every two seconds.";
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      status.textContent = error.message;
    } finally {
      asking = false;
      timer = setTimeout(ask, 2000);
    }
  };
  view.show = (open) => { const was = view.open; view.open = open; if (open && !was) ask(); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  return view;
}
