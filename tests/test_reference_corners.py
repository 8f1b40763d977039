"""Corners of the oracle and of planning anew: every refusal in full, steps by hand, and the texts that come out."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import dwindle as dw
from dwindle.arrays import float64
from dwindle.decay import Decoupled, Independent
from dwindle.errors import DwindleError, InvalidValueError, UnknownNameError
from dwindle.mask import Mask
from dwindle.plan import Group, Plan
from dwindle.reference import SGD, Adam, AdamState, Array, SGDState, run, textbook_step
from dwindle.replan import change, cooldown, extended
from dwindle.schedule import Constant, Exponential, Join, Piecewise, Ramp, Schedule, Shift, Stretch
from dwindle.units import Horizon

STEP: dict[str, Any] = {"w": [1.0, 2.0], "grad": [1.0, 1.0], "lr": 0.5}
TEXTBOOK: dict[str, Any] = {"w": [1.0], "b": [1.0], "grad_w": [1.0], "grad_b": [1.0], "lr": 0.5, "lam": 1.0, "n": 4}
TWO = np.zeros(2)


def two(params: dict[str, Array], step: int) -> dict[str, Array]:
    """Return a gradient that lacks both names from step 1 on."""
    return {} if step else params


RUN: dict[str, Any] = {
    "optimiser": SGD(),
    "w0": {"w": [1.0], "b": [2.0]},
    "gradient": two,
    "rates": lambda t, n: (0.0, 1.0, 0.0),
}
PLANNED: dict[str, Any] = {"plan": Plan(0.1), "run": 100, "at": 50, "steps": 10}

REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    *[(SGD, given, said) for given, said in (
        ({"momentum": -0.5}, "momentum must be zero or more; got -0.5."),
        ({"momentum": 1.0}, "momentum must be below 1; got 1.0."),
        ({"dampening": -0.5}, "dampening must be zero or more; got -0.5."),
        ({"dampening": 1.5}, "dampening must be at most 1; got 1.5."),
        ({"nesterov": 1}, "nesterov must be True or False; got 1."),
        ({"lr_in_buffer": None}, "lr_in_buffer must be True or False; got None."),
        ({"momentum": 0.5, "dampening": 0.25, "nesterov": True},
         "nesterov with dampening=0.25 has no agreed meaning; set dampening to 0."),
    )],
    *[(Adam, {name: value}, f"{name} must be {rule}; got {value}.") for name in ("beta1", "beta2")
      for value, rule in ((-0.5, "zero or more"), (1.0, "below 1"))],
    *[(Adam, {"eps": eps},
       f"eps must be {rule}; got {eps!r}. A weight without a gradient would get 0/0; use 1e-300 for almost none.")
      for eps, rule in ((0.0, "positive"), ("0", "a real number"))],
    *[(Adam, {name: 1}, f"{name} must be True or False; got 1.") for name in ("amsgrad", "nesterov", "eps_hat")],
    *[(optimiser.init, {"w": [True]}, "w must be an array of real numbers; got [True] (its dtype is bool).")
      for optimiser in (SGD(), Adam())],
    *[(optimiser.update, STEP | {"state": state} | given, said)
      for optimiser, state in ((SGD(), SGDState(0, TWO)), (Adam(), AdamState(0, TWO, TWO, TWO))) for given, said in (
        ({"w": "x"}, "w must be an array of real numbers; got 'x' (its dtype is <U1)."),
        ({"grad": [1j, 1.0]}, "grad must be an array of real numbers; got [1j, 1.0] (its dtype is complex128)."),
        ({"grad": [1.0]}, "grad has shape (1,) but its weight has (2,); broadcasting hides errors. Reshape it."),
        ({"w": [1.0], "grad": [1.0]}, "state has shape (2,) but its weight has (1,); broadcasting hides errors. Reshape it."),
        ({"lr": -0.5}, "lr must be zero or more; got -0.5."),
        ({"shrink": float("nan")}, "shrink must be finite; got nan."),
        ({"l2": -0.5}, "l2 must be zero or more; got -0.5."),
        ({"cautious": 1}, "cautious must be True or False; got 1."),
    )],
    *[(kind.update, STEP | {"state": 3}, f"state must be a {state}; got 3. Begin with init(w).")
      for kind, state in ((SGD(), "SGDState"), (Adam(), "AdamState"))],
    *[(run, RUN | given, said) for given, said in (
        ({"steps": -1}, "steps must be at least 0; got -1."),
        ({"steps": 0, "w0": {"kernel": ["x"]}}, "kernel must be an array of real numbers; got ['x'] (its dtype is <U1)."),
        ({"steps": 2}, "the gradient at step 1 lacks w, b; give zeros to hold it still."),
        ({"steps": 1, "gradient": lambda p, t: {**p, "bb": p["b"]}}, "gradient key 'bb' is not known; did you mean 'b'?"),
    )],
    *[(textbook_step, TEXTBOOK | {name: value}, f"{name} {said}") for names, value, said in (
        ("w b grad_w grad_b", "x", "must be an array of real numbers; got 'x' (its dtype is <U1)."),
        ("grad_w grad_b", [1.0, 2.0], "has shape (2,) but its weight has (1,); broadcasting hides errors. Reshape it."),
        ("lr lam", -1, "must be zero or more; got -1."),
        ("n", 0, "must be positive; got 0."),
    ) for name in names.split()],
    *[(call, PLANNED | given, said) for call in (extended, cooldown) for given, said in (
        ({"run": 0}, "horizon must be positive; got 0. Give steps, or a Horizon."),
        ({"at": -1}, "at must be at least 0; got -1."),
        ({"at": 2.5}, "at must be a whole number; got 2.5."),
        ({"steps": None}, "steps must be a number of steps or a time; got None."),
        ({"steps": 0}, "steps must be positive; got 0."),
        ({"steps": "1.5st"}, "steps must be a whole number; got 1.5."),
    )],
    (extended, PLANNED | {"at": 100, "steps": 200},
     "at update 100 nothing is left of a run of 100 steps, so nothing can be stretched; begin from an earlier checkpoint, "
     "or train on under another plan."),
    (extended, PLANNED | {"steps": 50}, "steps counts the whole run and 50 are done; got 50. Give more than 50."),
    (extended, PLANNED | {"steps": Horizon(steps=49)}, "steps counts the whole run and 50 are done; got 49. Give more than 50."),
    (cooldown, PLANNED | {"end": -0.5}, "end must be zero or more; got -0.5."),
    (cooldown, PLANNED | {"end": 1.5},
     "the factor at update 50 is 1, so a cooldown to 1.5 would not lower it; begin it elsewhere."),
    (cooldown, PLANNED | {"plan": Plan(0.1, Ramp(steps=20))},
     "the factor at update 50 is 0, so a cooldown to 0 would not lower it; begin it elsewhere."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "given", "said"), REFUSED)
def test_a_refusal_names_what_was_given_and_the_way_out(call: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DwindleError) as caught:
        call(**given)
    assert type(caught.value) is (UnknownNameError if "is not known" in said else InvalidValueError)
    assert str(caught.value) == said


def test_what_lies_on_a_bound_is_accepted_and_what_is_left_out_is_plain() -> None:
    assert SGD() == SGD(0.0, 0.0, False, False) == SGD(momentum=0, dampening=0)
    assert Adam() == Adam(0.9, 0.999, 1e-8, False, False, False)
    assert (SGD(dampening=1.0).dampening, Adam(0.0, 0.0, 1e-300).eps) == (1.0, 1e-300)
    for optimiser in (SGD(), Adam()):
        state: Any = optimiser.init(np.array([3, 4], np.uint8))
        w, _ = optimiser.update([3, 4], [1, -1], state, lr=0, l2=0, shrink=-1.0)
        assert w.dtype == np.float64
        assert w.tolist() == [-3.0, -4.0]
        assert optimiser.update([3, 4], [0, 0], state, lr=0.5)[0].tolist() == [3.0, 4.0]
    assert [each.tolist() for each in textbook_step([8], [4], [2], [1], 0, 0, 1)] == [[8.0], [4.0]]


@pytest.mark.parametrize(
    "value", [SGD(), Adam(), SGD().init(1.0), Adam().init(1.0)], ids=lambda value: type(value).__name__
)
def test_optimisers_and_states_are_never_changed_and_states_are_themselves(value: Any) -> None:
    first = fields(value)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, getattr(value, first))
    assert not hasattr(value, "__dict__")
    assert {value: 1}.get(replace(value)) == (1 if isinstance(value, SGD | Adam) else None)


# Steps by hand

SGD_PATHS = [
    # the weight and the buffer after each of two steps: h = 2 + 8/2 = 6 with half the weight kept, then h = 1; lr = 1/4, 1/2
    (SGD(), (2.5, 6.0), (2.0, 1.0)),
    (SGD(dampening=0.25), (2.5, 6.0), (2.0, 1.0)),
    (SGD(0.5), (2.5, 6.0), (0.5, 4.0)),
    (SGD(0.5, 0.25), (2.5, 6.0), (0.625, 3.75)),
    (SGD(0.5, nesterov=True), (1.75, 6.0), (0.25, 4.0)),
    (SGD(0.5, 0.25, lr_in_buffer=True), (2.5, 1.5), (1.375, 1.125)),
    (SGD(0.5, nesterov=True, lr_in_buffer=True), (1.75, 1.5), (0.625, 1.25)),
]


@pytest.mark.parametrize(("sgd", "first", "second"), SGD_PATHS, ids=str)
def test_two_steps_of_sgd(sgd: SGD, first: tuple[float, float], second: tuple[float, float]) -> None:
    state = sgd.init([8.0])
    assert (state.step, state.buffer.tolist()) == (0, [0.0])
    w, state = sgd.update([8.0], [2.0], state, lr=0.25, shrink=0.5, l2=0.5)
    assert (w.tolist(), state.step, state.buffer.tolist()) == ([first[0]], 1, [first[1]])
    w, state = sgd.update(w, [1.0], state, lr=0.5)
    assert (w.tolist(), state.step, state.buffer.tolist()) == ([second[0]], 2, [second[1]])


# β1 = 1/2 and β2 = 3/4. Step 1 with h = 4: m = 2, v = 4, m̂ = 4, v̂ = 16. Step 2 with h = 0: m = 1, v = 3, m̂ = 4/3, v̂ = 48/7.
ADAM_STEPS = [
    (Adam(0.5, 0.75, 4.0), 4 / (4 + 4), (4 / 3) / ((48 / 7) ** 0.5 + 4)),
    (Adam(0.5, 0.75, 4.0, amsgrad=True), 4 / (4 + 4), (4 / 3) / ((64 / 7) ** 0.5 + 4)),
    (Adam(0.5, 0.75, 4.0, nesterov=True), (4 / 3 + 4) / (4 + 4), (4 / 7) / ((48 / 7) ** 0.5 + 4)),
    (Adam(0.5, 0.75, 4.0, eps_hat=True), 4 / (4 + 8), (4 / 3) / ((48 / 7) ** 0.5 + 16 / 7**0.5)),
]


@pytest.mark.parametrize(("adam", "first", "second"), ADAM_STEPS, ids=str)
def test_two_steps_of_adam(adam: Adam, first: float, second: float) -> None:
    state = adam.init([8.0])
    assert (state.step, state.m.tolist(), state.v.tolist(), state.v_max.tolist()) == (0, [0.0], [0.0], [0.0])
    w, state = adam.update([8.0], [2.0], state, lr=0.5, shrink=0.5, l2=0.25)
    assert w.tolist() == pytest.approx([4.0 - 0.5 * first], rel=1e-15)
    assert (state.step, state.m.tolist(), state.v.tolist(), state.v_max.tolist()) == (1, [2.0], [4.0], [4.0])
    w, state = adam.update([8.0], [0.0], state, lr=0.25)
    assert w.tolist() == pytest.approx([8.0 - 0.25 * second], rel=1e-15)
    assert (state.step, state.m.tolist(), state.v.tolist(), state.v_max.tolist()) == (2, [1.0], [3.0], [4.0])


def test_a_textbook_step() -> None:
    w, b = textbook_step([8.0, 4.0], [4.0], [2.0, 0.0], [1.0], lr=0.5, lam=4.0, n=8)
    assert (w.tolist(), b.tolist()) == ([5.0, 3.0], [3.5])


@pytest.mark.parametrize(
    ("given", "wanted"), [({}, [1.0, -0.5]), ({"cautious": False}, [1.0, -0.5]), ({"cautious": True}, [1.5, -0.5])]
)
def test_a_run_is_cautious_only_if_told(given: dict[str, bool], wanted: list[float]) -> None:
    """The update makes the first weight larger and the second smaller; only the second may then shrink."""
    path = run(SGD(), {"w": [1, -2]}, lambda p, t: {"w": [-1, -1]}, lambda t, n: (0.5, 0.5, 0.0), 1, **given)["w"]
    assert path.dtype == np.float64
    assert path.tolist() == [[1.0, -2.0], wanted]
    adam = Adam(eps=1.0)  # whose first step with a gradient of size 1 is a half
    w, _ = adam.update([1, -2], [-1, -1], adam.init([1, -2]), lr=1.0, shrink=0.5, **given)
    assert w.tolist() == pytest.approx(wanted, rel=1e-12)


def test_a_run_asks_for_the_numbers_of_every_step_and_name() -> None:
    asked: list[tuple[int, str]] = []

    def rates(step: int, name: str) -> tuple[float, float, float]:
        asked.append((step, name))
        return 0.25, 1.0, 0.5 if name == "w" else 0.0

    path = run(
        SGD(0.5),
        {"w": [4.0], "b": [4.0]},
        lambda p, t: {
            "b": [float(t)],
            "w": [float(t)],
        },
        rates,
        2,
    )
    assert asked == [(0, "w"), (0, "b"), (1, "w"), (1, "b")]
    # w: h = 2, then h = 1 + 3.5/2 and b = 1 + 2.75; b: h = 0, then 1
    assert (path["w"].tolist(), path["b"].tolist()) == ([[4.0], [3.5], [2.5625]], [[4.0], [4.0], [3.75]])


# Planning anew

RAMP, FALL = "linear to 0% over 100st", Ramp(steps=100)
WSD = Join((Ramp(1.0, 10, 0.0), Constant(), Ramp(steps=20)), (10, 70, None))
HEAD = "warmup 10st, constant for "
STAIRS, STAIRS_TEXT = Piecewise((30, 60), (1.0, 0.5, 0.25)), "piecewise at [30st 60st] factors [1 0.5 0.25]"
LATE, LATE_TEXT = Shift(FALL, 20), f"({RAMP}) shift 20st"
WSD_TEXT = "warmup 10st, constant for 70st, linear to 0% over 20st"

STRETCHED: list[tuple[Schedule, int, int, str]] = [
    (Constant(0.5), 40, 160, "constant at 50%"),
    (FALL, 0, 200, "linear to 0% over 200st"),
    (FALL, 40, 160, f"{RAMP} for 40st, (({RAMP}) shift -40st) stretch 2"),
    (Ramp(0.5, 40), 40, 160, "linear to 50% over 40st, constant at 50%"),
    (Ramp(0.5, 40), 39, 161, "linear to 50% over 40st for 39st, ((linear to 50% over 40st) shift -39st) stretch 2"),
    (STAIRS, 0, 150, "piecewise at [45st 90st] factors [1 0.5 0.25]"),
    (STAIRS, 29, 171, f"{STAIRS_TEXT} for 29st, piecewise at [2st 62st] factors [1 0.5 0.25]"),
    (STAIRS, 30, 170, f"{STAIRS_TEXT} for 30st, piecewise at [60st] factors [0.5 0.25]"),
    (STAIRS, 40, 160, f"{STAIRS_TEXT} for 40st, piecewise at [40st] factors [0.5 0.25]"),
    (STAIRS, 60, 140, f"{STAIRS_TEXT} for 60st, constant at 25%"),
    (Exponential(0.5, 10), 0, 200, "(exponential by 0.5 every 10st) stretch 2"),
    (Exponential(0.5, 10, True), 0, 150, "step by 0.5 every 15st"),
    (Exponential(0.5, 10, True), 40, 160, "step by 0.5 every 10st for 40st, (step by 0.5 every 20st) shift -80st"),
    (Exponential(0.5, 9, True), 40, 130, "step by 0.5 every 9st for 40st, ((step by 0.5 every 9st) shift -40st) stretch 1.5"),
    (Exponential(0.5, 8, True), 39, 161, "step by 0.5 every 8st for 39st, (step by 0.5 every 16st) shift -78st"),
    (WSD, 5, 195,
     "warmup 10st for 5st, ((warmup 10st) shift -5st) stretch 2 for 10st, constant for 140st, linear to 0% over 40st"),
    (WSD, 10, 190, f"{HEAD}140st, linear to 0% over 40st"),
    (WSD, 30, 170, f"{HEAD}120st, linear to 0% over 40st"),
    (WSD, 80, 120, f"{HEAD}70st, linear to 0% over 40st"),
    (WSD, 90, 110, f"{HEAD}70st, linear to 0% over 20st for 10st, ((linear to 0% over 20st) shift -10st) stretch 2"),
    (Stretch(STAIRS, 1.5), 30, 170,
     f"({STAIRS_TEXT}) stretch 1.5 for 30st, (piecewise at [10st 40st] factors [1 0.5 0.25]) stretch 3"),
    (Stretch(STAIRS, 1.5), 90, 110, f"({STAIRS_TEXT}) stretch 1.5 for 90st, constant at 25%"),
    (LATE, 10, 190, f"{LATE_TEXT} for 10st, (({RAMP}) shift 10st) stretch 2"),
    (LATE, 20, 180, f"{LATE_TEXT} for 20st, linear to 0% over 200st"),
    (LATE, 30, 170, f"{LATE_TEXT} for 30st, (({RAMP}) shift -10st) stretch 2"),
    (Shift(WSD, 20), 10, 190, f"({WSD_TEXT}) shift 20st for 10st, (({WSD_TEXT}) shift 10st) stretch 2"),
    (Shift(WSD, 20), 50, 150, f"({WSD_TEXT}) shift 20st for 50st, constant for 100st, linear to 0% over 40st"),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "at", "steps", "text"), STRETCHED, ids=[f"{s}@{at}" for s, at, *_ in STRETCHED])
def test_what_is_left_of_a_run_is_stretched_piece_by_piece(schedule: Schedule, at: int, steps: int, text: str) -> None:
    plan, length = extended(Plan(1.0, schedule, Decoupled(schedule)), 100, at, steps)
    assert str(plan.schedule) == text
    assert plan.decay == Decoupled(plan.schedule)
    assert length == Horizon(steps=steps)
    by = Fraction(steps - at, 100 - at)
    old = [schedule(t) if t <= at else schedule(float(at + (t - at) / by)) for t in range(steps + 1)]
    np.testing.assert_allclose([plan.schedule(t) for t in range(steps + 1)], old, rtol=1e-12, atol=1e-14)


def test_constants_that_go_on_are_one_piece() -> None:
    level = Join((Constant(0.5), FALL, Constant(0.5)), (30, 20, None))
    plan, _ = extended(Plan(1.0, level), 100, 20, 180)
    assert str(plan.schedule) == f"constant at 50% for 40st, {RAMP} for 40st, constant at 50%".replace("100st", "200st")
    plan, _ = extended(Plan(1.0, level), 100, 60, 140)
    assert plan.schedule == level
    assert extended(Plan(1.0, FALL), 100, 40, 100) == (Plan(1.0, FALL), Horizon(steps=100))


def test_only_a_schedule_of_the_decay_is_stretched() -> None:
    run = Horizon(epochs=10, steps_per_epoch=10, batch_size=4)
    groups, mask = (Group("a", "*", 2.0),), Mask(())
    for decay, wanted in (
        (None, None),
        (Decoupled(0.1), Decoupled(0.1)),
        (Independent(Ramp(), True), Independent(Ramp(steps=200), True)),
    ):
        given = Plan(0.1, Constant(), decay, mask, groups, 0.5)
        plan, longer = extended(given, run, 0, "20ep")
        assert plan == Plan(0.1, Constant(), wanted, mask, groups, 0.5)
        assert longer == Horizon(steps=200, steps_per_epoch=10, batch_size=4)
        assert extended(given, run, 0, Horizon(steps=200, batch_size=8)) == (plan, Horizon(steps=200, batch_size=8))


COOLED: list[tuple[Schedule, int, dict[str, Any], str]] = [
    (Constant(), 0, {}, "sqrt to 0% over 20st"),
    (Constant(), 40, {}, "constant for 40st, sqrt to 0% over 20st"),
    (Constant(), 40, {"end": 1.0, "shape": "linear"}, "constant for 40st, linear to 100% over 20st"),
    (FALL, 50, {"end": 0.25, "shape": "cosine"}, f"{RAMP} for 50st, cosine to 25% from 50% over 20st"),
    (WSD, 10, {}, "warmup 10st, sqrt to 0% over 20st"),
    (WSD, 70, {}, f"{HEAD}60st, sqrt to 0% over 20st"),
]


@pytest.mark.parametrize(("schedule", "at", "given", "text"), COOLED, ids=[f"{text}" for *_, text in COOLED])
def test_a_cooldown_is_a_ramp_from_where_the_run_is(
    schedule: Schedule, at: int, given: dict[str, Any], text: str
) -> None:
    run = Horizon(epochs=10, steps_per_epoch=10)
    started = Plan(0.5, schedule, Decoupled(Ramp()), Mask(()), (Group("a", "*", 2.0),), 0.5)
    for steps in (20, "20%", "2ep"):
        plan, length = cooldown(started, run, at, steps, **given)
        assert str(plan.schedule) == text
        assert plan == Plan(0.5, plan.schedule, Decoupled(Ramp(steps=100)), Mask(()), (Group("a", "*", 2.0),), 0.5)
        assert length == Horizon(steps=at + 20, steps_per_epoch=10)
    assert plan.schedule(at) == schedule(at)
    assert plan.schedule(at + 20) == given.get("end", 0.0)


def test_a_change_names_both_ends() -> None:
    old = Plan(0.5, Ramp(0.5)), Horizon(steps=100)
    assert change(old, cooldown(*old, 50, 10, end=0.25), 50) == (
        "from update 50 (lr 0.375) on: ends at 60 with lr 0.125, no longer at 100 with lr 0.25"
    )
    assert change(old, (Plan(0.5, dw.linear("50%")), Horizon(steps=200)), 25) == (
        "from update 25 (lr 0.375) on: ends at 200 with lr 0, no longer at 100 with lr 0.25"
    )


@pytest.mark.parametrize("made", ["masked", "text in objects", "complex", "a list of tensors with gradients"])
def test_what_is_no_number_is_refused_wherever_arrays_are_taken(made: str) -> None:
    given = {
        "masked": np.ma.masked_equal([[1.0, -9999.0], [2.0, 3.0]], -9999.0),
        "text in objects": np.array([["12", 3], [1, 2]], dtype=object),
        "complex": np.array([[1j, 2], [3, 4]]),
        "a list of tensors with gradients": [torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)],
    }[made]
    for call in (
        lambda: float64("x", given),
        lambda: dw.ridge.path(given, [1.0, 2.0]),
        lambda: textbook_step(given, [1.0], given, [1.0], lr=0.1, lam=0.0, n=1),
        lambda: dw.penalty(0.1, {"w": [given]}),
    ):
        with pytest.raises(DwindleError):
            call()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_weights_of_a_live_model_are_numbers(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 2).to(dtype)
    squares = sum(float(p.detach().double().square().sum()) for p in layer.parameters())
    assert dw.penalty(0.5, {"all": list(layer.parameters())}).total == pytest.approx(0.25 * squares, rel=1e-15)


def test_weights_by_name_are_asked_for() -> None:
    with pytest.raises(InvalidValueError, match=r"w0 must map names to weights, such as \{'w': \[1.0\]\}; got \[1.0\]"):
        run(SGD(), [1.0], lambda params, step: params, lambda step, name: (0.1, 1.0, 0.0), 1)  # type: ignore[arg-type]
