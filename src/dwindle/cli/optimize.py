"""``dwindle optimize``: the schedule to take for a run of that length, from the logs of runs that were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli.curves import (
    LABEL,
    about_law,
    about_logs,
    blocks,
    decimals,
    outlook,
    prospect,
    row,
    wrapped,
    write_html,
)
from dwindle.cli.runs import (
    AsJson,
    Columns,
    Html,
    Law,
    Like,
    LogPlans,
    Logs,
    LossColumn,
    LrColumn,
    Source,
    StepColumn,
    StepsPerEpoch,
    Warmup,
    command_line,
    course_of,
    file_of_its_own,
    fitted_to,
    given_decay,
    given_plan,
    horizon,
    logs_as_json,
    sources,
    steps_of,
)
from dwindle.cli.said import say, say_json
from dwindle.errors import InvalidValueError, count, real

if TYPE_CHECKING:
    from dwindle.decay import Decay
    from dwindle.laws import Candidate, Course, Fitted, Forecast, Optimum
    from dwindle.plan import Plan
    from dwindle.units import Horizon

__all__ = ["optimize"]

_MOST = 240  # letters of a plan that is printed; a broken line of hundreds of points goes to a file
_USUAL = "cosine to 10 %"


class _Rival(NamedTuple):
    """What the gain is counted from: its name, its plan, what that sets each step, and its last loss."""

    name: str
    plan: Plan
    course: Course
    last: Forecast


class _Decay(NamedTuple):
    """The plan whose decay and mask the logs' plans have, if all have the same; and what is to be said of the decay."""

    plan: Plan | None
    said: str

    def on(self, plan: Plan) -> Plan:
        """Return the plan with this decay and mask, unless it has a decay of its own; its rates stay."""
        if self.plan is None or plan.decay is not None:
            return plan
        try:
            return replace(plan, decay=self.plan.decay, mask=self.plan.mask)
        except InvalidValueError as error:
            raise InvalidValueError(f"--log-plan: at the peak {plan.peak:g} its {error}") from error


class _Found(NamedTuple):
    """The optimum, the course and the last loss of each candidate by its name, the rival, and the decay of all of them."""

    optimum: Optimum
    courses: dict[str, Course]
    last: dict[str, Forecast]
    rival: _Rival
    decay: _Decay

    @property
    def chosen(self) -> Candidate:
        return next(c for c in self.optimum.candidates if c.plan == self.optimum.plan)

    @property
    def best(self) -> Candidate:
        return next(c for c in self.optimum.candidates if c.plan == self.optimum.best)

    @property
    def steps(self) -> int:
        return len(self.courses[self.chosen.name].lr)


