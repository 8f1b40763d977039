"""Plans written as optax and Keras source: executed with optax and Keras themselves, and read back from the source."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle import foreign
from dwindle.decay import Corrected, Decoupled
from dwindle.errors import NoExactMapError, ParseError, UnknownNameError
from dwindle.foreign.writing.arrays import JAX, body_of
from dwindle.foreign.writing.expression import expression
from dwindle.mask import Mask, Param, Rule
from dwindle.plan import Plan
from dwindle.schedule import Formula, Schedule
from dwindle.schedule.plateau import Plateau
from strategies import schedules

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
STEPS = 320
FILES = sorted(GOLDEN.glob("schedule_*.json"))
PEERS = ("optax", "keras")
FLOAT32_INSIDE = ("schedules.CosineDecay", "ops.sin", "ops.cos", "ops.tanh")  # in Keras on JAX, whatever floatx is


@pytest.fixture(autouse=True)
def narrow() -> Iterator[None]:
    """Sessions are of 32 bits unless a test says otherwise."""
    floatx = keras.config.floatx()
    with jax.enable_x64(False):
        yield
    keras.config.set_floatx(floatx)


def golden_cases() -> list[Any]:
    """Every golden case of every peer that is a plan; one in forty is quick enough to be always run."""
    found = []
    for file in FILES:
        if "float32" in file.name:
            continue
        plans = [case for case in json.loads(file.read_text())["cases"] if "metric" not in case]
        found += plans
    return [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] if i % 40 else []) for i, case in enumerate(found)
    ]


def executed(source: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(source, "written.py", "exec"), space)
    return space


def rate_of(space: dict[str, Any], peer: str) -> Any:
    """The learning rate that the optimiser was given: a schedule or a number."""
    if peer == "optax":
        return space.get("schedule")
    rate = space["optimizer"]._learning_rate
    return None if isinstance(rate, keras.Variable) else rate


def followed(source: str, peer: str, steps: int = STEPS, start: int = 0) -> np.ndarray:
    """The rates that the peer's schedule gives for each count, compiled, from whole numbers; no branch of it is NaN."""
    space = executed(source)
    rate = rate_of(space, peer)
    if rate is None:
        return applied(space, peer, 1).repeat(steps)
    with jax.debug_nans(True):
        found = jax.jit(jax.vmap(lambda step: jnp.asarray(rate(step))))(jnp.arange(start, start + steps))
    return np.asarray(found, np.float64)


def applied(space: dict[str, Any], peer: str, steps: int) -> np.ndarray:
    """The rates with which the peer's own optimiser moves a weight under a gradient of one."""
    if peer == "keras":
        optimizer = space["optimizer"]
        optimizer.build([keras.Variable(0.0)])
        start, zero = [v.value for v in optimizer.variables], jnp.zeros(())

        def moved(state: Any, _: Any) -> Any:
            (after,), state = optimizer.stateless_apply(state, [jnp.ones(())], [zero])
            return state, -after

        return np.asarray(jax.lax.scan(moved, start, length=steps)[1], np.float64)
    tx = space["optimizer"]

    def one(state: Any, _: Any) -> Any:
        update, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        return state, -update

    return np.asarray(jax.lax.scan(one, tx.init(jnp.zeros(())), length=steps)[1], np.float64)


def close(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.allclose(got, want, rtol=1e-12, atol=1e-15 * float(want.max(initial=0.0)) + 1e-300))


def narrowly(got: np.ndarray, want: np.ndarray, own: bool, rough: bool = False) -> bool:
    """float32 to 1e-5 and 1e-9; the peer's ``own`` schedule to a rounding of its highest rate, which it adds from.

    ``rough`` is for steep curves over fractions of a step, where a rounding of the step itself shows; float64 is held to.
    """
    top = float(want.max())
    if rough:
        return bool(np.allclose(got, want, rtol=1e-3, atol=1e-6 * top + 1e-37))
    return bool(np.allclose(got, want, rtol=1e-5, atol=max(1e-9, 2e-7 * top if own else 0.0)))


def is_own(source: str) -> bool:
    return "def schedule" not in source and "class Schedule" not in source


