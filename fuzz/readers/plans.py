"""Plans as text and as files, and the parts that have a language of their own: formulas and masks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dwindle import text
from dwindle.checksum import checksum
from dwindle.errors import DwindleError
from dwindle.mask import Mask, Param
from dwindle.plan import Plan
from dwindle.schedule import Formula
from dwindle.text.words import ALONE, SHAPES, SPELLED_OUT, WRAPS
from dwindle.units import UNITS, Horizon
from fuzz.corpus import beginnings, texts
from fuzz.reader import Reader, placed

__all__ = ["PLANS", "READERS", "used"]

PLANS = (
    'peak 1 | warmup 2%, cosine to 10% | decoupled 0.1 | mask name "*" decays, standard | group "head" "head.*" times 2',
    "peak 0.1 | step by 0.5 every 5ep | l2 1e-4",
    "peak 3e-4 | (cosine to 1% over 100st) mirror every 100st | independent 0.1 cautious",
    "peak 1 | 0.5 * cosine + 0.2 * linear to 0% for 20%, constant at 0.1",
    'peak 1 | formula "0.5 ** (step // 30)" | layer-decay 0.9',
    "peak 1 | piecewise at [5ep 10ep] factors [1 0.5 0.1] | corrected (linear to 50%)", "peak 1 | table [1 0.5 0.1] every 5st",
    "peak 1 | through [0st 1e9tok] factors [0 1] shape cosine",
    "peak 1 | tanh to 1% lower -4 upper 3 repeat every 50st growth 2 decay 0.5",
    "peak 2 | polynomial to 0 power 3 shift -5st stretch 2 clip 0.1 to 0.9 extend every 7st",
    "peak 1 | inverse-sqrt every 100ex staircase",
    'peak 1 | join(product(sum(constant))) | l2 0 | mask regex "(^|[./])bias$" does not, kind "*norm*" does not, ndim "2" decays',
    "peak 1 | exponential by 1.5 every 10st growing staircase | decoupled 3 overshoot", "peak 0 | power-law 0.25 every 3ep",
)  # fmt: skip
_WORDS = tuple(
    f" {word} ".encode() for word in (
        *SHAPES, *WRAPS, *ALONE, *SPELLED_OUT, *UNITS, "peak", "lr", "mask", "group", "layer-decay", "l2", "decoupled",
            "independent",
        "corrected", "cautious", "overshoot", "to", "from", "over", "by", "every", "at", "factors", "shape", "growth", "decay",
        "cycles", "power", "warp", "ratio", "growing", "staircase", "times", "decays", "does not", "standard", "everything",
        "nothing",
        "custom", "floor", "ceil", "5ep", "20%", "1e9tok", "3ex", "7st", "for", "name", "regex", "kind", "ndim", "[1 0.5]",
        "| peak 1",
    )
)  # fmt: skip
_FORMULA = tuple(
    word.encode() for word in (
        "step", "pi", "min(", "max(", "exp(", "log(", "cos(", "sqrt(", "tanh(", "floor(", "abs(", "sin(", "**", "//", "%", " if ",
        " else ", " and ", " or ", "not ", "[1, 2][step]", "< 10", "==", "step // 0", "step % 0", "0 ** -1", "9**9**9", "True",
        "lambda: 0", "__import__('os')", "step.real", "1e999", "-step", "(-1) ** 0.5", "~step", "step << 70", "exp(exp(step))",
    )
)  # fmt: skip
_PARAMS = [
    Param("embed.weight", (50, 8), "Embedding", 1), Param("layers.0.attn.q_proj.weight", (8, 8), "Linear", 2),
    Param("layers.0.norm.weight", (8,), "LayerNorm", 3), Param("head.bias", (4,), "Linear", 4), Param("head.weight", (50, 8),
        "Linear", 1),
    Param("scale", (), "", 5), Param("conv/kernel", (3, 3, 1, 8), "Conv2D", None),
]  # fmt: skip
_STEPS = (0, 1, 2, 7, -3, 10**6, 3 * 10**6 + 1, 10**12, 2**53 + 1, 10**18)
_RUNS = (Horizon(steps=40, steps_per_epoch=10, batch_size=8, tokens_per_step=100), Horizon(steps=3))


def used(plan: Any) -> object:
    """Return the plan, after its text was read back and its rates were asked for; they are finite and not negative."""
    if not isinstance(plan, Plan):
        return plan
    for run in _RUNS:
        try:
            lrs = plan.lrs(run)
        except DwindleError:
            continue
        assert not np.isnan(lrs).any(), (
            "a learning rate that is no number"
        )  # one that grows may grow beyond all of them
        assert (lrs >= 0).all(), "a learning rate below 0"
    try:
        again = text.parse(str(plan))
    except DwindleError as error:
        again = "characters" in str(error) or "nest" in str(error) or f"is refused: {error}"
    assert again is True or again == plan, f"the text of a plan reads back as another, or {again}"
    return plan


def _file(suffix: str) -> Callable[[bytes], object]:
    return lambda data: used(text.load(placed(f"plan{suffix}", data)))


def _checked(data: bytes) -> object:
    """Read a line under its own checksum."""
    line = data.decode("utf-8", "replace").strip()
    sealed = f"# {text.FORMAT} {checksum(line)}\n{line}\n"
    return used(text.load(placed("plan.txt", sealed.encode())))


def _parsed(data: bytes) -> object:
    return used(text.parse(data.decode("utf-8", "surrogateescape")))


def _formula(data: bytes) -> object:
    formula = Formula(data.decode("utf-8", "surrogateescape"))
    assert Formula(formula.text) == formula, "the text of a formula reads back as another"
    alone = []
    for step in _STEPS:
        try:
            alone.append(formula(step))
        except DwindleError:
            return formula
    assert all(math.isfinite(value) and value >= 0 for value in alone), "a factor that is not finite, or below 0"
    try:
        many = formula(np.array(_STEPS))
    except DwindleError as error:
        raise AssertionError("steps that have a factor each have none in an array") from error
    assert np.allclose(many, alone, rtol=1e-9, atol=0), "one step alone has another factor than in an array"
    return formula


def _mask(data: bytes) -> object:
    mask = text.parse_mask(data.decode("utf-8", "surrogateescape"))
    assert text.parse_mask(str(mask)) == mask, "the text of a mask reads back as another"
    return mask.decide(_PARAMS)


def _lines() -> Iterator[tuple[int, bytes]]:
    yield from ((0, plan.encode()) for plan in PLANS)
    yield from ((0, data) for data in texts("test_text", among="peak"))


def _schedules() -> Iterator[tuple[int, bytes]]:
    """Yield the plans of every schedule that stands in the tests, too."""
    yield from _lines()
    for data in texts("test_text", "test_schedule_exact", "test_bad_inputs"):
        yield 0, b"peak 1 | " + data


def _as(write: Callable[[Plan], str]) -> Callable[[], Iterator[tuple[int, bytes]]]:
    def seeds() -> Iterator[tuple[int, bytes]]:
        for plan in PLANS:
            yield 0, write(text.parse(plan)).encode()
        yield 0, _saved(".toml" if write is text.to_toml else ".json")
        yield from ((0, data) for data in beginnings("plan.toml" if write is text.to_toml else "plan.json"))
        mark = "peak =" if write is text.to_toml else '"peak"'
        yield from ((0, data) for data in texts("test_text", "test_bad_inputs", among=mark))

    return seeds


def _saved(suffix: str) -> bytes:
    return text.save(text.parse(PLANS[0]), placed(f"saved{suffix}", b"")).read_bytes()


def _txt() -> Iterator[tuple[int, bytes]]:
    yield 0, _saved(".txt")
    yield from ((form, plan.encode()) for form in (0, 1) for plan in PLANS)


def _formulas() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in texts("test_formula", longest=300))
    yield from ((0, formula.encode()) for plan in PLANS for formula in re.findall(r'formula "([^"]*)"', plan))
    yield 0, b"min(step, 10) / 10 if step < 10 else 0.5 ** ((step - 10) // 30)"


def _masks() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in texts("test_mask", "test_text", among=' "'))
    yield from (
        (0, data.encode()) for data in ("standard", "everything", "nothing", str(Mask((*Mask().rules, *Mask().rules))))
    )
    for rule in (
        'name "head.*"',
        'name "*.[wk]e*"',
        'regex "^layers[.][0-9]+"',
        'regex "(attn|mlp)"',
        'kind "*norm*"',
        'ndim "0"',
    ):
        yield 0, f"{rule} decays".encode()
        yield 0, f"{rule} does not, standard".encode()
    yield 0, b'name "head.*" does not, kind "Embedding" decays, regex "proj" decays, ndim "2" decays, standard'


_KEYS = (
    b"format", b"checksum", b"peak", b"schedule", b"decay", b"mask", b"layer_decay", b"group", b"[[group]]", b"[group]", b"name",
    b"match", b"lr_scale", b'"dwindle-plan/1"', b'"dwindle-plan/2"', b"'''", b'"""', b"1979-05-27T07:32:00Z", b"a.b.c = 1",
    b"= {",
    b"inf", b"nan", b"0x1", b"1_000",
)  # fmt: skip

READERS = (
    Reader("plan-text", (_parsed,), _schedules, _WORDS),
    Reader("plan-toml", (_file(".toml"),), _as(text.to_toml), (*_KEYS, *_WORDS)),
    Reader("plan-json", (_file(".json"),), _as(text.to_json), (*_KEYS, *_WORDS)),
    Reader("plan-txt", (_file(".txt"), _checked), _txt, (b"# dwindle-plan/1 crc32:", *_WORDS)),
    Reader("formula", (_formula,), _formulas, _FORMULA, 2048),
    Reader("mask", (_mask,), _masks, (*_WORDS, b"(a+)+$", b"(?P<a>", b"[[:alpha:]]", b"(?i)", b"\\\\", b"*", b"?", b"[!a]",
        b"{2,"), 2048),
)  # fmt: skip
