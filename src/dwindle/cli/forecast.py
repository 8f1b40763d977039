"""``dwindle forecast``: the loss that plans would have reached, from the logs of runs that were trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli.curves import (
    LABEL,
    about_law,
    about_logs,
    blocks,
    decimals,
    numbered,
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
    given_plan,
    horizon,
    last_step,
    logs_as_json,
    sources,
    steps_of,
)
from dwindle.cli.said import say, say_json
from dwindle.errors import InvalidValueError

if TYPE_CHECKING:
    from dwindle.laws import BestDecay, Course, Fitted, Forecast
    from dwindle.plan import Plan
    from dwindle.units import Horizon

__all__ = ["forecast"]

_ARRAYS = {"steps": "step", "loss": "loss", "lower": "lower", "upper": "upper"}


class _Answer(NamedTuple):
    """A plan, what it sets each step, the curve that it is drawn with, and the forecast at the steps asked for and at the end.

    ``decay`` is the best weight decay for it where the law reads decay, ``unread`` whether its own is not read.
    """

    plan: Plan
    course: Course
    curve: Forecast
    told: Forecast
    decay: BestDecay | None
    unread: bool

    @property
    def final(self) -> float:
        return float(self.told.loss[-1])

    @property
    def half(self) -> float:
        return float(self.told.upper[-1] - self.told.lower[-1]) / 2.0


class _Rank(NamedTuple):
    """The place of an answer: its number, and how much higher than the first it ends, ± half; None for what is not compared."""

    number: int
    answer: _Answer
    behind: float | None
    half: float | None

    @property
    def apart(self) -> bool | None:
        return None if self.behind is None or self.half is None else self.behind > self.half


def forecast(
    context: typer.Context,
    logs: Logs,
    plan: Annotated[list[str], typer.Option(help="A plan in one line, .toml or .json; repeat it to compare plans.")],
    steps: Annotated[int | None, typer.Option(help="Steps of the plan; by default those of the longest log.")] = None,
    steps_per_epoch: StepsPerEpoch = None,
    warmup: Warmup = None,
    law: Law = "auto",
    like: Like = None,
    log_plan: LogPlans = None,
    at: Annotated[str | None, typer.Option(help="Times to forecast, such as 5000,50%.")] = None,
    step: StepColumn = None,
    lr: LrColumn = None,
    loss: LossColumn = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the loss of PLAN from logged runs, with a 90 % interval, and say whether they can answer at all."""
    plans = [given_plan("--plan", text) for text in plan]
    file_of_its_own("--html", html, logs)
    columns = Columns(step, lr, loss)
    read = sources(logs, columns, log_plan or [], warmup, steps_per_epoch)
    length = max(last_step(source.log) for source in read) if steps is None else steps
    fitted = fitted_to(read, law, like, columns, warmup)
    run = horizon("--steps", length, steps_per_epoch)
    times = None if at is None else _times(at, run)
    answers = [_answer(fitted, p, run, times) for p in plans]
    ranking = _ranked(fitted, answers)
    if html is not None:
        write_html(lambda: _page(read, fitted, answers, ranking, length, command_line(context)), html)
    if as_json:
        say_json(_as_json(read, fitted, answers, ranking))
    else:
        lines = _said(read, fitted, answers, ranking, asked=steps is not None)
        lines += [] if html is None else ["", f"{'page':<{LABEL}}{html}"]
        say("\n".join(line.rstrip() for line in lines))


def _answer(fitted: Fitted, plan: Plan, run: Horizon, times: Sequence[int] | None) -> _Answer:
    from dwindle.laws import best_decay

    course = course_of("--plan", plan, run)
    curve = fitted.predict(course)
    told = curve if times is None else fitted.predict(course, at=sorted({*times, run.steps}))
    decay = best_decay(fitted, plan, run) if fitted.law.decays and told.supported and _one_number(plan) else None
    unread = plan.decay is not None and not fitted.law.decays and fitted.known.paces is None
    return _Answer(plan, course, curve, told, decay, unread)