def check(plan: Plan, peer: str, steps: int = STEPS, run: Any = None) -> str:
    run = steps if run is None else run
    source, want = foreign.write(plan, peer, run), plan.lrs(run)
    keras.config.set_floatx("float32")
    assert max(len(line) for line in source.splitlines()) <= 120
    assert narrowly(followed(source, peer, steps), want, is_own(source), isinstance(run, dw.Horizon)), source
    with jax.enable_x64(True):
        keras.config.set_floatx("float64")
        got = followed(source, peer, steps)
    if peer == "keras" and any(name in source for name in FLOAT32_INSIDE):
        assert narrowly(got, want, True, isinstance(run, dw.Horizon)), source
    else:
        assert close(got, want), source
    assert close(foreign.read_source(source).lrs(run), want), source
    return source


def check_golden(case: dict[str, Any], peer: str) -> None:
    plan = foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))
    source = check(plan, peer)
    fractional = not float(case["params"].get("power", 1)).is_integer()  # NaN at its end under jit: see below
    if case["peer"] == peer and not fractional and case["name"] != "CosineDecayRestarts":
        assert is_own(source), source  # its own recipes come back as its own schedules


@pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("case", golden_cases())
def test_every_recipe_of_every_peer_runs_and_reads_back(case: dict[str, Any], peer: str) -> None:
    check_golden(case, peer)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, st.integers(100, 400), st.sampled_from(PEERS))
def test_any_schedule_runs_and_reads_back(schedule: Schedule, steps: int, peer: str) -> None:
    run = dw.Horizon(steps=steps, steps_per_epoch=10, batch_size=8, tokens_per_step=4096)
    check(Plan(0.1, schedule), peer, steps, run)


@pytest.mark.parametrize("peer", PEERS)
def test_cycles_within_cycles_are_a_table_where_their_formula_is_longer(peer: str) -> None:
    wave = "((cosine to 10% over 3st repeat every 2st growth 1.5) repeat every 10st growth 1.5 decay 0.9)"
    plan = parsed(f"peak 0.1 | {wave} * ({wave} shift 3st) * ({wave} stretch 1.5) * ({wave} shift 7st)")
    formula = expression(plan.schedule, STEPS)
    source = check(plan, peer)
    assert len(source) < len(formula)
    assert "TABLE" in source
    assert "TABLE" not in foreign.write(parsed("peak 0.1 | " + wave), peer, STEPS)


def parsed(text: str) -> Plan:
    plan = dw.parse(text)
    assert isinstance(plan, Plan)
    return plan


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("peak 1e-3 | constant", True),
        ("peak 3e-4 | warmup 2%, cosine to 10%", True),
        ("peak 1e-3 | warmup 32st, constant for 200st, sqrt", False),
        ("peak 1e-3 | step by 0.5 every 40st", True),
        ("peak 1e-3 | step by 0.5 every 94st", False),  # 94/94 < 1 in float32 under jit
        ("peak 1e-3 | exponential by 0.9998 every 1st", True),
        ("peak 1e-3 | linear to 10% over 300st", True),
        ("peak 1e-3 | polynomial power 0.5 over 61st", False),  # NaN at its end under jit
        ("peak 1e-3 | inverse-sqrt every 40st", False),
        ("peak 1e-3 | (cosine over 40st) repeat every 40st growth 2 decay 0.5", None),
        ("peak 1e-3 | (step by 0.5 every 10st) stretch 2.5", False),
        ("peak 1e-3 | (cosine over 25st repeat every 25st) stretch 1.2", False),
        ("peak 1e-3 | (cosine) * (step by 0.9 every 32st)", False),
        (f"peak 1e-3 | table [{' '.join(str(round(1 - t / 100, 2)) for t in range(60))}] every 5st", False),
    ],
)
def test_plans_in_one_line(text: str, own: bool | None, peer: str) -> None:
    source = check(parsed(text), peer)
    assert own is None or is_own(source) == own, source


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("every", "rate"), [(20, 0.9), (1, 0.99), (100, 0.96), (5, 0.97), (30, 0.5)])
def test_a_decay_keeps_its_own_numbers_where_float32_follows_it(every: int, rate: float, peer: str) -> None:
    plan = parsed(f"peak 1.0 | exponential by {rate} every {every}st")
    word = "transition_steps" if peer == "optax" else "decay_steps"
    for run in (None, 60, 4000, 10**6):
        source = foreign.write(plan, peer, run)
        assert f"{word}={every}, decay_rate={rate}" in " ".join(source.split())
        assert foreign.read(source) == Plan(1.0, plan.schedule)
    check(plan, peer, 4000)


