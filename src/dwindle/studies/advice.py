"""What a practitioner may conclude from a study, knob by knob: what matters, what does not, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from dwindle.decay import CONVENTIONS
from dwindle.report import decimals
from dwindle.report.evidence import DECAYS
from dwindle.report.words import plural
from dwindle.studies.evidence import half_width, interval
from dwindle.studies.knobs import ALIKE, MATTERS, UNKNOWN, Knob, Tried, Value, edge, knob, labels
from dwindle.studies.seed_noise import Noise, same, seed_noise

__all__ = ["advice"]

SMALL = 0.01  # of the loss: a difference of less than this is one that nobody needs to care about
_ENOUGH = 200  # seeds, or times the test examples; a question that needs more is not worth asking
_NAMES = {"lam": "λ", "peak": "peak", "schedule": "schedule", "convention": "convention", "batch_size": "batch size"}
_KNOBS = {"weight decay": "lam", "learning-rate decay": "schedule"}


def advice(setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a setting says of each knob: dicts of ``knob``, ``verdict``, ``said``, ``numbers``, ``values``, ``edge``.

    The verdict is 'matters', 'does not matter here' or 'cannot be told', ``said`` one sentence or two to act on, ``numbers``
    what it rests on, ``values`` what a sweep gave at each value of the knob, ``edge`` 'largest' or 'smallest' where the
    winner lies at an end of what was searched.

    Whether to decay at all, weights or learning rate, is decided on fresh seeds by the interval of the winner's test loss
    less that of a plan without, the best of the sweep or the winner stripped of it; where the winner has none, less that of
    the best plan with it. 'Does not matter here' if for one of them all of the interval is small, that is below 1 % of the
    loss or below what another seed does to the winner (one standard deviation); 'matters' if the winner beats all, or one
    beats the winner (the interval excludes 0). So far as the comparisons know how the test examples differ, that is for new
    seeds and new examples, else for seeds on these examples, and then said so. Where nobody was compared, and for the
    values of every knob that the winner uses, the sweep decides, with the noise of the seeds, on the validation examples:
    see `dwindle.studies.knobs.knob`.

    >>> loss = [0.50, 0.51, 0.52, 0.51]
    >>> plan = {"plan": "p", "lam": 0.0, "peak": 0.1, "schedule": "constant"}
    >>> trials = [{**plan, "peak": p, "final": {"validation_loss": v}} for p, v in ((0.1, 0.5), (0.3, 0.9), (0.9, 2.0))]
    >>> choice = [{**plan, "plan": str(i), "validation_loss": np.add(loss, [0, 0, 0, i / 100])} for i in range(3)]
    >>> setting = {"trials": trials, "winner": plan, "contenders": [], "comparisons": [], "choice": choice}
    >>> advice(setting)[0]["said"]
    "The peak matters: 0.1 is best; 0.3 costs 0.400 and 0.9 costs 1.500 (validation loss). The winner's, 0.1, is the \
smallest tried: search on beyond it, to 0.03."
    """
    trials = [_coordinates(trial) for trial in setting["trials"]]
    noise, winner = _of_sweep(seed_noise(setting), setting.get("folds", 1)), _of_winner(setting, trials)
    found = [said for decay in DECAYS if (said := _presence(decay, setting, trials, winner, noise))]
    nearby = [_coordinates(trial) for trial in setting.get("refined", ())]
    knobs = [said for name in _used(trials, winner) if (said := _values(name, trials, nearby, winner, noise))]
    return found + sorted(knobs, key=lambda each: (MATTERS, ALIKE, UNKNOWN).index(each["verdict"]))


def _of_sweep(noise: Noise | None, folds: int) -> Noise | None:
    """Return the noise of a trial of the sweep: the mean of its trainings on each fold."""
    return None if noise is None else Noise(noise.sd / math.sqrt(folds), noise.df)


