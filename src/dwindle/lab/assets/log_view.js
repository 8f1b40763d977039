// A log of training: its curves; served, also what Python finds in it and foretells.
function logView(root, served) {
  const figures = root.querySelector(".pictures");
  const said = byId("log-said");
  const found = byId("log-found");
  const input = byId("log-file");
  const drop = byId("log-drop");
  const view = { told: null };
  const most = 2000;
  const thin = (series) => {
    const every = Math.ceil(series.step.length / most);
    const keep = (_, i) => i % every === 0 || i === series.step.length - 1;
    return { x: series.step.filter(keep), y: series.value.filter(keep) };
  };
  const panel = (title, names, told, by, log) => {
    const parts = names.filter((name) => told.series[name]).map((name, i, all) => ({ kind: "line", label: name, colour: i + 1 === all.length ? 1 : 2, dash: i + 1 === all.length ? 0 : 1, ...thin(told.series[name]) }));
    if (!parts.length) return;
    const positive = parts.every((part) => part.y.every((value) => value === null || value > 0));
    new Picture(figures, { title, x: { name: by, show: (v) => figure(v, 6) }, y: { name: title, log: log && positive } }).draw(parts);
  };
  const draw = (told) => {
    view.told = told;
    figures.replaceChildren();
    const { roles } = told;
    const used = new Set(Object.values(roles));
    panel("Loss", [roles["training loss"], roles["validation loss"]], told, told.unit, false);
    panel("Learning rate", [roles.lr], told, told.unit, false);
    panel("Accuracy", [roles["training accuracy"], roles["validation accuracy"]], told, told.unit, false);
    Object.keys(told.series).filter((name) => !used.has(name) || !/loss|accuracy|lr/.test(Object.keys(roles).find((role) => roles[role] === name))).slice(0, 12).forEach((name) => panel(name, [name], told, told.unit, true));
    const names = Object.keys(told.series);
    said.className = "said";
    said.textContent = `${told.name}: ${names.length} series by ${told.unit}.${told.notes.length ? ` ${told.notes.join("; ")}.` : ""}`;
  };
  const findings = (told) => {
    found.replaceChildren();
    if (!told.findings) {
      found.append(element("p", { class: "note" }, "The page alone draws the curves. What is wrong and what would come next, Python tells: start "), element("pre", {}, "dwindle lab --log FILE"));
      return;
    }
    found.append(element("h3", {}, told.findings.length ? "What was found" : "Nothing was found"));
    const list = element("ul", { class: "found-list" });
    told.findings.forEach((one) => list.append(element("li", { class: one.severity },
      element("b", {}, `${one.severity}: ${one.code}`), element("p", {}, one.verdict), element("p", {}, one.remedy.says),
      ...Object.entries(one.remedy.change).map(([field, [now, then]]) => element("p", { class: "note" }, `${field}: ${now || "none"} → ${then || "none"}`)), element("p", { class: "note" }, one.source))));
    found.append(list, element("h3", {}, "What would come next"));
    if (!told.forecast) found.append(element("p", {}, told.forecast_why));
    else {
      told.forecast.options.forEach((option) => {
        const end = option.loss.length - 1;
        found.append(element("p", {}, `${option.says}: ${told.forecast.loss} ${figure(option.loss[end])}, 90 % between ${figure(option.lower[end])} and ${figure(option.upper[end])}.${option.supported ? "" : ` The log cannot tell: ${option.why}.`}`));
      });
      const logged = told.series[told.forecast.loss];
      const parts = told.forecast.options.map((option, i) => ({ kind: "line", label: option.says, colour: i ? 3 : 5, dash: 1, x: option.step, y: option.loss }));
      new Picture(figures, { title: "The loss that would come", x: { name: told.unit, show: (v) => figure(v, 6) }, y: { name: "loss" } }).draw([{ kind: "line", label: told.forecast.loss, colour: 1, ...thin(logged) }, ...parts]);
      if (told.forecast_why) found.append(element("p", { class: "note" }, told.forecast_why));
    }
  };
  const base64 = async (file) => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  };
  let turn = 0; // of a slow answer and a file that was dropped meanwhile, the file counts
  const take = async (file) => {
    const mine = (turn += 1);
    said.className = "said";
    said.textContent = `reading ${file.name} …`;
    try {
      if (!served && file.size > 50e6) throw new Refused("the page alone reads up to 50 MB.", "DataError");
      const told = served ? await served("log", { name: file.name, data: await base64(file) }) : { name: file.name, ...readLog(await file.text()) };
      if (mine !== turn) return;
      draw(told);
      findings(told);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      figures.replaceChildren();
      found.replaceChildren();
      said.className = "said bad";
      said.textContent = `${file.name}: ${error.message}`;
    }
  };
  input.addEventListener("change", () => { if (input.files.length) take(input.files[0]); });
  ["dragenter", "dragover"].forEach((kind) => drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); }));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  view.given = async () => {
    if (!served) return;
    try {
      const told = await served("log", {});
      if (!turn && Object.keys(told.series).length) { draw(told); findings(told); }
    } catch (error) {
      said.className = "said bad";
      said.textContent = error.message;
    }
  };
  return view;
}
