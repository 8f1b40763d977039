// The page: its parts by their address, the theme, and how a served page asks Python.
const lab = (() => {
  const root = document.documentElement;
  const data = JSON.parse(byId("data").textContent);
  root.classList.add("scripted");

  // POST a question to the lab's server; null where the page stands alone.
  const served = data.token ? async (call, body) => {
    let answer;
    let told;
    try {
      answer = await fetch(`/api/${call}`, { method: "POST", headers: { "Content-Type": "application/json", "X-Dwindle-Token": data.token }, body: JSON.stringify(body) });
      told = await answer.json();
    } catch {
      const error = new Refused("the server does not answer; is dwindle lab still running?", "Offline");
      error.offline = true;
      throw error;
    }
    if (!answer.ok) throw new Refused(told.error, "Served");
    return told;
  } : null;
  root.classList.add(served ? "served" : "alone");

  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = byId("theme");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", isDark() ? "switch to the light theme" : "switch to the dark theme"); };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
  system.addEventListener("change", label);
  label();

  const makers = { fit: (place) => fitView(place), rattle: (place) => valleyView(place), learn: (place) => networkView(place, data.images), plan: (place) => planView(place, served), log: (place) => logView(place, served), study: (place) => studyView(place, served) };
  const views = {};
  const links = [...document.querySelectorAll(".tabs a")];
  const nameIn = (hash) => { const name = hash.replace(/^#/, "").split(/[=&]/)[0]; return Object.hasOwn(makers, name) ? name : "fit"; };
  function open() {
    if (location.hash === "#main") return; // the link that skips the tabs
    const name = nameIn(location.hash);
    document.querySelectorAll("main > section").forEach((section) => { section.hidden = section.id !== `part-${name}`; });
    links.forEach((link) => { if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current"); });
    const first = !views[name];
    if (first) views[name] = makers[name](byId(`part-${name}`));
    if (name === "plan") views.plan.open(location.hash.slice(1));
    if (name === "log" && first) views.log.given();
    if (views.study && views.study.show) views.study.show(name === "study");
    document.title = `${links.find((link) => link.hash === `#${name}`).textContent} · ${data.title}`;
  }
  addEventListener("hashchange", open);
  open();
  return { data, views, served };
})();