@pytest.mark.parametrize("peer", PEERS)
def test_a_decay_that_float32_would_lose_is_said_over_more_steps(peer: str) -> None:
    source = check(parsed("peak 1.0 | exponential by 0.9998 every 1st"), peer, 10_000)
    assert "steps=10000, decay_rate=0.135" in " ".join(source.split())


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("text", ["warmup 32st, cosine to 10%", "step by 0.5 every 94st", "constant"])
def test_the_optimiser_itself_moves_by_these_rates(text: str, peer: str) -> None:
    plan = parsed(f"peak 1e-3 | {text}")
    source = foreign.write(plan, peer, 200)
    assert narrowly(applied(executed(source), peer, 200), plan.lrs(200), is_own(source))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("text", ["step by 0.9999999 every 94st", "warmup 1000000000st, cosine over 1147483647st"])
def test_late_steps_are_exact_in_32_bits(text: str, peer: str) -> None:
    plan, last = parsed(f"peak 1.0 | {text}"), 2**31 - 1
    source = foreign.write(plan, peer, last)
    for start in (94 * 22_000_000 - 5, 10**9 - 5, last - 10):
        want = plan.resolve(last).lr(np.arange(start, start + 10))
        assert narrowly(followed(source, peer, 10, start), want, is_own(source)), source


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    "text",
    [
        "step by 0.5 every 3e9st", "exponential by 0.5 every 3e9st", "linear over 3e9st", "warmup 3e9st, cosine",
        "warmup 9st, 1-sqrt over 1e18st", "piecewise at [5st 3e9st] factors [1 0.5 0.1]",
        "(cosine over 3e9st) repeat every 3e9st", 'formula "1.0 if step < 3000000000 else 0.5"', "step by 0.5 every 1e18ep",
    ],
)  # fmt: skip
def test_a_time_that_32_bits_do_not_hold_is_written_so_that_they_need_not(text: str, peer: str) -> None:
    check(parsed(f"peak 1.0 | {text}"), peer, 50, dw.Horizon(steps=50, steps_per_epoch=10))


@pytest.mark.parametrize("peer", PEERS)
def test_no_rate_is_lost_beyond_the_run(peer: str) -> None:
    for text in ("linear over 90st", "warmup 9st, sqrt over 81st", "(cosine over 9st) repeat every 9st growth 2"):
        source = foreign.write(parsed(f"peak 1.0 | {text}"), peer, 90)
        rates = followed(source, peer, 400)
        assert np.isfinite(rates).all()
        assert (rates >= -1e-7).all()


# --- the decay

TREE = {
    "embed": {"table": (3, 2)},
    "blocks_0": {"0": {"kernel": (2, 2), "bias": (2,)}, "1": {"kernel": (2, 2), "scale": (2,)}},
    "head": {"kernel": (2, 1), "bias": (1,)},
}
DECAYS = [
    dw.l2(0.1), dw.decoupled(0.1), dw.independent(0.01), dw.corrected(0.1), dw.decoupled(0.1, cautious=True),
    dw.independent(0.01, cautious=True), dw.corrected(0.1, cautious=True), dw.l2(dw.step(3) * 0.1),
    dw.decoupled(dw.linear() * 0.1), dw.independent(dw.cosine() * 0.01), dw.corrected(dw.linear() * 0.1),
]  # fmt: skip
QUICK = {("l2 0.1", "sgd"), ("corrected 0.1", "adamw")}
OWN_MASK = Mask.of(Rule("name", "embed/*", False))
DIRECTIONS = {
    "sgd": optax.identity, "adam": optax.scale_by_adam, "adamw": optax.scale_by_adam, "lion": optax.scale_by_lion,
    "rmsprop": optax.scale_by_rms,
}  # fmt: skip


def decayed(decay: Any, schedule: str, scaled: bool, mask: Mask) -> Plan:
    groups = (dw.Group("head", "head/*", 3.0),) if scaled else ()
    return Plan(0.1, parsed(f"peak 1 | {schedule}").schedule, decay, mask, groups, 0.5 if scaled else None)


