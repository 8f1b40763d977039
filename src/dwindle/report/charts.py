"""What the page's script draws: each chart as data, decided here, so that the script only draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, TypeAlias

from dwindle.errors import count
from dwindle.report.evidence import DECAYS, Contender, Evidence, Setting, Trial
from dwindle.report.grid import best, families, family_of, ranked
from dwindle.report.words import COLOURS, NAMES, beside, number

__all__ = ["MOST_SCHEDULES", "SOLID", "charts", "payload", "rounded", "thin", "trial_points"]

Chart: TypeAlias = dict[str, Any]
Line: TypeAlias = dict[str, Any]
SOLID, DASHED = 0, 1
SPARE = (5, 6, 7, 4, 2)  # colours of the schedules that no contender stands for
MOST_POINTS, TRIAL_NUMBERS = 400, 60_000  # per line of a chart; over the curves of all trials
MOST_SCHEDULES = 12  # in the chart of the best trial of each


def payload(evidence: Evidence) -> dict[str, Any]:
    """Return everything the script of the page needs."""
    most = trial_points(evidence)
    return {
        "charts": {key: chart for index, s in enumerate(evidence.settings) for key, chart in charts(s, index).items()},
        "settings": [setting.name for setting in evidence.settings],
        "trials": [_trial(t, index, most) for index, s in enumerate(evidence.settings) for t in ranked(s)],
        "chosen": [(index, t.id) for index, s in enumerate(evidence.settings) for t in _chosen(s)],
    }


def charts(setting: Setting, index: int) -> dict[str, Chart]:
    """Return the charts of one setting by name, such as ``gap-0``; a chart with nothing to draw is left out."""
    stripped = {shows.stripped for shows in DECAYS.values()}  # these repeat others in parts
    plans = [alike for alike in setting.plans if alike[0].role not in stripped]
    made = {
        f"gap-{index}": _chart("loss", _gap_lines(setting), focus=True),
        f"decay-{index}": _chart("validation loss", _schedule_lines(setting), focus=True),
        f"lr-{index}": _chart("learning rate", [_plan_line(alike, "lr") for alike in plans], zero=True),
        f"shrink-{index}": _chart("1 − shrink", [_plan_line(alike, "decay_share") for alike in plans], zero=True),
        f"left-{index}": _chart("share of w(0) left", [_plan_line(alike, "share_left") for alike in plans], zero=True),
        f"norm-{index}": _chart("‖w‖", [_plan_line(alike, "weight_norm") for alike in plans]),
    }
    return {name: chart for name, chart in made.items() if chart["lines"]}


def thin(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most ``most`` of the values, evenly spread, the first and the last among them.

    >>> thin(range(11), 3), thin(range(3), 5)
    ([0, 5, 10], [0, 1, 2])
    """
    count("most", most, low=2)
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def trial_points(evidence: Evidence) -> int:
    """Return how many points of a trial's curve the page carries, so that it stays light however many trials it has."""
    trials = sum(len(setting.everything) for setting in evidence.settings)
    return min(max(TRIAL_NUMBERS // (4 * trials), 20), 200)


def _gap_lines(setting: Setting) -> list[Line]:
    lines = []
    for contender in (beside(setting), setting.contender("winner")):
        if contender is None:
            continue
        name, shape = f"λ = {number(contender.lam)}", {"mark": COLOURS[contender.role]}  # told apart in grey as well
        lines.append(_line(contender, "validation_loss", f"{name}, validation", SOLID) | shape)
        lines.append(_line(contender, "train_loss", f"{name}, train", DASHED) | shape)
    return lines


def _schedule_lines(setting: Setting) -> list[Line]:
    tried = [(name, trial) for name, trials in families(setting.trials).items() if (trial := best(trials))]
    tried.sort(key=lambda entry: (entry[1].score or 0.0, entry[1].id))
    del tried[MOST_SCHEDULES:]
    taken = {family_of(setting.winner.schedule, setting.trials): COLOURS["winner"]}
    shows = DECAYS["learning-rate decay"]
    for role in (shows.without, shows.having):
        if (other := setting.contender(role)) is not None:
            taken.setdefault(family_of(other.schedule, setting.trials), COLOURS[role])
    spare = cycle(SPARE)
    coloured = [taken[name] if name in taken else next(spare) for name, _ in tried]
    return [
        _points(
            f"{name} (λ {number(t.lam)}, lr {number(t.peak)})", t.curve.epoch, t.curve.validation_loss, colour, rank
        )
        for rank, ((name, t), colour) in enumerate(zip(tried, coloured, strict=True))
    ]


def _plan_line(alike: Sequence[Contender], series: str) -> Line:
    return _line(alike[0], series, " = ".join(NAMES[c.role] for c in alike))


def _line(contender: Contender, series: str, label: str | None = None, dash: int | None = None) -> Line:
    colour = COLOURS[contender.role]
    values = getattr(contender.curves, series)
    return _points(
        label or NAMES[contender.role], contender.curves.epoch, values, colour, colour - 1 if dash is None else dash
    )


def _points(label: str, epoch: Sequence[float], values: Sequence[float | None], colour: int, dash: int) -> Line:
    kept = thin(range(len(values)), MOST_POINTS)
    return {
        "label": label,
        "x": [epoch[i] for i in kept],
        "y": [rounded(values[i]) for i in kept],
        "colour": 1 + (colour - 1) % 7,
        "dash": dash % 6,
    }


def _chart(unit: str, lines: Iterable[Line], *, focus: bool = False, zero: bool = False) -> Chart:
    drawn = [line for line in lines if any(value is not None for value in line["y"])]
    return {"unit": unit, "lines": drawn, "range": _range(drawn, focus, zero)}


def _range(lines: Sequence[Line], focus: bool, zero: bool) -> tuple[float, float] | None:
    """Return the y axis: all values, or under ``focus`` those after the first tenth, where every run falls steeply."""
    values = [v for line in lines for v in line["y"] if v is not None]
    if not values:
        return None
    later = [v for line in lines for v in line["y"][-(-len(line["y"]) // 10) if focus else 0 :] if v is not None]
    low, high = min(values), max(later or values)
    if zero:
        low = min(low, 0.0)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if zero else low - pad, high + pad)


def _trial(trial: Trial, setting: int, most: int) -> dict[str, Any]:
    kept = thin(range(len(trial.curve.epoch)), most)
    final = trial.final
    series = {
        "train": "train_loss",
        "validation": "validation_loss",
        "accuracy": "validation_accuracy",
        "penalty": "penalty",
    }
    curves = {name: getattr(trial.curve, field) for name, field in series.items()}
    return {
        "setting": setting,
        "id": trial.id,
        "lam": trial.lam,
        "peak": trial.peak,
        "schedule": trial.schedule,
        "plan": trial.plan,
        "state": trial.state,
        "seed": trial.seed,
        "diverged": trial.diverged,
        "stopped": trial.stopped_at,
        "final": [final.train_loss, final.validation_loss, final.gap, final.train_accuracy, final.validation_accuracy],
        "epoch": [trial.curve.epoch[i] for i in kept],
        "curve": {name: [rounded(values[i]) for i in kept] for name, values in curves.items() if values},
    }


def _chosen(setting: Setting) -> list[Trial]:
    """Return the trials whose curves are drawn first: the best, and the best without weight decay."""
    both = (best(setting.trials), best(trial for trial in setting.trials if trial.lam == 0))
    return [trial for index, trial in enumerate(both) if trial is not None and trial not in both[:index]]


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return ``value`` to that many significant digits; four are what a curve can show."""
    return None if value is None else float(f"{value:.{digits}g}")
