"""``dwindle optimize``: the schedule to take for a run of that length, from the logs of runs that were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli_curves import LABEL, about_law, about_logs, blocks, decimals, row, wrapped
from dwindle.cli_runs import (
    AsJson,
    Columns,
    Law,
    LogPlans,
    Logs,
    LossColumn,
    LrColumn,
    Source,
    StepColumn,
    StepsPerEpoch,
    Warmup,
    given_plan,
    horizon,
    logs_as_json,
    lrs_of,
    sources,
    steps_of,
    strict,
)
from dwindle.errors import InvalidValueError, count, real

if TYPE_CHECKING:
    from dwindle.laws import Candidate, Fitted, Forecast, Optimum
    from dwindle.plan import Plan
    from dwindle.units import Horizon

__all__ = ["optimize"]

_MOST = 240  # letters of a plan that is printed; a broken line of hundreds of points goes to a file
_USUAL = "cosine to 10 %"


class _Rival(NamedTuple):
    """What the gain is counted from: its name, and the plan and its last loss where one was given."""

    name: str
    plan: Plan | None
    last: Forecast | None


class _Found(NamedTuple):
    """The optimum, the rates and the last loss of each candidate by its name, and the rival."""

    optimum: Optimum
    lrs: dict[str, Any]
    last: dict[str, Forecast]
    rival: _Rival

    @property
    def chosen(self) -> Candidate:
        return next(c for c in self.optimum.candidates if c.plan == self.optimum.plan)

    @property
    def best(self) -> Candidate:
        return next(c for c in self.optimum.candidates if c.plan == self.optimum.best)

    @property
    def steps(self) -> int:
        return len(self.lrs[self.chosen.name])


def optimize(
    logs: Logs,
    steps: Annotated[int, typer.Option("--horizon", metavar="N", help="Steps of the run to come.")],
    peak: Annotated[float | None, typer.Option(help="Its peak learning rate; by default that of the logs.")] = None,
    rise: Annotated[
        str | None, typer.Option(help="Its warm-up, such as 500 or 2%; by default the logs' longest.", metavar="TIME")
    ] = None,
    lowest: Annotated[
        str, typer.Option(help="The lowest rate, as a part of the peak: 10% or 0.1.", metavar="PART")
    ] = "0",
    against: Annotated[
        str | None, typer.Option(help="The plan to gain on; by default cosine to 10 %.", metavar="PLAN")
    ] = None,
    steps_per_epoch: StepsPerEpoch = None,
    warmup: Warmup = 0,
    law: Law = "auto",
    log_plan: LogPlans = None,
    step: StepColumn = None,
    lr: LrColumn = None,
    loss: LossColumn = None,
    out: Annotated[Path | None, typer.Option(help="Write the recommended plan to this .toml.")] = None,
    out_best: Annotated[Path | None, typer.Option(help="Write the best schedule's plan to this .toml.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend a schedule: the simplest that the logs cannot tell from the best, and what it gains, ± 90 %."""
    from dwindle.laws import fit

    rival = None if against is None else given_plan("--against", against)
    run = horizon("--horizon", steps, steps_per_epoch)
    wanted = {
        "peak": None if peak is None else real("--peak", peak, above=0.0),
        "rise": None if rise is None else count("--rise", steps_of("--rise", rise, run), low=0),
        "lowest": _part("--lowest", lowest),
    }
    rival_lrs = None if rival is None else lrs_of("--against", rival, run)
    if out is not None and out_best is not None and out.resolve() == out_best.resolve():
        raise InvalidValueError(f"--out and --out-best are both {out}; give each plan a file of its own.")
    read = sources(logs, Columns(step, lr, loss), log_plan or [], warmup, steps_per_epoch)
    fitted = fit([source.run for source in read], law)
    found = _found(fitted, run, wanted, rival, rival_lrs)
    asked = (("plan", found.optimum.plan, out), ("best", found.optimum.best, out_best))
    written = [(what, _saved(plan, path)) for what, plan, path in asked if path is not None]
    if as_json:
        typer.echo(json.dumps(strict(logs_as_json(read, fitted) | _as_json(found)), allow_nan=False))
    else:
        lines = _said(read, fitted, found, peak_given=peak is not None)
        files = ["", *(f"{what:<{LABEL}}{path}" for what, path in written)] if written else []
        typer.echo("\n".join(line.rstrip() for line in lines + files))


def _found(fitted: Fitted, run: Horizon, wanted: dict[str, Any], rival: Plan | None, rival_lrs: Any) -> _Found:
    from dwindle import laws

    try:
        optimum = laws.optimize(fitted, run, **wanted, against=rival)
    except InvalidValueError as error:  # of what is left to be refused here, the law goes before the rise
        option = "--law: " if fitted.law.end is None else "" if wanted["rise"] is None else "--rise: "
        raise InvalidValueError(f"{option}{error}") from error
    lrs = {c.name: c.plan.lrs(run) for c in optimum.candidates}
    last = {name: fitted.predict(each, at=[run.steps]) for name, each in lrs.items()}
    of_rival = None if rival_lrs is None else fitted.predict(rival_lrs, at=[run.steps])
    return _Found(optimum, lrs, last, _Rival(_USUAL if rival is None else str(rival), rival, of_rival))


def _part(option: str, text: str) -> float:
    """Return the part of the peak written as 10% or 0.1."""
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        raise InvalidValueError(f"{option} must be a part of the peak such as 10% or 0.1; got {text!r}.") from None
    return real(option, value, low=0.0, below=1.0, remedy="It is a part of the peak, such as 10% or 0.1.")