@pytest.mark.parametrize("schedule", [pytest.param("constant", marks=pytest.mark.slow), "warmup 3st, cosine to 10%"])
@pytest.mark.parametrize("scaled", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    ("decay", "optimizer"),
    [
        pytest.param(decay, name, id=f"{decay}-{name}", marks=[] if (str(decay), name) in QUICK else [pytest.mark.slow])
        for decay in DECAYS
        for name in DIRECTIONS
        if decay.convention != "l2" or name not in ("adamw", "lion")
        if name in ("sgd", "adamw") or not isinstance(decay.weight_decay, Schedule)
    ],
)
def test_optax_weights_go_as_under_the_plan(decay: Any, optimizer: str, scaled: bool, schedule: str) -> None:
    from dwindle import jax as djax

    plan = decayed(decay, schedule, scaled, OWN_MASK if scaled else Mask())
    tx = executed(foreign.write(plan, "optax", 12, optimizer=optimizer))["optimizer"]
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape)), TREE, is_leaf=lambda x: type(x) is tuple)
    gradients = [jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape)), weights) for _ in range(6)]

    def trained(tx: Any) -> Any:
        w, state, step = weights, tx.init(weights), jax.jit(tx.update)
        for g in gradients:
            updates, state = step(g, state, w)
            w = optax.apply_updates(w, updates)
        return w

    mine, theirs = trained(tx), trained(djax.attach(DIRECTIONS[optimizer](), plan, 12))
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def model() -> Any:
    keras.utils.clear_session()
    blocks = [keras.layers.Dense(2, name="0"), keras.layers.LayerNormalization(name="1")]
    return keras.Sequential([keras.Input((2,)), *blocks, keras.layers.Dense(1, name="head")], name="net")


@pytest.mark.parametrize("schedule", [pytest.param("constant", marks=pytest.mark.slow), "warmup 3st, cosine to 10%"])
@pytest.mark.parametrize("scaled", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "decay",
    [pytest.param(d, id=str(d), marks=[pytest.mark.slow] if i not in (0, 10) else []) for i, d in enumerate(DECAYS)],
)
def test_keras_weights_shrink_as_the_plan_says(decay: Any, scaled: bool, schedule: str) -> None:
    groups = (dw.Group("head", "*head/*", 3.0),) if scaled else ()
    plan = Plan(0.1, parsed(f"peak 1 | {schedule}").schedule, decay, Mask(), groups, 0.5 if scaled else None)
    net, space = model(), executed(foreign.write(plan, "keras", 12))
    optimizer = space["configure"](net)
    variables = net.trainable_variables
    before = [np.asarray(v.value) for v in variables]
    optimizer.build(variables)
    kinds = [type(layer).__name__ for layer in net.layers for _ in layer.trainable_variables]
    placed = plan.assign([Param(v.path, tuple(v.shape), k) for v, k in zip(variables, kinds, strict=True)])
    own = plan.resolve(12)
    for step in range(5):
        penalty = [v.regularizer for v in variables]
        gradients = [
            jnp.zeros(v.shape) if p is None else jax.grad(p)(v.value) for v, p in zip(variables, penalty, strict=True)
        ]
        optimizer.apply(gradients)
        for i, place in enumerate(placed):
            lr, shrink, c = own.rates(step, lr_scale=place.lr_scale, decays=place.decays)
            before[i] = before[i] * shrink * (1.0 - lr * c)
    for v, want in zip(variables, before, strict=True):
        np.testing.assert_allclose(v.value, want, rtol=2e-6, atol=1e-7)
    assert any(place.decays for place in placed)


@pytest.mark.parametrize("compiled", [False, True])
def test_keras_trains_a_model_with_what_was_written(compiled: bool) -> None:
    plan = parsed("peak 0.1 | warmup 3st, sqrt to 10% | corrected 0.1 cautious")
    net, space = model(), executed(foreign.write(plan, "keras", 12))
    before = [np.asarray(v.value) for v in net.trainable_variables]
    net.compile(space["configure"](net), "mse", run_eagerly=not compiled)
    net.fit(np.ones((24, 2)), np.ones((24, 1)), batch_size=2, verbose=0)
    assert int(net.optimizer.iterations.value) == 12
    assert all(np.isfinite(v.value).all() for v in net.trainable_variables)
    assert any((np.asarray(v.value) != b).any() for v, b in zip(net.trainable_variables, before, strict=True))


