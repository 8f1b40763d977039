"""A plan as the textbook's own code: ``learning_rate(step)``, and the update w ← (1 - ηλ/n)·w - (η/m)·Σ∂C_x/∂w."""

from __future__ import annotations

import ast
import math

from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.classic import NAMES as OPTIMIZERS
from dwindle.foreign.writing.draft import Draft
from dwindle.foreign.writing.expression import expression
from dwindle.foreign.writing.plain_sgd import intercept_notes, refuse_groups, sgd_decay
from dwindle.foreign.writing.source_text import module, number, returned
from dwindle.schedule import Exponential, Schedule
from dwindle.units import Time

__all__ = ["textbook_source"]

_LONGEST = 116


def textbook_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return a plan in plain Python, in the style of Nielsen's network2: lists of arrays (or of numbers), plain SGD.

    λ of the cost C0 + λ/2n·Σw² is c·n, with n the examples of the run; without a run the code holds c = λ/n itself.
    """
    if known("optimizer", optimizer or "network2", OPTIMIZERS["textbook"]) == "network3":
        raise NoExactMapError(
            "network3 builds its update in Theano; write it for network2, whose λ is network3's times m."
        )
    refuse_groups(draft.plan, "the textbook")
    lam = sgd_decay(draft.plan)
    rate, names = _learning_rate(draft)
    decay, functions = _decay(draft, lam)
    blocks = ["\n".join([*names, *decay])] if names or decay else []
    notes = list(intercept_notes(draft.plan, "the textbook's weights decay and its biases do not"))
    if lam is not None and draft.decay is not None and draft.decay.convention not in ("l2", "decoupled"):
        notes.append(f"{draft.decay.convention} decay as plain SGD takes it; with momentum the two differ.")
    header = draft.header("the textbook", notes)
    shrink = None if lam is None else "decay(step)" if functions else "lmbda / n" if len(decay) == 2 else "decay"
    return module(header, [], [*blocks, rate, *functions, _update(draft, shrink)])


def _learning_rate(draft: Draft) -> tuple[str, list[str]]:
    """Return the source of ``learning_rate``, and of the names that it needs; halving by epochs is written in epochs."""
    head = 'def learning_rate(step):\n    """Return η at a step, the number of updates done."""\n'
    peak, run = number(draft.plan.peak), draft.run
    match draft.given.schedule:
        case Exponential(decay_rate=rate, every=Time(value=int() as epochs, unit="ep"), staircase=True) if (
            run is not None and run.steps_per_epoch is not None
        ):
            body = f"    epoch = step // steps_per_epoch\n    return {peak} * {number(rate)} ** (epoch // {epochs})"
            return head + body, [f"steps_per_epoch = {run.steps_per_epoch}"]
    factor = ast.parse(draft.factor, mode="eval").body
    if isinstance(factor, ast.Constant):
        return head + f"    return {number(draft.plan.peak * factor.value)}", []  # type: ignore[operator]
    whole = ast.unparse(ast.parse(f"{peak} * ({draft.factor})", mode="eval"))
    if len(whole) + 11 > _LONGEST and isinstance(factor, ast.IfExp):
        whole = ast.unparse(_in_every_case(peak, factor))
    return head + returned(whole), []


def _in_every_case(peak: str, node: ast.expr) -> ast.expr:
    """Return peak·node, for a choice the product of each of its cases, so that it can be laid out."""
    if isinstance(node, ast.IfExp):
        return ast.IfExp(node.test, _in_every_case(peak, node.body), _in_every_case(peak, node.orelse))
    return ast.parse(f"{peak} * ({ast.unparse(node)})", mode="eval").body


def _decay(draft: Draft, lam: float | Schedule | None) -> tuple[list[str], list[str]]:
    """Return the names that hold the decay, or the function of one that changes."""
    if lam is None:
        return [], []
    if isinstance(lam, Schedule):
        says = f'    """Return λ/n at a step: {draft.decay}."""'
        return [], [f"def decay(step):\n{says}\n{returned(expression(lam, draft.steps))}"]
    examples = None if draft.run is None else draft.run.examples
    if examples is None:
        return [f"decay = {number(lam)}  # λ/n"], []
    return [
        f"n = {examples}  # training examples",
        f"lmbda = {number(_lambda(lam, examples))}  # λ of the cost C0 + λ/2n Σw²",
    ], []


def _lambda(c: float, n: int) -> float:
    """Return λ with λ/n == c, in the fewest digits that do."""
    whole = c * n
    near = (whole, math.nextafter(whole, math.inf), math.nextafter(whole, 0.0))
    rounded = (float(f"{whole:.{digits}g}") for digits in range(1, 17))
    return next((lam for lam in (*rounded, *near) if lam / n == c), whole)


def _update(draft: Draft, shrink: str | None) -> str:
    kept = "" if shrink is None else f"(1 - eta * {shrink}) * "
    if shrink is not None and draft.decay is not None and draft.decay.cautious:
        kept = f"(1 - eta * {shrink} * (w * nw >= 0)) * "
    return "\n".join(
        [
            "def update(weights, biases, nabla_w, nabla_b, m, step):",
            '    """Return the weights and biases after a step; nabla_w, nabla_b are sums over a mini-batch of m examples."""',
            "    eta = learning_rate(step)",
            f"    weights = [{kept}w - eta / m * nw for w, nw in zip(weights, nabla_w)]",
            "    biases = [b - eta / m * nb for b, nb in zip(biases, nabla_b)]",
            "    return weights, biases",
        ]
    )