def _saved(plan: Plan, path: Path) -> Path:
    from dwindle.text import save

    try:
        return save(plan, path)
    except OSError as error:
        raise InvalidValueError(f"{path}: cannot be written: {error.strerror}.") from error


def _as_json(found: _Found) -> dict[str, Any]:
    optimum, rival, last = found.optimum, found.rival, found.last[found.chosen.name]
    return {
        "horizon": found.steps,
        "plan": str(optimum.plan),
        "name": found.chosen.name,
        "final": {name: float(getattr(last, name)[0]) for name in ("loss", "lower", "upper")},
        "supported": optimum.supported,
        "why": optimum.why,
        "gain": optimum.gain,
        "half": optimum.half,
        "distinguishable": optimum.distinguishable,
        "against": {
            "name": rival.name,
            "plan": None if rival.plan is None else str(rival.plan),
            "loss": optimum.loss + optimum.gain,
            "supported": None if rival.last is None else rival.last.supported,
            "why": None if rival.last is None else rival.last.why,
        },
        "best": {"name": found.best.name, "plan": str(optimum.best), "loss": found.best.loss},
        "candidates": [
            {
                "name": c.name,
                "plan": str(c.plan),
                "loss": c.loss,
                "gain": c.gain,
                "half": c.half,
                "behind": c.behind,
                "tied": c.tied,
                "supported": found.last[c.name].supported,
                "why": found.last[c.name].why,
            }
            for c in optimum.candidates
        ],
        "said": optimum.said,
    }


# --- what is said


def _said(read: Sequence[Source], fitted: Fitted, found: _Found, *, peak_given: bool) -> list[str]:
    optimum, lines = found.optimum, list[str]()
    if not optimum.supported:
        lines += [*wrapped(f"NOT SUPPORTED: {optimum.why}. The figures are a guess."), ""]
    lines += [*about_logs(read, fitted), "", *about_law(fitted, read), ""]
    lines += [*_recommended(found, "the one given" if peak_given else _of_logs(fitted)), *_gain(found), ""]
    return [*lines, *_table(found), "", *_picture(found), *_best(found)]


def _of_logs(fitted: Fitted) -> str:
    peaks = {f"{run.peak:g}" for run in fitted.runs}
    return "that of the logs" if len(peaks) == 1 else "the geometric mean of the logs'"


def _recommended(found: _Found, whence: str) -> list[str]:
    """Return the plan, in words that ``dwindle show`` takes where it is short enough, and the loss it should end at."""
    optimum, last = found.optimum, found.last[found.chosen.name]
    text, half = str(optimum.plan), float(last.upper[0] - last.lower[0]) / 2.0
    lines = row("plan", text if len(text) <= _MOST else "the best schedule found; --out FILE.toml writes it")
    lines += row("", f"over {found.steps:,} steps; its peak is {whence}")
    lines += row("", "! it has no weight decay: add that of the logs, which no law reads", hang=2)
    loss, low, high = (decimals(float(value[0]), half) for value in (last.loss, last.lower, last.upper))
    lines += row("final loss", f"{loss}, 90 % interval {low} to {high}")
    verdict = ("supported", optimum.why) if optimum.supported else ("not supported", "see above; a guess")
    return lines + row("", f"{verdict[0]}: {verdict[1]}")


def _gain(found: _Found) -> list[str]:
    optimum, rival = found.optimum, found.rival
    name = rival.name if len(rival.name) <= _MOST else "the plan given"
    figures = f"{decimals(optimum.gain, optimum.half)} ±{optimum.half:.2g}"
    if optimum.distinguishable:
        lines = row("gain", f"{figures} lower than {name}")
    elif optimum.gain < -optimum.half:
        lines = row("gain", f"{figures}: none; lower than any schedule of this peak and rise ends {name}")
    else:
        lines = row("gain", f"{figures}: not distinguishable from {name}")
    if rival.last is not None and not rival.last.supported:
        lines += row("", f"! the gain is a guess: under the plan compared with, {rival.last.why}", hang=2)
    return lines


def _table(found: _Found) -> list[str]:
    """Return the candidates, the simplest first: each one's final loss, and whether the logs can tell it from the best."""
    candidates, last = found.optimum.candidates, found.last[found.chosen.name]
    width = float(last.upper[0] - last.lower[0]) / 2.0
    lines = [f"{'candidates, simplest first':<30}{'final loss':>12}{'behind':>12}"]
    for c in candidates:
        said = "the lowest" if c is found.best else "tied" if c.tied else "worse"
        said += ", taken" if c is found.chosen else "" if found.last[c.name].supported else ", a guess"
        lines.append(f"{c.name:<30}{decimals(c.loss, width):>12}{decimals(c.behind, width):>12}   {said}")
    return lines


def _picture(found: _Found) -> list[str]:
    """Return the learning rate of the plan and of the best schedule, on one axis of steps."""
    import numpy as np

    after, top = np.arange(1, found.steps + 1), found.optimum.plan.peak
    drawn = [("plan", found.chosen)] + ([] if found.best is found.chosen else [("best", found.best)])
    lines = [f"learning rate from step 0 to {found.steps:,}, 0 ▁ to █ {top:g}"]
    for label, c in drawn:
        lrs = found.lrs[c.name]
        lines.append(blocks(label, after, lrs, found.steps, 0.0, top, f"{lrs[-1]:.2g}"))
    return lines


def _best(found: _Found) -> list[str]:
    """Return what is to be said of the best schedule where another one is recommended."""
    if found.best is found.chosen:
        return []
    lines, last = row("", "best: --out-best FILE.toml writes it, --json prints it"), found.last[found.best.name]
    if found.optimum.supported and not last.supported:
        lines += row("", f"! of the best the logs tell nothing: {last.why}", hang=2)
    return lines