@pytest.mark.parametrize("name", ["AdamW", "Lion", "Muon"])
def test_an_optimiser_of_keras_that_decays_by_itself_is_told_not_to(name: str) -> None:
    source = foreign.write(Plan(0.1, dw.cosine(12)), "keras", 12, optimizer=name)
    own = executed(source)["optimizer"].get_config()
    assert not any(value for key, value in own.items() if key.endswith("weight_decay"))
    assert foreign.read(source) == Plan(0.1, dw.cosine(12))


def test_a_cautious_keras_decay_spares_weights_that_the_update_takes_down() -> None:
    net, plan = model(), Plan(0.1, decay=dw.independent(0.01, cautious=True))
    optimizer = executed(foreign.write(plan, "keras", 12, optimizer="SGD"))["configure"](net)
    kernel = net.trainable_variables[0]
    kernel.assign(np.array([[1.0, -1.0], [1.0, -1.0]]))
    optimizer.build(net.trainable_variables)
    gradient = jnp.asarray([[0.5, 0.5], [-0.5, 0.0]])
    optimizer.apply([gradient, *(jnp.zeros(v.shape) for v in net.trainable_variables[1:])])
    np.testing.assert_allclose(kernel.value, [[1 - 0.05 - 0.01, -1 - 0.05], [1 + 0.05, -1 + 0.01]], rtol=1e-6)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("decay", [d for d in DECAYS if not d.cautious], ids=str)
def test_the_decay_reads_back(decay: Any, peer: str) -> None:
    plan = Plan(0.1, dw.parse("peak 1 | warmup 3st, cosine to 10%").schedule, decay, OWN_MASK)
    back = foreign.read_source(foreign.write(plan, peer, 12))
    if peer == "keras" and (isinstance(decay.weight_decay, Schedule) or decay.convention == "corrected"):
        assert isinstance(back, Plan)  # the class of its own holds this decay, and is not read
        return
    assert isinstance(back, Plan)
    assert back.mask == OWN_MASK
    if decay.convention == "independent":  # under the same peak it is the decoupled one of λ/peak
        assert isinstance(back.decay, Decoupled)
        np.testing.assert_allclose(back.decay.at(np.arange(12)), plan.resolve(12).decay.at(np.arange(12)) / 0.1)
    elif isinstance(decay.weight_decay, Schedule) and decay.convention == "corrected":
        x, y = back.decay_shares(12), plan.decay_shares(12)
        np.testing.assert_allclose(x, y)
    else:
        assert type(back.decay) is type(decay)
        np.testing.assert_allclose(back.decay.at(np.arange(12)), plan.resolve(12).decay.at(np.arange(12)))


# --- sources people have

CHAINS = {
    "optax.chain(optax.add_decayed_weights(0.1, mask=m), optax.sgd(0.5))": "l2 0.1",
    "optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.5, weight_decay=0.1, mask=m))": "decoupled 0.1",
    "optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1, m), optax.scale_by_learning_rate(0.5))": "decoupled 0.1",
    "optax.chain(optax.trace(0.9), optax.masked(optax.add_decayed_weights(0.1), m), optax.scale(-0.5))": "decoupled 0.1",
    "optax.inject_hyperparams(optax.adamw)(learning_rate=0.5, weight_decay=0.1, mask=m)": "decoupled 0.1",
    "optax.MultiSteps(optax.adamw(0.5, weight_decay=0.1, mask=m), 4)": "decoupled 0.1",
    "optax.chain(optax.add_decayed_weights(0.1, m), optax.scale_by_adam(), optax.scale(-0.5))": "l2 0.1",
    "optax.named_chain(('d', optax.add_decayed_weights(0.1, m)), ('o', optax.adam(learning_rate=0.5)))": "l2 0.1",
}


@pytest.mark.parametrize("source", CHAINS)
def test_chains_are_read_by_their_order(source: str) -> None:
    text = f"import optax\ndef m(params):\n    return jax.tree.map(lambda w: w.ndim > 1, params)\ntx = {source}"
    executed(f"import jax\n{text}")  # optax itself takes it
    assert foreign.read_source(text) == parsed(f"peak 0.5 | constant | {CHAINS[source]}")


def test_a_schedule_within_a_chain_is_followed() -> None:
    text = """
import optax
lr = optax.cosine_decay_schedule(0.5, 100)
tx = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale_by_schedule(lambda c: -lr(c)))
"""
    assert str(foreign.read_source(text)) == 'peak 0.5 | cosine to 0% over 100st | decoupled 0.1 | mask name "*" decays'
    injected = "import optax\ntx = optax.inject_hyperparams(optax.adamw)(optax.linear_schedule(0.5, 0.0, 10), weight_decay=0.1)"
    assert (
        str(foreign.read_source(injected)) == 'peak 0.5 | linear to 0% over 10st | decoupled 0.1 | mask name "*" decays'
    )