def _coordinates(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trial with ``params`` under any circumstances, and ``loss``, None unless it came to the end."""
    params = trial.get("params") or {name: trial[name] for name in ("lam", "peak", "schedule")}
    let_go = trial.get("stopped_at") is not None
    loss = None if let_go or trial.get("diverged") else trial["final"].get("validation_loss")
    return {**trial, "params": params, "loss": loss, "let_go": let_go, "flat": trial["schedule"] == "constant"}


def _of_winner(setting: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    winner = setting["winner"]
    own = [t for t in trials if same(t, winner)]
    params = own[0]["params"] if own else {name: winner[name] for name in ("lam", "peak", "schedule")}
    return {**winner, "params": winner.get("params") or params, "flat": winner["schedule"] == "constant"}


# Whether to decay at all


def _presence(
    decay: str,
    setting: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    winner: Mapping[str, Any],
    noise: Noise | None,
) -> dict[str, Any] | None:
    name = _KNOBS[decay]
    rows = {row["role"]: row for row in setting["contenders"]}
    compared = {c["against"]: c for c in setting["comparisons"] if c["metric"] == "test_loss"}
    against = [_Against(rows["winner"], rows[role], compared[role]) for role in DECAYS[decay] if role in compared]
    if against:
        return _compared(decay, winner, against)
    has = (lambda t: t["lam"] > 0) if name == "lam" else (lambda t: not t["flat"])
    if has(winner):
        return None  # never compared
    hidden = {name, "convention"} | {
        key for t in trials for key in t["params"] if key not in _NAMES and name == "schedule"
    }
    tried = [_tried("with" if has(t) else "without", t, hidden) for t in trials]
    judged = knob(tried, noise)
    return None if judged is None else _made(decay, judged.verdict, _needless(decay, judged), judged, noise)


class _Against(NamedTuple):
    """The winner beside a plan that shows a decay: their rows and the comparison of their test losses, winner - other."""

    winner: Mapping[str, Any]
    other: Mapping[str, Any]
    found: Mapping[str, Any]

    @property
    def half(self) -> float:
        """Half of the interval, by which its numbers are rounded."""
        return float(self.found["upper"] - self.found["lower"]) / 2

    @property
    def most(self) -> float:
        """The largest difference, either way, that the interval allows."""
        return float(max(abs(self.found["lower"]), abs(self.found["upper"])))

    @property
    def one_seed(self) -> float:
        """What another seed does to the winner: the standard deviation of its test loss over the seeds."""
        return float(np.std([v for v in self.winner["test_loss"] if v is not None], ddof=1))

    @property
    def small(self) -> float:
        """Below what a difference is nobody's concern."""
        loss = [v for v in self.winner["test_loss"] if v is not None]
        return max(SMALL * abs(float(np.mean(loss))), self.one_seed)


def _compared(decay: str, winner: Mapping[str, Any], against: Sequence[_Against]) -> dict[str, Any]:
    """Return the verdict on a decay: that of the plan which comes off best, since nobody need take a worse one."""
    nearest = max(against, key=lambda one: one.found["difference"])
    beaten = [one for one in against if one.found["lower"] > 0]
    alike = [one for one in against if one.most <= one.small and None not in one.other["test_loss"]]
    if beaten or all(one.found["upper"] < 0 for one in against):
        verdict, one = MATTERS, max(beaten or [nearest], key=lambda one: one.found["difference"])
    elif alike:
        verdict, one = ALIKE, min(alike, key=lambda one: one.most)
    else:
        verdict, one = UNKNOWN, nearest
    if one.other["role"] == DECAYS[decay].having:
        said = _lacking(decay, verdict, one)
    else:
        use = f"λ = {winner['lam']:g}" if decay == "weight decay" else str(winner["schedule"])
        said = _having(decay, verdict, one, use)
        beats = [other for other in against if other is not one and other.found["upper"] < 0]
        said += "".join(_further(decay, one, other) for other in beats if verdict != MATTERS)
    numbers = {name: one.found[name] for name in ("difference", "lower", "upper", "seeds")}
    numbers |= {"examples": one.found.get("examples"), "small": one.small, "one_seed": one.one_seed}
    if one.found.get("examples") is None:
        said += " That is over seeds, on these test examples alone; others may say otherwise."
    return {"knob": decay, "verdict": verdict, "said": said, "numbers": numbers, "values": [], "edge": None}


def _having(decay: str, verdict: str, one: _Against, use: str) -> str:
    """Return the sentence on a decay that the winner has: ``use`` is how."""
    stripped = one.other["role"] == DECAYS[decay].stripped
    whose = "the winner without it" if stripped else "the best plan without it"
    if verdict == MATTERS:
        plan = one.other["plan"]
        keep, leave = f"higher {_much(one)}; keep it ({use}).", f"lower {_much(one)}; leave it out: {plan}."
        act = keep if _gain(one) > 0 else leave + _contradicted(one)
        return f"{_capital(decay)} matters: {whose} has a test loss that is {act}"
    if verdict == ALIKE:
        which = "the winner's" if stripped else "the"
        return (
            f"{_capital(decay)} does not matter here: with and without it {which} test loss differs by at most "
            f"{decimals(one.most, one.half)} (95 %); leave it out or keep what you have."
        )
    return f"{_anywhere(decay, whose, one)}; {_more_seeds(one)}."


def _lacking(decay: str, verdict: str, one: _Against) -> str:
    """Return the sentence on a decay that the winner has not."""
    whose = "the best plan with it"
    if verdict == MATTERS and _gain(one) > 0:
        much = _much(one)
        return f"{_capital(decay)} matters, and makes it worse here: {whose} has a test loss that is higher {much}; leave it out."
    if verdict == MATTERS:
        act = f"lower {_much(one)}; use it: {one.other['plan']}." + _contradicted(one)
        return f"{_capital(decay)} matters: {whose} has a test loss that is {act}"
    if verdict == ALIKE:
        most = decimals(one.most, one.half)
        return f"{_capital(decay)} does not matter here: {whose} differs by at most {most} in test loss (95 %); leave it out."
    return f"{_anywhere(decay, whose, one)}; {_more_seeds(one)}, until then leave it out."


def _further(decay: str, one: _Against, other: _Against) -> str:
    """Return what to mind of the ``other`` plan without the decay, which the winner beats, where ``one`` decided."""
    costs = decimals(_gain(other), other.half)
    if other.other["role"] == DECAYS[decay].stripped:
        return f" Without it choose the rest anew ({one.other['plan']}): taken from the winner alone it costs {costs}."
    return f" Without it keep the rest of the winner: the best plan without it ({other.other['plan']}) costs {costs}."


def _gain(one: _Against) -> float:
    return -float(one.found["difference"])


def _contradicted(one: _Against) -> str:
    """Return a warning where the validation loss, by which the winner was chosen, says of a plan that beats it the opposite."""
    pairs = zip(one.winner.get("validation_loss") or (), one.other.get("validation_loss") or (), strict=True)
    losses = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    if len(losses) < 2:
        return ""
    mean, _, upper = interval([ours - theirs for ours, theirs in losses])
    if upper >= 0:
        return ""
    costs = decimals(-mean, upper - mean)
    return f" Its validation loss is higher by {costs}: the two sets of examples disagree, and larger ones would tell."


def _much(one: _Against) -> str:
    sides = abs(one.found["lower"]), abs(one.found["upper"])
    least, most = (decimals(side(sides), one.half) for side in (min, max))
    little = ", which is little" * (one.most <= one.small)
    return f"by {decimals(abs(_gain(one)), one.half)} ({least} to {most} at 95 %){little}"


def _anywhere(decay: str, whose: str, one: _Against) -> str:
    lower, higher = (decimals(value, one.half) for value in (one.found["upper"], -one.found["lower"]))
    if any(nu < 1 for nu in one.found["freedom"]):
        return f"Whether {decay} matters cannot be told from {plural(one.found['examples'], 'test example')}"
    return (
        f"Whether {decay} matters cannot be told: the test loss of {whose} lies anywhere from {lower} lower to {higher} higher "
        "(95 %)"
    )


def _more_seeds(one: _Against) -> str:
    """Return about how many seeds, or else test examples, would tell.

    With them the interval would be short enough to leave out 0, or to be small; its variances shrink as 1/n. Examples that
    alone would do are said where more seeds would not, and are counted as at the seeds there are.
    """
    c = one.found
    wanted = max(abs(c["difference"]), one.small - abs(c["difference"]))

    def enough(seeds: int, examples: int = 1) -> bool:
        variances = [v * share for v, share in zip(c["variances"], (c["seeds"] / seeds, 1 / examples), strict=False)]
        freedom = [seeds - 1, *(nu * examples for nu in c["freedom"][1:])]
        return bool(half_width(variances, freedom, c.get("together") or 1) <= wanted)

    for n in range(c["seeds"] + 1, _ENOUGH + 1):
        if enough(n):
            return f"about {n} seeds would tell"
    if c.get("examples") is None:
        return f"even {_ENOUGH} seeds might not tell"
    for times in range(2, _ENOUGH + 1):
        if enough(c["seeds"], times):
            return f"about {times * c['examples']:,} test examples would tell"
    return f"even {_ENOUGH} seeds, or {_ENOUGH} times the test examples, might not tell"


def _needless(decay: str, judged: Knob) -> str:
    said = f"The winner has no {decay}"
    by = {v.value: v for v in judged.values}
    costs = by["with"].costs
    if costs is None:
        return f"{said}, and no training with it came to the end: leave it out."
    much = decimals(costs, max(by["with"].limit, 1e-12))
    if judged.verdict == ALIKE:
        return f"{said}; in the sweep the best plan with it comes within the noise of the seeds ({much}): leave it out."
    if judged.verdict == MATTERS and costs > 0:
        return f"{said}; in the sweep the best plan with it is worse by {much}, which is more than noise: leave it out."
    return f"{said}; how much worse one with it would be cannot be told from one training of each plan: leave it out."


# The values of a knob


def _used(trials: Sequence[Mapping[str, Any]], winner: Mapping[str, Any]) -> Iterator[str]:
    """Give the knobs that the winner turns, of which several values were tried."""
    for name in winner["params"]:
        if (name == "lam" and winner["lam"] == 0) or (name == "schedule" and winner["flat"]):
            continue
        if len({t["params"][name] for t in trials if name in t["params"]}) > 1:
            yield name


def _values(
    name: str, trials: Sequence[Mapping[str, Any]], nearby: Sequence[Mapping[str, Any]], winner: Mapping[str, Any],
    noise: Noise | None,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the advice on a knob: λ among those above 0 and the schedule among those that decay; see `_presence`.

    The plans ``nearby`` the best were chosen for being so: of a knob they tell no more than how far it was tried.
    """
    own = [t for t in trials if name in t["params"] and not (name == "lam" and t["lam"] == 0)]
    own = [t for t in own if not (name == "schedule" and t["flat"])]
    raw = [t["params"][name] for t in own]
    if not isinstance(raw[0], str):
        own = sorted(own, key=lambda t: float(t["params"][name]))
    elif len(set(raw)) > 8 and "params" not in winner:
        return None
    label = labels(raw)
    hidden = {name} | ({"convention"} if name == "lam" else set())
    if name == "schedule":  # the parameters of a family of schedules go with it
        hidden |= {key for t in own for key in t["params"] if key not in _NAMES}
    judged = knob([_tried(label(t["params"][name]), t, hidden) for t in own], noise)
    if judged is None:
        return None
    called = {"lam": "λ"}.get(name) or (f"the {_NAMES[name]}" if name in _NAMES else f"'{name}'")
    chosen = {label(v) for v in raw if v == winner["params"].get(name)}
    if any(v.value in chosen and v.best is None for v in judged.values):
        judged = replace(judged, verdict=UNKNOWN)
        said = (
            f"Whether {called} matters cannot be told: in the sweep no training with the winner's, {', '.join(chosen)}, came to "
            "the end; it won on further seeds."
        )
    else:
        said = _sentence(called, judged, noise)
    found = None
    if not isinstance(raw[0], str):
        found = edge(winner["params"][name], [t["params"][name] for t in (*trials, *nearby) if name in t["params"]])
        if judged.verdict == ALIKE or (judged.verdict == UNKNOWN and len(set(raw)) > len(judged.values)):
            found = None  # nothing to gain there, or an end that only chance drew
        if found is not None:
            found = _reachable(name, winner["params"], *found)
        if found is not None:
            side, beyond = found
            said += (
                f" The winner's, {winner['params'][name]:g}, is the {side} tried: search on beyond it, to {beyond:g}."
            )
    return _made(_NAMES.get(name, name), judged.verdict, said, judged, noise, found and found[0])


def _reachable(name: str, params: Mapping[str, Any], side: str, beyond: float) -> tuple[str, float] | None:
    """Return how far to search on beyond the end: not to where decay leaves nothing of the weights in a step at the peak."""
    at = {**params, name: beyond}
    if side == "smallest" or not at["lam"]:
        return side, beyond
    share = CONVENTIONS[at.get("convention", "decoupled")](at["lam"]).share(0, at["peak"], 1.0)
    if share < 1.0 or name not in ("lam", "peak"):
        return side, beyond
    nearly = float(f"{0.9 * beyond / share:.2g}")  # of where nothing would be left: the share grows with both
    return (side, nearly) if nearly > params[name] else None


def _tried(value: str, trial: Mapping[str, Any], hidden: set[str]) -> Tried:
    others = tuple(sorted((key, str(v)) for key, v in trial["params"].items() if key not in hidden))
    return Tried(value, others, trial["loss"], trial["let_go"])


def _sentence(called: str, judged: Knob, noise: Noise | None) -> str:
    width = max((v.limit for v in judged.values), default=0.0) or 1e-4
    best = judged.best
    near = [v for v in judged.values if v.within and v.value != best.value]
    worse = sorted((v for v in judged.values if v.costs is not None and not v.within), key=lambda v: v.costs or 0.0)
    gone = [v.value for v in judged.values if v.best is None and v.diverged == v.trials]
    ended = [v.value for v in judged.values if v.best is not None]
    early = [v.value for v in judged.values if v.best is None and v.diverged < v.trials]
    after = f" With {_listed(early)} every training fell behind and was let go." if early else ""
    if judged.verdict == ALIKE:
        most = max(v.costs for v in judged.values if v.costs is not None)
        rest = "take any" if most <= SMALL * abs(best.best or 0.0) else f"{best.value} is as good a guess as any"
        among = f"among {_listed(ended)}, " if early else ""
        at_each = "each" if early else f"each of {_listed(ended)}"
        return _capital(
            f"{among}{called} does not matter here: the best loss at {at_each} differs by at most {decimals(most, width)}, "
            f"which noise alone can do; {rest}.{after}"
        )
    if judged.verdict == MATTERS:
        parts = [f"{best.value} is best"]
        parts += [f"{_listed([v.value for v in near])} {_are(near)} within the noise of it"] if near else []
        costs = [f"{v.value} costs {decimals(v.costs or 0.0, v.limit or width)}" for v in worse]
        parts += [f"{_listed(costs[:3])} (validation loss)"] if worse else []
        parts += [f"{_listed(gone)} diverged"] if gone else []
        return _capital(f"{called} matters: {'; '.join(parts)}.{after}")
    whether = f"Whether {called} matters cannot be told"
    if noise is None:
        return f"{whether}: the noise of the seeds was not measured.{after}"
    if judged.confounded:
        return (
            f"{whether}: {best.value} is best, but with so few trainings the other knobs may have decided that.{after}"
        )
    if len(ended) < 2:
        return f"{whether}: only with {best.value} did a training come to the end.{after}"
    return f"{whether}: noise alone makes the best loss at a value differ by up to {decimals(width, width)}.{after}"


def _capital(text: str) -> str:
    return text if text.startswith("λ") else text[0].upper() + text[1:]


def _made(
    name: str, verdict: str, said: str, judged: Knob, noise: Noise | None, end: str | None = None
) -> dict[str, Any]:  # fmt: skip
    numbers = {"noise": noise and noise.sd, "noise_df": noise and noise.df}
    return {
        "knob": name, "verdict": verdict, "said": said, "numbers": numbers, "values": [_plain(v) for v in judged.values],
        "edge": end,
    }  # fmt: skip


def _plain(v: Value) -> dict[str, Any]:
    return {**v._asdict(), "within": v.within}


def _are(values: Sequence[object]) -> str:
    return "is" if len(values) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