def _one_number(plan: Plan) -> bool:
    """Whether the decay is one λ for the whole run, for which another can be better."""
    return plan.decay is None or (not plan.decay.cautious and isinstance(plan.decay.weight_decay, float))


def _times(text: str, run: Horizon) -> list[int]:
    found = [round(steps_of("--at", part, run)) for part in text.split(",")]
    outside = [time for time in found if not 0 <= time <= run.steps]
    if outside:
        raise InvalidValueError(f"--at must be from 0 to the {run.steps} steps of the plan; got {outside[0]}.")
    return found


def _ranked(fitted: Fitted, answers: Sequence[_Answer]) -> list[_Rank]:
    """Return the answers, the lowest final loss first; those that the logs do not support come last, not compared."""
    order = sorted(enumerate(answers, start=1), key=lambda one: (not one[1].told.supported, one[1].final))
    best = order[0][1]
    compared = [a is not best and a.told.supported for _, a in order]
    return [
        _Rank(i, a, *(fitted.difference(best.course, a.course) if compare else (None, None)))
        for (i, a), compare in zip(order, compared, strict=True)
    ]


def _as_json(
    read: Sequence[Source], fitted: Fitted, answers: Sequence[_Answer], ranking: Sequence[_Rank]
) -> dict[str, Any]:
    return logs_as_json(read, fitted) | {
        "forecasts": [
            {
                "plan": str(answer.plan),
                "horizon": len(answer.course.lr),
                **{key: getattr(answer.told, name).tolist() for key, name in _ARRAYS.items()},
                "final": {name: float(getattr(answer.told, name)[-1]) for name in ("loss", "lower", "upper")},
                "supported": answer.told.supported,
                "why": answer.told.why,
                "best_decay": None if answer.decay is None else _decay_as_json(answer.decay),
            }
            for answer in answers
        ],
        "ranking": [
            {"forecast": rank.number - 1, "behind": rank.behind, "half": rank.half, "distinguishable": rank.apart}
            for rank in ranking
        ],
    }


def _decay_as_json(found: BestDecay) -> dict[str, Any]:
    names = ("best", "low", "high", "gain", "half", "distinguishable", "said")
    return {name: getattr(found, name) for name in names}


# --- what is said


def _page(
    read: Sequence[Source],
    fitted: Fitted,
    answers: Sequence[_Answer],
    ranking: Sequence[_Rank],
    steps: int,
    command: str,
) -> str:
    from dwindle.report import Rank, forecast_page

    prospects = []
    for i, answer in enumerate(answers, start=1):
        label = numbered("plan", i, answers)
        notes = _of_decay(answer)
        prospects.append(prospect(label, label, str(answer.plan), answer.course.lr, answer.curve, answer.told, notes))
    order = [Rank(rank.number - 1, rank.behind, rank.half) for rank in ranking]
    return forecast_page(outlook(read, fitted, prospects, steps, command), order)


def _of_decay(answer: _Answer) -> list[str]:
    """Return which weight decay is the best, or that the plan's is not read."""
    if answer.decay is not None:
        return [f"weight decay: {answer.decay.said}"]
    if not answer.unread:
        return []
    return [
        f"{answer.plan.decay} is not read: decay is taken as the logs had it; logs of two λ, each with its --log-plan, tell more"
    ]


def _said(
    read: Sequence[Source], fitted: Fitted, answers: Sequence[_Answer], ranking: Sequence[_Rank], *, asked: bool
) -> list[str]:
    lines: list[str] = []
    for i, answer in enumerate(answers, start=1):
        if not answer.told.supported:
            which = f" for plan {i}" if len(answers) > 1 else ""
            lines += wrapped(f"NOT SUPPORTED{which}: {answer.told.why}. The figures{which} are a guess.")
    lines += [""] if lines else []
    lines += [*about_logs(read, fitted), "", *about_law(fitted, read), "", *_picture(read, fitted, answers)]
    for i, answer in enumerate(answers, start=1):
        lines += ["", *_result(answer, numbered("plan", i, answers), asked=asked)]
    if len(answers) > 1:
        lines += ["", *_comparison(ranking)]
    return lines


