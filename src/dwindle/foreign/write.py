"""A plan, or a rule that answers a metric, as source that a user of a peer can paste and run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dwindle.errors import DwindleError, InvalidValueError, NoExactMapError, shown
from dwindle.foreign.schedules.peers import peer_named
from dwindle.foreign.source.program import read_source
from dwindle.foreign.writing.draft import Draft
from dwindle.foreign.writing.plateau import keras_rule, optax_rule
from dwindle.foreign.writing.rules import hf_rule, timm_rule, torch_rule
from dwindle.foreign.writing.write_composer import composer_source
from dwindle.foreign.writing.write_hf import hf_source
from dwindle.foreign.writing.write_keras import keras_source
from dwindle.foreign.writing.write_optax import optax_source
from dwindle.foreign.writing.write_sklearn import sklearn_source
from dwindle.foreign.writing.write_textbook import textbook_source
from dwindle.foreign.writing.write_timm import timm_source
from dwindle.foreign.writing.write_torch import torch_source
from dwindle.plan import Plan
from dwindle.schedule.feedback import FeedbackRule
from dwindle.units import Horizon

__all__ = ["noted", "write"]

_WRITERS: dict[str, Callable[[Draft, str | None], str]] = {
    "torch": torch_source, "timm": timm_source, "hf": hf_source, "composer": composer_source,
    "sklearn": sklearn_source, "textbook": textbook_source, "optax": optax_source, "keras": keras_source,
}  # fmt: skip
_SLASHED = ("optax", "keras")  # their parameters' names are joined by /
_RULES: dict[str, Callable[[Any, str | None], str]] = {
    "torch": torch_rule, "timm": timm_rule, "hf": hf_rule, "optax": optax_rule, "keras": keras_rule,
}  # fmt: skip


def write(
    plan: Plan | FeedbackRule[Any], peer: str, run: Horizon | int | None = None, *, optimizer: str | None = None
) -> str:
    """Return source in the idiom of ``peer`` that trains by ``plan``: its schedule, optimiser, weight decay and mask.

    A schedule of the peer's own is taken where one gives the same learning rate on every step of the run (each is read
    back and compared to relative 1e-12), else the plan's formula as a function of the step; one of more than 5,000 letters
    gives way to a list of the factors where that is shorter, else it may be too long to be read back. What is not exact is
    said in a comment that begins "not exact". ``run`` is needed where the plan's times are not in steps; ``optimizer``
    names the peer's optimiser (by default its SGD for l2, AdamW for a decay beside the update). `read` reads it back.

    Raises NoExactMapError for what the peer cannot express, UnresolvedTimeError where a run is needed, UnknownNameError
    for a peer or optimiser that is not known.

    >>> from dwindle.schedule import step
    >>> print(write(Plan(0.1, step(30)), "torch"))
    # Written by dwindle for torch:
    #   peak 0.1 | step by 0.5 every 30st
    <BLANKLINE>
    import torch
    <BLANKLINE>
    <BLANKLINE>
    def configure(model):
        \"\"\"Return (optimizer, scheduler); call scheduler.step() after every optimizer.step().\"\"\"
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.5)
        return optimizer, scheduler
    <BLANKLINE>
    """
    peer = peer_named(peer)
    if isinstance(plan, FeedbackRule):
        if peer not in _RULES:
            raise NoExactMapError(f"{peer} has no scheduler that answers a metric; {', '.join(_RULES)} have.")
        return _RULES[peer](plan, optimizer)
    if not isinstance(plan, Plan):
        raise InvalidValueError(f"plan must be a Plan or a feedback rule; got {shown(plan)}. For text use parse(text).")
    draft = Draft.of(plan, run)
    text = noted(_WRITERS[peer](draft, optimizer), _dotted(plan) if peer in _SLASHED else ())
    return text if draft.run is None or peer == "sklearn" else _with_its_end(text, draft, peer)


def _with_its_end(text: str, draft: Draft, peer: str) -> str:
    """Return ``text``, with a note in its opening comment if it goes on otherwise than the plan after the run."""
    beyond = np.unique(np.linspace(draft.steps, 2 * draft.steps + 2, 2000).astype(np.int64))
    try:
        wanted = draft.plan.peak * draft.plan.schedule(beyond)
    except DwindleError:
        return noted(text, [f"the plan is good for the {draft.steps} steps of the run alone; train no longer."])
    try:
        back = read_source(text, peer, draft.run)
        same = not isinstance(back, Plan) or np.allclose(
            back.peak * back.schedule(beyond), wanted, 1e-9, 1e-15 * wanted.max()
        )
    except DwindleError:  # a formula that is good for the run alone
        same = False
    if same:
        return text
    return noted(text, [f"beyond the {draft.steps} steps of the run this goes on otherwise than the plan."])


def noted(text: str, notes: Iterable[str]) -> str:
    r"""Return the source ``text`` with ``notes`` at the end of its opening comment, in 80 columns.

    >>> print(noted("# Written by hand:\nx = 1", ["not exact: x is 2."]))
    # Written by hand:
    # Note: not exact: x is 2.
    x = 1
    """
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    said = [part for note in notes for part in textwrap.wrap(f"Note: {note}", 77, subsequent_indent="  ")]
    return "".join([*lines[:end], *(f"# {line}\n" for line in said), *lines[end:]])


def _dotted(plan: Plan) -> Iterable[str]:
    """Say which patterns of the plan are for names joined by dots, as torch's are."""
    globs = [*(group.match for group in plan.groups)]
    rules = plan.mask.rules if plan.decay is not None else ()
    globs += [rule.pattern for rule in rules if rule.subject == "name"]
    dotted = [glob for glob in globs if "." in glob and "/" not in glob]
    dotted += [r.pattern for r in rules if r.subject == "regex" and r"\." in r.pattern and "/" not in r.pattern]
    for pattern in dict.fromkeys(dotted):
        yield f"not exact: names here are joined by /, the plan's pattern {pattern!r} has dots and may match none; write / there."