@pytest.mark.parametrize(
    "source",
    [
        "optax.chain(optax.sgd(0.1), optax.add_decayed_weights(0.1))",
        "optax.chain(optax.add_decayed_weights(0.1), optax.adamw(0.1))",
        "optax.chain(optax.sgd(0.1), optax.sgd(0.1))",
        "optax.chain(optax.scale(1 / 128), optax.adamw(1e-3))",  # of the gradient, which Adam does not feel
        "optax.chain(optax.scale(2.0), optax.scale_by_adam(), optax.scale_by_learning_rate(1e-3))",
        "optax.chain(optax.scale_by_adam(), optax.scale(-1e-3), optax.add_decayed_weights(1e-4))",  # weights grow
        "optax.chain(optax.scale_by_adam(), optax.scale(2.0), optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(1.0))",
        "optax.chain(optax.adam(1e-3), optax.masked(optax.scale(0.1), m))",
        "optax.adam(lambda count: lr(count // 4))",
        "optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda c: -lr(c // 4)))",
    ],
)
def test_a_chain_that_no_plan_equals_is_refused(source: str) -> None:
    with pytest.raises(NoExactMapError):
        foreign.read_source(f"import optax\nlr = optax.cosine_decay_schedule(0.5, 100)\ntx = {source}")


@pytest.mark.parametrize(
    "source",
    [
        "optax.chain(optax.adamw(0.5, weight_decay=0.1), optax.scale(0.5))",
        "optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale(0.5), optax.scale_by_learning_rate(0.5))",
        "optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale(-0.25))",
    ],
)
def test_a_scale_behind_the_decay_is_one_of_the_rate(source: str) -> None:
    plan = foreign.read_source(f"import optax\ntx = {source}")
    assert plan == parsed('peak 0.25 | constant | decoupled 0.1 | mask name "*" decays')
    namespace = executed(f"import optax\ntx = {source}")
    w = jnp.ones(())
    updates, _ = namespace["tx"].update(jnp.zeros(()), namespace["tx"].init(w), w)
    assert float(w + updates) == pytest.approx(plan.resolve(1).rates(0).shrink, rel=1e-6)


def test_a_decay_that_follows_the_rate_by_another_clock_is_refused() -> None:
    text = (
        "import optax\nlr = optax.cosine_decay_schedule(0.5, 100)\ntx = optax.chain(optax.scale_by_adam(), "
        "optax.add_decayed_weights(lambda c: 0.1 * lr({})), optax.scale_by_learning_rate(lr))"
    )
    assert foreign.read_source(text.format("c")).decay == Corrected(0.05)
    with pytest.raises(ParseError, match=r"'lambda c: 0\.1 \* lr\(c // 4\)' is not a number times lr"):
        foreign.read_source(text.format("c // 4"))


def test_keras_regularisers_and_exclusions_are_read() -> None:
    dense = "keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))"
    source = f"import keras\nm = keras.Sequential([{dense}])\nm.compile(optimizer=keras.optimizers.SGD(0.5))"
    assert foreign.read_source(source) == parsed("peak 0.5 | constant | l2 0.02")
    source = "import keras\no = keras.optimizers.AdamW(0.5, weight_decay=0.1)\no.exclude_from_weight_decay(var_names=['bias'])"
    assert foreign.read_source(source) == parsed(
        'peak 0.5 | constant | decoupled 0.1 | mask regex "bias" does not, name "*" decays'
    )


# --- rules that answer a metric

