"""foreign.read: what it refuses and in which words, the peers' boundaries, and the plans it makes of plain recipes."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dwindle import foreign
from dwindle.errors import InvalidValueError, NoExactMapError, UnknownNameError
from dwindle.foreign.schedules.curves import cycles, first_steps, polynomial
from dwindle.foreign.schedules.peak import quotient
from dwindle.plan import Plan
from dwindle.schedule import Constant, Extend, Join, Mirror, Ramp, Repeat
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau
from dwindle.text import parse, parse_schedule
from dwindle.units import Horizon


def read(peer: str, name: str, base_lr: float | None = None, **params: Any) -> Any:
    return foreign.read(peer, name, params, base_lr=base_lr)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (read("torch", "LinearLR", 0.1, start_factor=0.1, total_iters=5), "peak 0.1 | warmup 5st from 10%"),
        (
            read("torch", "MultiStepLR", 0.1, milestones=[60, 30]),
            "peak 0.1 | piecewise at [30st 60st] factors [1 0.1 0.010000000000000002]",
        ),
        (read("torch", "PolynomialLR", 0.1, total_iters=9, power=2.0), "peak 0.1 | linear to 0% over 9st power 2"),
        (
            read("optax", "cosine_decay_schedule", init_value=0.1, decay_steps=9, alpha=0.2),
            "peak 0.1 | cosine to 20% over 9st",
        ),
        (
            read("optax", "linear_schedule", init_value=0.1, end_value=0.2, transition_steps=9),
            "peak 0.2 | warmup 9st from 50%",
        ),
        (
            read("keras", "InverseTimeDecay", initial_learning_rate=0.1, decay_steps=9, decay_rate=0.5),
            "peak 0.1 | inverse-time every 9st rate 0.5",
        ),
        (
            read("keras", "PiecewiseConstantDecay", boundaries=[9], values=[0.1, 0.05]),
            "peak 0.1 | piecewise at [10st] factors [1 0.5]",
        ),
        (
            read("timm", "TanhLRScheduler", 0.1, t_initial=9, warmup_t=2, warmup_prefix=True),
            "peak 0.1 | warmup 2st, tanh to 0% over 9st lower -7, constant at 0%",
        ),
        (
            read("hf", "linear", 3e-4, num_warmup_steps=10, num_training_steps=100),
            "peak 3e-4 | warmup 10st, linear to 0% over 90st",
        ),
        (read("hf", "inverse_sqrt", 3e-4, num_warmup_steps=10), "peak 3e-4 | warmup 10st, inverse-sqrt every 10st"),
    ],
)
def test_plain_recipes_become_plain_plans(recipe: Plan, text: str) -> None:
    assert str(recipe) == text


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (("tensorflow", "StepLR", {}, 0.1), UnknownNameError, "did you mean|must be one of"),
        (("torch", "CosineAnealingLR", {}, 0.1), UnknownNameError, "did you mean 'CosineAnnealingLR'"),
        (
            ("torch", "StepLR", {"step_sise": 3}, 0.1),
            UnknownNameError,
            "torch's StepLR has no parameter 'step_sise'; did you mean 'step_size'",
        ),
        (("torch", "StepLR", {}, 0.1), InvalidValueError, "torch's StepLR needs step_size"),
        (
            ("torch", "StepLR", {"step_size": 0}, 0.1),
            InvalidValueError,
            "step_size of torch's StepLR must be positive; got 0",
        ),
        (("torch", "StepLR", {"step_size": 3}, None), InvalidValueError, "give it as base_lr="),
        (("torch", "StepLR", {"step_size": 3}, -1.0), InvalidValueError, "base_lr must be positive"),
        (
            ("torch", "StepLR", {"step_size": 3, "gamma": math.nan}, 0.1),
            InvalidValueError,
            "gamma of torch's StepLR must be finite",
        ),
        (
            ("torch", "StepLR", {"step_size": 3, "last_epoch": 7}, 0.1),
            InvalidValueError,
            "last_epoch of torch's StepLR must be -1",
        ),
        (("torch", "StepLR", [3], 0.1), InvalidValueError, "must be a mapping"),
        (("torch", "LambdaLR", {"lr_lambda": abs}, 0.1), UnknownNameError, "is a Python function, not data"),
        (("torch", "ConstantLR", {"factor": 0.0}, 0.1), InvalidValueError, "torch divides by it"),
        (
            ("torch", "LinearLR", {"start_factor": 0.0}, 0.1),
            InvalidValueError,
            "start_factor of torch's LinearLR must be positive",
        ),
        (
            ("torch", "OneCycleLR", {"max_lr": 0.1}, None),
            InvalidValueError,
            "needs total_steps, or epochs and steps_per_epoch",
        ),
        (
            ("torch", "OneCycleLR", {"max_lr": 0.1, "total_steps": 10, "pct_start": 0.1}, None),
            InvalidValueError,
            "a phase of no length",
        ),
        (
            ("torch", "CyclicLR", {"base_lr": 0.1, "max_lr": 0.01, "mode": "triangular2"}, None),
            NoExactMapError,
            "below base_lr",
        ),
        (
            ("torch", "CyclicLR", {"base_lr": 0.1, "max_lr": 0.2, "scale_fn": abs}, None),
            InvalidValueError,
            "scale_fn of torch's CyclicLR must be None",
        ),
        (
            ("torch", "SequentialLR", {"schedulers": [{"name": "StepLR"}], "milestones": []}, 0.1),
            InvalidValueError,
            "StepLR needs step_size",
        ),
        (("torch", "SequentialLR", {"schedulers": [], "milestones": []}, 0.1), InvalidValueError, "must not be empty"),
        (
            ("torch", "SequentialLR", {"schedulers": [{"name": "OneCycleLR", "params": 3}], "milestones": []}, 0.1),
            InvalidValueError,
            "must be a mapping",
        ),
        (
            ("torch", "SequentialLR", {"schedulers": [{"name": "ConstantLR"}], "milestones": [3]}, 0.1),
            InvalidValueError,
            "one fewer",
        ),
        (
            ("torch", "SequentialLR", {"schedulers": [{"name": "ConstantLR"}] * 3, "milestones": [9, 3]}, 0.1),
            InvalidValueError,
            "must increase",
        ),
        (
            ("torch", "ChainedScheduler", {"schedulers": [{"name": "ReduceLROnPlateau"}]}, 0.1),
            InvalidValueError,
            "cannot hold",
        ),
        (
            (
                "torch",
                "ChainedScheduler",
                {"schedulers": [{"name": "CosineAnnealingWarmRestarts", "params": {"T_0": 9}}]},
                0.1,
            ),
            NoExactMapError,
            "overwrites",
        ),
        (("optax", "constant_schedule", {"value": 0.1}, 0.1), InvalidValueError, "leave base_lr=0.1 out"),
        (
            ("optax", "constant_schedule", {"value": -0.1}, None),
            InvalidValueError,
            "value of optax's constant_schedule must be zero or more",
        ),
        (
            (
                "optax",
                "piecewise_constant_schedule",
                {"init_value": 1, "boundaries_and_scales": {"5": 0.1, 5: 0.2}},
                None,
            ),
            InvalidValueError,
            "names a step twice",
        ),
        (
            (
                "optax",
                "warmup_cosine_decay_schedule",
                {"init_value": 0, "peak_value": 1, "warmup_steps": 9, "decay_steps": 9},
                None,
            ),
            InvalidValueError,
            "counts the warm-up in",
        ),
        (
            ("optax", "join_schedules", {"schedules": [{"name": "constant_schedul"}], "boundaries": []}, None),
            UnknownNameError,
            "did you mean 'constant_schedule'",
        ),
        (
            ("keras", "PiecewiseConstantDecay", {"boundaries": [5], "values": [1.0]}, None),
            InvalidValueError,
            "one more than the boundaries",
        ),
        (
            ("keras", "CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 0}, None),
            InvalidValueError,
            "decay_steps of Keras' CosineDecay must be positive",
        ),
        (
            ("timm", "CosineLRScheduler", {"t_initial": 9, "noise_range_t": 3}, 0.1),
            InvalidValueError,
            "no random noise",
        ),
        (("timm", "WSDLRScheduler", {"t_initial": 9, "decay_t": 10}, 0.1), InvalidValueError, "at most t_initial=9"),
        (("timm", "MultiStepLRScheduler", {"decay_t": [9, 5]}, 0.1), InvalidValueError, "must increase"),
        (
            ("hf", "cosine_with_min_lr", {"num_warmup_steps": 1, "num_training_steps": 9}, 0.1),
            InvalidValueError,
            "min_lr or min_lr_rate",
        ),
        (
            ("hf", "polynomial", {"num_warmup_steps": 1, "num_training_steps": 9, "lr_end": 1.0}, 0.1),
            InvalidValueError,
            "lr_end .* must be below",
        ),
        (
            ("hf", "warmup_stable_decay", {"num_warmup_steps": 1, "num_decay_steps": 9}, 0.1),
            InvalidValueError,
            "num_training_steps or num_stable_steps",
        ),
        (
            (
                "hf",
                "cosine",
                {
                    "num_warmup_steps": 1,
                    "num_training_steps": 9,
                    "num_cycles": 1,
                    "scheduler_specific_kwargs": {"num_cycles": 2},
                },
                0.1,
            ),
            InvalidValueError,
            "give it once",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_peers_words(call: Any, error: type[Exception], said: str) -> None:
    peer, name, params, base_lr = call
    with pytest.raises(error, match=said):
        foreign.read(peer, name, params, base_lr=base_lr)


def test_rules_that_answer_a_metric_are_returned_as_rules() -> None:
    assert read("torch", "ReduceLROnPlateau", 0.1, patience=3) == Plateau(0.1, 3, eps=1e-8, nan="worse", peak=0.1)
    assert read("hf", "reduce_lr_on_plateau", 0.1, patience=3) == read("torch", "ReduceLROnPlateau", 0.1, patience=3)
    greedy = read("hf", "greedy", 0.1, scheduler_specific_kwargs={"smooth": True, "window_size": 7})
    assert greedy == Greedy(min_lr=1e-3, max_lr=1.0, eps=1e-8, window=7, nan="worse", peak=0.1)
    assert read("timm", "PlateauLRScheduler", 0.1).mode == "max"


def test_the_peers_own_names_for_themselves() -> None:
    given = {"num_warmup_steps": 0, "num_training_steps": 9}
    assert foreign.read("transformers", "linear", given, base_lr=1.0) == foreign.read(
        "hf", "linear", given, base_lr=1.0
    )


@pytest.mark.parametrize(("every", "growth"), [(10, 1.1), (91, 1.1), (25, 1.2), (107, 1.3), (5, 1.7), (60, 2.0)])
def test_timm_restarts_where_its_logarithm_says(every: int, growth: float) -> None:
    """timm finds cycle i by floor(log(1 - t/T·(1 - m), m)): at a boundary rounding may make it a step late."""
    index = [math.floor(math.log(1 - t / every * (1 - growth), growth)) for t in range(400)]
    theirs = [t for t in range(1, 400) if index[t] > index[t - 1]]
    plan = read("timm", "TanhLRScheduler", 1.0, t_initial=every, cycle_mul=growth, cycle_limit=100)
    ours = (np.flatnonzero(np.diff(plan.lrs(400)) > 0.5) + 1).tolist()
    assert ours == theirs


def test_a_late_restart_is_one_step_late_and_no_more() -> None:
    def index(step: int) -> int:  # exact but for the boundary at 30, which is seen a step late
        return 0 if step < 10 else 1 if step < 31 else int(math.log2(1 + step / 10))

    assert first_steps([0.0, 10.0, 30.0, 70.0], index) == [0, 10, 31, 70]
    curve = cycles(lambda i, span: Ramp(steps=span), 10, 2.0, index)
    exact = Repeat(Ramp(steps=10), 10, 2)
    steps = np.array([t for t in range(700) if t != 30])
    np.testing.assert_allclose(curve(steps), exact(steps), rtol=1e-14)
    assert (curve(30), exact(30)) == (0.0, 1.0)


def test_a_rise_by_a_power_is_the_peers_and_not_ramps() -> None:
    for power in (0.5, 1.0, 1.7, 2.0, 3.0):
        x = np.minimum(np.arange(30) / 20, 1.0)
        np.testing.assert_allclose(
            polynomial(0.2, 1.0, 20, power, "it")(np.arange(30)), 1.0 - 0.8 * (1 - x) ** power, rtol=1e-14
        )


def test_cosine_annealing_climbs_again_as_torch_does() -> None:
    plan = read("torch", "CosineAnnealingLR", 0.1, T_max=10)
    assert isinstance(plan.schedule, Mirror)
    assert plan.lrs(21)[[0, 10, 20]].tolist() == [0.1, 0.0, 0.1]


def test_timm_without_prefix_has_let_the_curve_run() -> None:
    prefixed = read("timm", "CosineLRScheduler", 0.1, t_initial=100, warmup_t=10, warmup_prefix=True).lrs(120)
    running = read("timm", "CosineLRScheduler", 0.1, t_initial=100, warmup_t=10).lrs(120)
    assert prefixed[10] == 0.1
    assert running[10] == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.1)) / 2, rel=1e-14)


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5, 0.9])
def test_an_exponential_ramp_of_any_ratio_and_its_complement(ratio: float) -> None:
    x = np.arange(31) / 30
    falls = Ramp(steps=30, shape="exponential", ratio=ratio)
    rises = Ramp(start=0.0, end=1.0, steps=30, shape="exponential", ratio=1 / ratio)
    np.testing.assert_allclose(falls(np.arange(31)), (ratio**x - ratio) / (1 - ratio), rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(falls(np.arange(31)) + rises(np.arange(31)), 1.0, rtol=1e-14)
    assert parse_schedule(str(falls)) == falls
    with pytest.raises(InvalidValueError, match="belongs to the exponential shape"):
        Ramp(ratio=0.25)


def test_extend_leaps_back_less_each_time() -> None:
    recipe = read(
        "keras", "PolynomialDecay", initial_learning_rate=1.0, decay_steps=10, end_learning_rate=0.0, cycle=True
    )
    assert recipe.schedule == Extend(Ramp(steps=10), 10)
    steps = np.arange(1, 400)
    want = 1 - steps / (10 * np.ceil(steps / 10))
    np.testing.assert_allclose(recipe.lrs(400)[1:], want, rtol=1e-13, atol=0)
    assert Extend(Ramp()).resolve(Horizon(steps=50)) == Extend(Ramp(steps=50), 50)


def keras_restarts(steps: int, init: float, first: int, t_mul: float, m_mul: float, alpha: float) -> list[float]:
    """The code of keras.optimizers.schedules.CosineDecayRestarts, in float64."""
    rates = []
    for step in range(steps):
        done = step / first
        if t_mul == 1.0:
            i = math.floor(done)
            done -= i
        else:
            i = math.floor(math.log(1.0 - done * (1.0 - t_mul)) / math.log(t_mul))
            done = (done - (1.0 - t_mul**i) / (1.0 - t_mul)) / t_mul**i
        rates.append(init * ((1 - alpha) * 0.5 * m_mul**i * (1.0 + math.cos(math.pi * done)) + alpha))
    return rates


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize(
    ("first", "t_mul", "m_mul"),
    [(1, 2.0, 1.0), (1, 1.1, 1.0), (1, 1.1, 0.9), (1, 1.5, 0.5), (2, 1.1, 1.0), (1, 1.0, 1.0), (1, 1.0, 0.5),
     (1, 1.0, 1.2), (10, 1.0, 1.2), (37, 1.0, 1.1), (7, 3.0, 0.9)],
)  # fmt: skip
def test_keras_restarts_after_any_number_of_steps(first: int, t_mul: float, m_mul: float, alpha: float) -> None:
    params = {"initial_learning_rate": 0.1, "first_decay_steps": first, "t_mul": t_mul, "m_mul": m_mul, "alpha": alpha}
    plan = read("keras", "CosineDecayRestarts", **params)
    assert parse(str(plan)) == plan
    want = keras_restarts(200, 0.1, first, t_mul, m_mul, alpha)
    np.testing.assert_allclose(plan.lrs(200), want, rtol=1e-11, atol=1e-13 * max(want))


def test_a_quotient_is_short_only_where_that_is_exact() -> None:
    assert quotient(7e-5, 0.35) == 0.0002 != 7e-5 / 0.35
    assert quotient(0.3, 0.1) == 0.3 / 0.1 != 3.0  # 3 · 0.1 is not 0.3
    plan = read("torch", "CosineAnnealingLR", T_max=9, eta_min=7e-5, base_lr=0.35)
    assert str(plan).startswith("peak 0.35 | (cosine to 0.02% over 9st)")


def test_pieces_of_no_length_are_left_out() -> None:
    children = [{"name": "constant_schedule", "params": {"value": v}} for v in (1.0, 0.5, 0.25)]
    assert read("optax", "join_schedules", schedules=children, boundaries=[0, 0]) == Plan(0.25, Constant())
    two = read("optax", "join_schedules", schedules=children, boundaries=[4, 4])
    assert two == Plan(1.0, Join((Constant(), Constant(0.25)), (4, None)))


def test_reading_imports_no_framework() -> None:
    code = (
        "import sys; from dwindle import foreign;"
        "foreign.read('torch', 'StepLR', {'step_size': 3}, base_lr=0.1).lrs(9);"
        "foreign.read('optax', 'constant_schedule', {'value': 0.1}).lrs(9);"
        "print([m for m in ('torch', 'jax', 'optax', 'keras', 'timm', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