def _picture(read: Sequence[Source], fitted: Fitted, answers: Sequence[_Answer]) -> list[str]:
    """Return each log, its fitted curve, each forecast, and how its interval widens: a line each, on one axis of steps."""
    import numpy as np

    end = max([len(answer.course.lr) for answer in answers] + [int(run.step[-1]) for run in fitted.runs])
    kept = {run.name: run for run in fitted.runs}
    drawn: list[tuple[str, Any, Any]] = []
    for i, source in enumerate(read, start=1):
        run = kept.get(source.log.name)
        if run is not None:
            drawn.append((numbered("log", i, read), run.step, run.loss))
            drawn.append(("  fitted", run.step, fitted.loss(run.course, run.step)))
    for i, answer in enumerate(answers, start=1):
        drawn.append((numbered("plan", i, answers), answer.curve.step, answer.curve.loss))
    late = np.concatenate([loss[(steps >= steps[-1] // 4) & np.isfinite(loss)] for _, steps, loss in drawn])
    low, high = float(late.min()), float(late.max())
    lines = [f"loss from step 0 to {end:,}, {decimals(low, high - low)} ▁ to █ {decimals(high, high - low)}"]
    lines += [
        blocks(label, steps, loss, end, low, high, decimals(loss[-1], high - low)) for label, steps, loss in drawn
    ]
    for i, answer in enumerate(answers, start=1):
        half = (answer.curve.upper - answer.curve.lower) / 2.0
        label = "± 90 %" if len(answers) == 1 else f"± of plan {i}"
        lines.append(blocks(label, answer.curve.step, half, end, 0.0, float(half.max()), f"±{half[-1]:.2g}"))
    return lines


def _result(answer: _Answer, label: str, *, asked: bool) -> list[str]:
    told, steps = answer.told, f"{len(answer.course.lr):,} steps{'' if asked else ', as the longest log'}"
    lines = row(label, f"{answer.plan} (over {steps})")
    if told is not answer.curve:
        lines.append(f"{'':<{LABEL}}{'step':>12}{'loss':>12}{'lower':>12}{'upper':>12}")
        for step, *losses in zip(told.step, told.loss, told.lower, told.upper, strict=True):
            figures = "".join(f"{decimals(loss, answer.half):>12}" for loss in losses)
            lines.append(f"{'':<{LABEL}}{step:>12,}{figures}")
    low, high = (decimals(bound[-1], answer.half) for bound in (told.lower, told.upper))
    lines += row("final loss", f"{decimals(answer.final, answer.half)}, 90 % interval {low} to {high}")
    verdict = ("supported", told.why) if told.supported else ("not supported", "see above; the interval is a guess")
    lines += row("", f"{verdict[0]}: {verdict[1]}")
    for note in _of_decay(answer):
        lines += row("", f"{'! ' if answer.unread else ''}{note}", hang=2)
    return lines


def _comparison(ranking: Sequence[_Rank]) -> list[str]:
    best, *others = ranking
    width = min((rank.half for rank in others if rank.half), default=best.answer.half)
    lines = [
        "final loss, lowest first, and how much higher than the first, ± 90 %",
        f"{f'plan {best.number}':<{LABEL}}{decimals(best.answer.final, width)}",
    ]
    for rank in others:
        said = "not supported, and not compared"
        if rank.behind is not None and rank.half is not None:
            said = f"{decimals(rank.behind, rank.half)} ±{rank.half:.2g}, "
            said += f"higher than plan {best.number}" if rank.apart else f"not distinguishable from plan {best.number}"
        lines.append(f"{f'plan {rank.number}':<{LABEL}}{decimals(rank.answer.final, width):<12}{said}")
    return lines