RULES = [
    Plateau(0.5, patience=2, peak=0.1), Plateau(0.5, patience=0, cooldown=3, peak=0.1, min_lr=0.01),
    Plateau(0.3, patience=1, threshold=0.05, cooldown=1, peak=0.1, eps=2e-3), Plateau(0.5, patience=3, mode="max", peak=0.1),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("absolute", [False, True])
def test_optax_cuts_where_the_rule_does(rule: Plateau, absolute: bool) -> None:
    from dataclasses import replace

    rule = replace(rule, threshold_mode="abs" if absolute else "rel")
    if rule.mode == "max" and not absolute:
        with pytest.raises(NoExactMapError, match="relative"):
            foreign.write(rule, "optax")
        return
    plateau = executed(foreign.write(rule, "optax"))["plateau"]
    metrics, state, observe = wandering(60), plateau.init(jnp.zeros(())), jax.jit(plateau.update)
    own = rule.init()
    for metric in metrics:
        value = metric if rule.mode == "min" else -metric
        _, state = observe(jnp.zeros(()), state, value=jnp.asarray(value))
        factor, own = rule.observe(own, metric)
        assert float(state.scale) == pytest.approx(factor, rel=1e-5)
    assert own.lr < rule.peak / 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, of NumPy 2
@pytest.mark.parametrize("rule", RULES)
def test_keras_cuts_where_the_rule_does(rule: Plateau) -> None:
    from dataclasses import replace

    with pytest.raises(NoExactMapError, match="absolute"):
        foreign.write(rule, "keras")
    rule = replace(rule, threshold_mode="abs")
    space = executed(foreign.write(rule, "keras"))
    net, callback = model(), space["plateau"]
    net.compile(space["optimizer"], "mse")
    callback.set_model(net)
    callback.on_train_begin()
    own = rule.init()
    for epoch, metric in enumerate(wandering(60)):
        callback.on_epoch_end(epoch, {"val_loss": metric})
        _, own = rule.observe(own, metric)
        assert float(space["optimizer"].learning_rate.value) == pytest.approx(own.lr, rel=1e-5)
    assert own.lr < rule.peak / 2


def wandering(n: int) -> list[float]:
    """Metrics that fall, stand, and rise: in float32 as in float64, so that no comparison differs."""
    rng = np.random.default_rng(5)
    return [float(np.float32(2.0 * 0.9 ** min(t, 12) + 0.1 * rng.integers(0, 4))) for t in range(n)]


# --- what is refused, and the words of arrays


def test_what_cannot_be_written_is_refused() -> None:
    plan = Plan(0.1, decay=dw.l2(0.1))
    with pytest.raises(NoExactMapError, match="beside"):
        foreign.write(plan, "optax", optimizer="adamw")
    with pytest.raises(NoExactMapError, match="trust ratio"):
        foreign.write(Plan(0.1, decay=dw.decoupled(0.1)), "optax", optimizer="lamb")
    with pytest.raises(UnknownNameError):
        foreign.write(plan, "optax", optimizer="adm")
    for peer in PEERS:
        with pytest.raises(NoExactMapError, match="peak"):
            foreign.write(Plan(0.0, decay=dw.independent(0.1)), peer)


def test_a_rule_on_kinds_is_said_to_be_left_out_of_a_tree() -> None:
    plan = Plan(0.1, decay=dw.decoupled(0.1), mask=Mask.of(Rule("kind", "Embed*", False)))
    assert "not exact" in foreign.write(plan, "optax", 10)
    assert "not exact" not in foreign.write(plan, "keras", 10)
    assert "not exact" not in foreign.write(Plan(0.1, decay=dw.decoupled(0.1)), "optax", 10)


@pytest.mark.parametrize(
    "text",
    [
        "1 / (step - 5) if step > 5 else 0.5",
        "sqrt(5 - step) if step <= 5 else log(step - 4)",
        "1 / (step % 3) if step % 3 > 0 else 0.25",
        "0.5 ** (50 - step) if step < 50 else 1",
        "[0.5, 0.25, 1.0][step] if step < 3 else 0.125",
        "exp(step - 700) if step > 690 else 0",
        "(7 - step) ** -1.5 if step < 7 else 0.5",
        "step * step / 1e9 if step / 3 < 40 else (step / 3) % 7 / 7",
    ],
)
def test_no_branch_is_computed_where_it_is_not_taken(text: str) -> None:
    body = body_of(text, "1.0", JAX, 700)
    source = "\n".join(
        ["import jax.numpy as jnp", "from math import log, pi", "def f(step):", *(f"    {x}" for x in body.lines)]
    )
    f, steps = executed(source)["f"], np.arange(700)
    np.testing.assert_allclose(jax.vmap(f)(jnp.arange(700)), Formula(text)(steps), rtol=2e-5, atol=1e-7)
    with jax.debug_infs(True):
        jax.jit(jax.vmap(f))(jnp.arange(700)).block_until_ready()
    ast.parse(source)
