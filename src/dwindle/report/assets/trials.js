// The table of trials: sort, filter, choose rows to draw, save as CSV.
function trialTable(evidence, redraw) {
  const table = document.getElementById("trials-table");
  const controls = document.getElementById("trials-controls");
  const rows = [...table.tBodies[0].rows].map((row, index) => ({ row, trial: evidence.trials[index], index }));
  const state = { setting: "", schedule: "", text: "", state: "", metric: "validation", chosen: [] };
  const keys = [
    (t) => t.setting, (t) => t.id, (t) => t.lam, (t) => t.peak, (t) => t.schedule, (t) => t.seed,
    (t) => t.final[0], (t) => t.final[1], (t) => t.final[2], 
    ...(evidence.trials.some((t) => t.final[4] !== null) ? [(t) => t.final[4]] : []),
    (t) => (t.diverged ? 1e9 : t.stopped === null ? -1 : t.stopped),
  ];
  const kind = (t) => (t.diverged ? "diverged" : t.stopped === null ? "finished" : "let go");

  const choose = (index, on) => {
    state.chosen = state.chosen.filter((other) => other !== index);
    if (on) state.chosen.push(index);
    rows[index].row.classList.toggle("drawn", on);
    rows[index].box.checked = on;
  };

  rows.forEach((entry) => {
    const { trial } = entry;
    entry.text = `${evidence.settings[trial.setting]} ${trial.id} ${trial.schedule} ${trial.plan}`.toLowerCase();
    entry.box = element("input", { type: "checkbox", "aria-label": `draw trial ${trial.id} of ${evidence.settings[trial.setting]}` });
    entry.box.addEventListener("change", () => { choose(entry.index, entry.box.checked); redraw(chart()); });
    entry.row.prepend(element("td", {}, entry.box));
  });

  function chart() {
    const lines = state.chosen.map((index, order) => {
      const { trial } = rows[index];
      return {
        label: `${evidence.settings[trial.setting]} #${trial.id}: λ ${figure(trial.lam)}, lr ${figure(trial.peak)}, ${trial.schedule}${trial.stopped === null ? "" : `, ${trial.state}`}`,
        x: trial.epoch, y: trial.curve[state.metric] || trial.epoch.map(() => null),
        colour: 1 + (order % 7), dash: Math.floor(order / 7 + (order % 7) / 2) % 6,
      };
    });
    return { unit: state.metric, lines, range: null };
  }

  function sort(column, button) {
    const header = button.closest("th");
    const up = header.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("thead th").forEach((th) => th.removeAttribute("aria-sort"));
    table.querySelectorAll("thead .arrow").forEach((arrow) => { arrow.textContent = ""; });
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    button.querySelector(".arrow").textContent = up ? " ↑" : " ↓";
    const key = keys[column];
    const ordered = [...rows].sort((a, b) => {
      const [left, right] = [key(a.trial), key(b.trial)];
      if (left === null || right === null) return (left === null) - (right === null) || a.index - b.index; // missing last
      const order = typeof left === "string" ? left.localeCompare(right) : left - right;
      return (up ? order : -order) || a.index - b.index;
    });
    table.tBodies[0].append(...ordered.map((entry) => entry.row));
  }

  function filter() {
    let shown = 0;
    rows.forEach(({ row, trial, text }) => {
      const fits = (state.setting === "" || trial.setting === Number(state.setting))
        && (state.schedule === "" || trial.schedule === state.schedule)
        && (state.state === "" || kind(trial) === state.state)
        && text.includes(state.text.toLowerCase());
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length} trials`;
  }

  function select(name, label, choices, then) {
    const box = element("select", { id: `trials-${name}` });
    choices.forEach(([value, text]) => box.append(element("option", { value }, text)));
    box.addEventListener("change", () => { state[name] = box.value; then(); });
    return element("label", {}, label, box);
  }

  // A spreadsheet runs a text that begins with one of these as a formula; the quote makes it text.
  function cell(value) {
    if (typeof value === "number") return String(value);
    if (value === null || value === undefined) return "";
    const text = /^(\s*[=+\-@＝＋－＠]|[\t\r\n])/.test(String(value)) ? `'${value}` : String(value);
    return `"${text.replaceAll('"', '""')}"`;
  }

  function save() {
    const names = ["setting", "id", "lam", "peak", "schedule", "plan", "seed", "diverged", "stopped_at",
      "train_loss", "validation_loss", "gap", "train_accuracy", "validation_accuracy"];
    const lines = rows.map(({ trial: t }) => [
      evidence.settings[t.setting], t.id, t.lam, t.peak, t.schedule, t.plan, t.seed, String(t.diverged), t.stopped, ...t.final,
    ].map(cell).join(","));
    const blob = new Blob([[names.join(","), ...lines].join("\r\n") + "\r\n"], { type: "text/csv;charset=utf-8" });
    const link = element("a", { href: URL.createObjectURL(blob), download: "trials.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const count = element("output", { "aria-live": "polite" });
  const search = element("input", { type: "search", id: "trials-text", size: "14", placeholder: "search" });
  search.addEventListener("input", () => { state.text = search.value; filter(); });
  const schedules = [...new Set(evidence.trials.map((trial) => trial.schedule))];
  const recorded = new Set(evidence.trials.flatMap((trial) => Object.keys(trial.curve)));
  const metrics = [["validation", "validation loss"], ["train", "train loss"], ["accuracy", "validation accuracy"],
    ["penalty", "penalty"]].filter(([name]) => recorded.has(name));
  const csv = element("button", { type: "button" }, "Save as CSV");
  csv.addEventListener("click", save);
  const clear = element("button", { type: "button" }, "Clear chosen");
  clear.addEventListener("click", () => { [...state.chosen].forEach((index) => choose(index, false)); redraw(chart()); });
  controls.append(
    select("metric", "draw ", metrics, () => redraw(chart())), clear,
    ...(evidence.settings.length > 1
      ? [select("setting", "setting ", [["", "all"], ...evidence.settings.map((name, index) => [String(index), name])], filter)] : []),
    select("schedule", "schedule ", [["", "all"], ...schedules.map((name) => [name, name])], filter),
    select("state", "state ", [["", "all"], ...["finished", "let go", "diverged"]
      .filter((name) => name !== "let go" || evidence.trials.some((t) => kind(t) === name)).map((name) => [name, name])], filter),
    element("label", {}, search), csv, count,
  );

  [...table.tHead.rows[0].cells].forEach((th, column) => {
    const button = element("button", { type: "button" }, ...th.childNodes, element("span", { class: "arrow" }));
    button.addEventListener("click", () => sort(column, button));
    th.append(button);
  });
  table.tHead.rows[0].prepend(element("th", {}, element("span", { class: "sr" }, "draw")));

  rows.forEach(({ trial, index }) => {
    if (evidence.chosen.some(([setting, id]) => trial.setting === setting && trial.id === id)) choose(index, true);
  });
  filter();
  redraw(chart());
}
