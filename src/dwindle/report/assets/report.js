// The page: theme, tabs, copy buttons, printing, and the first drawing of every chart.
(() => {
  const root = document.documentElement;
  const evidence = JSON.parse(document.getElementById("evidence").textContent);
  const charts = new Map(Object.entries(evidence.charts).map(([key, chart]) => [key, chart.of ? { ...evidence.charts[chart.of], ...chart } : chart]));
  const undo = new Map();
  root.classList.add("scripted");

  function redraw(place) {
    const key = place.dataset.chart;
    const chart = charts.get(key);
    if (undo.has(key)) undo.get(key)();
    undo.delete(key);
    place.querySelectorAll(".draw, .legend, .said").forEach((old) => old.remove());
    place.hidden = !chart && key !== "trials";
    if (chart && chart.lines.length) undo.set(key, draw(place, chart));
  }
  const redrawAll = () => document.querySelectorAll(".chart").forEach(redraw);

  // Theme: follows the system until the button says otherwise.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "switch to the light theme" : "switch to the dark theme");
  };
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); redrawAll(); });
  system.addEventListener("change", () => { label(); redrawAll(); });
  label();

  // Tabs: every schedule's map is in the page; the tabs show one at a time.
  document.querySelectorAll(".families").forEach((families, group) => {
    const panes = [...families.querySelectorAll(".family")];
    if (panes.length < 2) return;
    const list = element("div", { class: "tablist", role: "tablist", "aria-label": "schedule" });
    const tabs = panes.map((pane, index) => {
      const title = pane.querySelector("h4");
      const tab = element("button", { type: "button", role: "tab", id: `tab-${group}-${index}`, "aria-controls": `pane-${group}-${index}` },
        element("bdi", {}, title.textContent));
      pane.id = `pane-${group}-${index}`;
      pane.setAttribute("role", "tabpanel");
      pane.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => show(index));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = (index + step + panes.length) % panes.length;
        show(next);
        tabs[next].focus();
      });
      return tab;
    });
    const show = (chosen) => tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
      panes[index].hidden = index !== chosen;
    });
    list.append(...tabs);
    families.prepend(list);
    families.classList.add("tabbed");
    show(0);
  });

  // Copy: the clipboard where the browser allows it; otherwise the text is selected, ready for Ctrl+C.
  document.querySelectorAll(".snippet").forEach((snippet) => {
    const source = document.getElementById(snippet.dataset.copy);
    const copy = element("button", { type: "button", "aria-label": `copy ${snippet.dataset.name}` }, "Copy");
    const say = (text) => { copy.textContent = text; setTimeout(() => { copy.textContent = "Copy"; }, 2000); };
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        say("Copied");
      } catch {
        getSelection().selectAllChildren(source);
        say("Ctrl+C");
      }
    });
    snippet.append(copy);
  });

  // Paper is white: print in the light theme, with everything unfolded.
  let before = null;
  addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme, open: [...document.querySelectorAll("details:not([open])")] };
    root.dataset.theme = "light";
    before.open.forEach((details) => { details.open = true; });
    redrawAll();
  });
  addEventListener("afterprint", () => {
    if (!before) return;
    if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
    before.open.forEach((details) => { details.open = false; });
    redrawAll();
  });

  redrawAll();
  const trials = document.querySelector('[data-chart="trials"]');
  if (trials) trialTable(evidence, (chart) => { charts.set("trials", chart); redraw(trials); });
})();
