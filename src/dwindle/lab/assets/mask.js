// Which parameters decay, as text: rules of (subject, "pattern", decays or not).
const SUBJECTS = ["name", "regex", "kind", "ndim"];
const STANDARD = [{ subject: "regex", pattern: "(^|[./])bias$", decays: false }, { subject: "kind", pattern: "*norm*", decays: false }, { subject: "ndim", pattern: "2", decays: true }];
const EVERYTHING = [{ subject: "name", pattern: "*", decays: true }];

// json.dumps: only ASCII stays as it is.
const asciiString = (text) => JSON.stringify(text).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
const ruleText = (rule) => `${rule.subject} ${asciiString(rule.pattern)} ${rule.decays ? "decays" : "does not"}`;
const sameRules = (a, b) => a.map(ruleText).join() === b.map(ruleText).join() && a.length === b.length;

function rule(subject, pattern, decays) {
  if (!pattern) throw new Refused(`the pattern of a ${subject} rule must not be empty.`);
  if (subject === "ndim" && !/^[0-9]{1,9}$/.test(pattern)) throw new Refused(`ndim must be a whole number; got ${shown(pattern)}.`);
  return { subject, pattern, decays };
}

function maskText(rules) {
  if (!rules.length) return "nothing";
  const own = rules.length - STANDARD.length;
  if (own < 0 || !sameRules(rules.slice(own), STANDARD)) return rules.map(ruleText).join(", ");
  return [...rules.slice(0, own).map(ruleText), "standard"].join(", ");
}