def optimize(
    context: typer.Context,
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
    warmup: Warmup = None,
    weight_decay: Annotated[
        str | None,
        typer.Option("--decay", help="Its weight decay, such as 'decoupled 0.1', where the law reads decay."),
    ] = None,
    law: Law = "auto",
    like: Like = None,
    log_plan: LogPlans = None,
    step: StepColumn = None,
    lr: LrColumn = None,
    loss: LossColumn = None,
    out: Annotated[Path | None, typer.Option(help="Write the recommended plan to this .toml.")] = None,
    out_best: Annotated[Path | None, typer.Option(help="Write the best schedule's plan to this .toml.")] = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Recommend a schedule: the simplest that the logs cannot tell from the best, and what it gains, ± 90 %."""
    rival = None if against is None else given_plan("--against", against)
    run = horizon("--horizon", steps, steps_per_epoch)
    wanted: dict[str, Any] = {
        "peak": None if peak is None else real("--peak", peak, above=0.0),
        "rise": None if rise is None else count("--rise", steps_of("--rise", rise, run), low=0),
        "lowest": _part("--lowest", lowest),
        "decay": None if weight_decay is None else given_decay("--decay", weight_decay),
    }
    if rival is not None:
        course_of("--against", rival, run)  # refuses one that cannot be a rival, before anything is fitted
    if out is not None and out_best is not None and out.resolve() == out_best.resolve():
        raise InvalidValueError(f"--out and --out-best are both {out}; give each plan a file of its own.")
    file_of_its_own("--html", html, [*logs, *(path for path in (out, out_best) if path is not None)])
    columns = Columns(step, lr, loss)
    read = sources(logs, columns, log_plan or [], warmup, steps_per_epoch)
    fitted = fitted_to(read, law, like, columns, warmup)
    found = _found(fitted, run, wanted, rival, _decay(read, fitted, wanted["decay"]))
    asked = (("plan", found.optimum.plan, out), ("best", found.optimum.best, out_best))
    written = [(what, _saved(plan, path)) for what, plan, path in asked if path is not None]
    whence = "the one given" if peak is not None else _of_logs(fitted)
    if html is not None:
        write_html(lambda: _page(read, fitted, found, whence, command_line(context)), html)
        written.append(("page", html))
    if as_json:
        say_json(logs_as_json(read, fitted) | _as_json(found))
    else:
        lines = _said(read, fitted, found, whence)
        files = ["", *(f"{what:<{LABEL}}{path}" for what, path in written)] if written else []
        say("\n".join(line.rstrip() for line in lines + files))


def _found(fitted: Fitted, run: Horizon, wanted: dict[str, Any], rival: Plan | None, decay: _Decay) -> _Found:
    from dwindle import laws

    try:
        optimum = laws.optimize(fitted, run, **wanted, against=rival)
    except InvalidValueError as error:  # of what is left to be refused here, the law goes before the rise
        option = "--law: " if fitted.law.end is None else "" if wanted["rise"] is None else "--rise: "
        raise InvalidValueError(f"{option}{error}") from error
    courses = {c.name: laws.course(c.plan, run) for c in optimum.candidates}
    last = {name: fitted.predict(each, at=[run.steps]) for name, each in courses.items()}
    own = decay.on(optimum.against) if rival is None else rival
    of_rival = laws.course(own, run)
    beside = _Rival(_USUAL if rival is None else str(rival), own, of_rival, fitted.predict(of_rival, at=[run.steps]))
    return _Found(_with(optimum, decay), courses, last, beside, decay)


def _with(optimum: Optimum, decay: _Decay) -> Optimum:
    """Return the optimum whose plans have the decay and the mask of the logs."""
    candidates = tuple(c._replace(plan=decay.on(c.plan)) for c in optimum.candidates)
    return replace(optimum, plan=decay.on(optimum.plan), best=decay.on(optimum.best), candidates=candidates)


def _decay(read: Sequence[Source], fitted: Fitted, asked: Decay | None) -> _Decay:
    """Return the decay and mask that all plans of the logs have; none where there is no plan or they disagree."""
    plans = [source.plan for source in read if source.plan is not None]
    if fitted.law.decays:
        whose = "the best for this schedule, of those the logs tell of" if asked is None else "the one given"
        return _Decay(None, f"its weight decay is {whose}")
    if asked is not None:
        raise InvalidValueError(
            f"--decay: {fitted.law.name} does not read weight decay; give logs of two λ, each with its --log-plan, or add the "
            "decay to the plan that is recommended."
        )
    if any((plan.decay, plan.mask) != (plans[0].decay, plans[0].mask) for plan in plans):
        return _Decay(None, "it has no weight decay: the --log-plan disagree on decay or mask; add one of them")
    own = plans[0] if plans else None
    if own is None or own.decay is None:
        return _Decay(own, "it has no weight decay: add that of the logs")
    return _Decay(own, "its weight decay and mask are those of the logs")


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
            "plan": str(rival.plan),
            "loss": float(rival.last.loss[0]),
            "supported": rival.last.supported,
            "why": rival.last.why,
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


def _page(read: Sequence[Source], fitted: Fitted, found: _Found, whence: str, command: str) -> str:
    from dwindle.report import Choice, Option, optimum_page
    from dwindle.text import to_toml

    optimum, rival, candidates = found.optimum, found.rival, found.optimum.candidates
    shown = [("plan", found.chosen)] + ([] if found.best is found.chosen else [("best", found.best)])
    drawn = [
        prospect(label, c.name, _printed(c.plan), found.courses[c.name].lr, fitted.predict(found.courses[c.name]))
        for label, c in shown
    ]
    name = rival.name if len(rival.name) <= _MOST else "the plan given"
    drawn.append(prospect("rival", name, _printed(rival.plan), rival.course.lr, fitted.predict(rival.course)))
    choice = Choice(
        plan=_printed(optimum.plan),
        toml=to_toml(optimum.plan),
        schedule=found.chosen.name,
        peak=f"{optimum.plan.peak:g}",
        whence=whence,
        notes=(found.decay.said,),
        taken=candidates.index(found.chosen),
        best=candidates.index(found.best),
        best_toml="" if found.best is found.chosen else to_toml(optimum.best),
        rival=name,
        options=tuple(
            Option(c.name, c.loss, c.gain, c.half, c.behind, c.tied, found.last[c.name].supported) for c in candidates
        ),
    )
    return optimum_page(outlook(read, fitted, drawn, found.steps, command), choice)


def _printed(plan: Plan) -> str:
    """Return the plan in one line where that is short enough to be read, else nothing."""
    text = str(plan)
    return text if len(text) <= _MOST else ""


def _said(read: Sequence[Source], fitted: Fitted, found: _Found, whence: str) -> list[str]:
    optimum, lines = found.optimum, list[str]()
    if not optimum.supported:
        lines += [*wrapped(f"NOT SUPPORTED: {optimum.why}. The figures are a guess."), ""]
    lines += [*about_logs(read, fitted), "", *about_law(fitted, read), ""]
    lines += [*_recommended(found, whence), *_gain(found), ""]
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
    warned = "! " if optimum.plan.decay is None else ""
    lines += row("", f"{warned}{found.decay.said}", hang=2)
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
        lines = row("gain", f"{figures}: none; it ends higher than {name}")
    else:
        lines = row("gain", f"{figures}: not distinguishable from {name}")
    if not rival.last.supported:
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
        lrs = found.courses[c.name].lr
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
