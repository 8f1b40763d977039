"""``dwindle convert`` and the parts of a recipe that no plan holds: its optimiser, the length of its run, its habits."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle import foreign
from dwindle.cli import main
from dwindle.errors import DwindleError, InvalidValueError, NoExactMapError
from dwindle.foreign.carried import carry, settings_lost
from dwindle.foreign.habits import steps_by_epochs
from dwindle.foreign.length import own_epochs, own_steps
from dwindle.foreign.optimiser import Optimiser, optimiser_in
from dwindle.foreign.optimizers import OPTIMIZERS

LOOP = """
import torch
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
for epoch in range(10):
    for x in loader:
        loss(x).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
{}
"""
BY_HAND = """
import torch
def get_lr(it):
    return 0.1 * 0.9 ** it
o = torch.optim.SGD(p, lr=0.1)
{}
  for group in o.param_groups:
    group["lr"] = get_lr({})
"""
BY_UPDATE, BY_EPOCH = LOOP.format("        scheduler.step()"), LOOP.format("    scheduler.step()")


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(["convert", *words])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def notes(text: str) -> list[str]:
    """The notes of the opening comment, each in one line."""
    found: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("# Note: "):
            found.append(line.removeprefix("# Note: "))
        elif found:
            found[-1] += f" {line[1:].strip()}"
    return found


def carried(recipe: str, peer: str, **options: Any) -> str:
    from dwindle.foreign.reading import peer_of_text

    return carry(foreign.read(recipe), peer, None, recipe, peer_of_text(recipe), **options)


# --- which optimiser is written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "peer", "built"),
    [
        ("torch:Adam(lr=1e-3) StepLR(30)", "torch", "torch.optim.Adam("),
        ("torch:AdamW(lr=1e-3, weight_decay=0.0)", "torch", "torch.optim.AdamW("),
        ("torch:NAdam(lr=1e-3)", "keras", "keras.optimizers.Nadam("),
        ("torch:Adam(lr=1e-3, weight_decay=1e-4)", "optax", "optax.adam("),
        ("torch:Adam(lr=1e-3, weight_decay=1e-4)", "composer", "torch.optim.Adam("),
        ("keras:Adam(1e-3)", "optax", "optax.adam("),
        ("keras:Adam(1e-3, weight_decay=0.01)", "torch", "torch.optim.AdamW("),
        ("keras:Lion(1e-4, weight_decay=0.1)", "optax", "optax.lion("),
        ("keras:Adafactor(1e-3)", "torch", "torch.optim.Adafactor("),
        ("optax:rmsprop(1e-3)", "timm", "torch.optim.RMSprop("),
        ("optax:adagrad(1e-3)", "hf", "torch.optim.Adagrad("),
        ("composer:DecoupledAdamW(lr=1e-3)", "torch", "torch.optim.AdamW("),
        ("timm:SGDW(lr=0.1, weight_decay=1e-4)", "composer", "DecoupledSGDW("),
        ("sklearn:MLPClassifier(0.01, batch_size=10)", "torch", "torch.optim.Adam("),
        ("sklearn:SGDClassifier(learning_rate='constant', eta0=0.1)", "torch", "torch.optim.SGD("),
        ("torch:ReduceLROnPlateau(factor=0.5) Adam(lr=1e-3)", "optax", "optax.adam("),
        ('{"learning_rate": 1e-4, "lr_scheduler_type": "constant"}', "torch", "torch.optim.AdamW("),
        ('{"learning_rate": 1e-4, "lr_scheduler_type": "constant", "optim": "sgd"}', "torch", "torch.optim.SGD("),
    ],
)
def test_the_optimiser_of_the_same_kind_is_written(recipe: str, peer: str, built: str) -> None:
    text = carried(recipe, peer)
    assert built in text
    assert not [note for note in notes(text) if "is written as" in note]


@pytest.mark.parametrize(
    ("recipe", "peer", "said"),
    [
        ("torch:Adam(lr=1e-3)", "textbook", "not exact: the recipe's Adam is written as plain SGD: textbook has none."),
        ("keras:Lion(1e-4)", "torch", "not exact: the recipe's Lion is written as SGD: torch has none."),
        ("torch:Muon(lr=1e-3)", "keras", "not exact: the recipe's Muon is written as AdamW: Muon there cannot take"),
        ("optax:lamb(1e-3, weight_decay=0.1)", "keras", ""),
    ],
)
def test_an_optimiser_that_the_peer_does_not_have_is_named(recipe: str, peer: str, said: str) -> None:
    found = [note for note in notes(carried(recipe, peer)) if "is written as" in note]
    assert found[0].startswith(said) if said else not found, found


def test_the_optimiser_that_is_asked_for_is_written_and_the_other_named() -> None:
    text = carried("torch:Adam(lr=1e-3, amsgrad=True)", "torch", optimizer="SGD")
    assert "torch.optim.SGD(" in text
    assert "not exact: the recipe's Adam is written as SGD, as asked." in notes(text)
    assert "not carried over: amsgrad=True of Adam; SGD below has no such setting." in notes(text)


@pytest.mark.parametrize("peer", ["torch", "optax", "keras", "timm", "hf", "composer", "textbook", "sklearn"])
@pytest.mark.parametrize("source", ["torch", "optax", "keras", "composer"])
def test_another_kind_of_optimiser_is_never_written_in_silence(source: str, peer: str) -> None:
    names = [name for name in OPTIMIZERS[source] if "+" not in name and "." not in name]
    rate = "learning_rate" if source in ("optax", "keras") else "lr"
    for name in names:
        recipe = f"{source}:{name}({rate}=0.001)"
        try:
            text = carried(recipe, peer)
        except NoExactMapError:
            continue  # no plan equals it, or the peer cannot decay like it
        ours, there = optimiser_in(recipe, source), optimiser_in(text, peer)
        assert ours is not None, name
        assert there is not None, name
        named = any(f"the recipe's {name} is written as" in note for note in notes(text))
        assert named == (ours.direction != there.direction), (name, text)
        np.testing.assert_allclose(foreign.read(text).lr(0), 0.001, rtol=1e-12)


# --- what of it is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "peer", "said"),
    [
        ("torch:SGD(lr=0.1, momentum=0.9, nesterov=True)", "torch", "momentum=0.9, nesterov=True of SGD; set them"),
        ("torch:AdamW(lr=1e-3, betas=[0.9, 0.95], eps=1e-6)", "optax", "betas=(0.9, 0.95), eps=1e-06 of AdamW"),
        ("keras:Adam(1e-3, clipnorm=1.0)", "keras", "clipnorm=1.0 of Adam; set it in the optimiser below"),
        ("keras:Adam(1e-3, clipnorm=1.0)", "optax", "clipnorm=1.0 of Adam; adam below has no such setting."),
        ("keras:Adam(1e-3)", "torch", "epsilon=1e-07 (the default of keras) of Adam"),
        ("torch:RMSprop(lr=1e-3)", "optax", "alpha=0.99 (the default of torch), eps_in_sqrt=False"),
        ("optax:sgd(0.1, momentum=0.9)", "keras", "momentum=0.9 of sgd"),
        ("optax:adamw(1e-3, b2=0.95)", "torch", "b2=0.95 of adamw"),
        ("composer:DecoupledAdamW(lr=1e-3)", "torch", "betas=(0.9, 0.95) (the default of composer) of DecoupledAdamW"),
        ("sklearn:MLPClassifier(0.1, batch_size=9, solver='sgd')", "torch", "momentum=0.9 (the default of sklearn)"),
        (BY_EPOCH, "torch", "betas=(0.9, 0.95) of AdamW"),
        (BY_EPOCH, "optax", "clip_grad_norm_(model.parameters(), 1.0)"),
        ("import torch\no = torch.optim.SGD(p, 0.1, 0.9)", "torch", "momentum=0.9 of SGD"),
        ("import torch\no = torch.optim.NAdam(p, 1e-3, (0.8, 0.9))", "torch", "betas=(0.8, 0.9) of NAdam"),
        ("import keras\no = keras.optimizers.AdamW(1e-3, 0.1, 0.8)", "keras", "beta_1=0.8 of AdamW"),
        ("import keras\no = keras.optimizers.SGD(0.1, 0.9, True)", "keras", "momentum=0.9, nesterov=True of SGD"),
        ("import optax\no = optax.lamb(1e-3, 0.8)", "optax", "b1=0.8 of lamb"),
        ("from torch.optim import SGD as S\nimport torch\no = S(p, 0.1, 0.9)", "torch", "momentum=0.9 of SGD"),
        (
            "import keras\nclass Mine(keras.optimizers.SGD): pass\no = Mine(0.1, momentum=0.9)",
            "keras",
            "momentum=0.9 of SGD",
        ),
        (
            "import optax\no = optax.chain(optax.scale_by_adam(0.8), optax.scale_by_learning_rate(1e-3))",
            "torch",
            "b1=0.8 of adam",
        ),
        ("import optax\no = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))", "optax", "_norm(1.0);"),
        ("import optax\no = optax.inject_hyperparams(optax.adam)(1e-3, b1=0.8)", "optax", "b1=0.8 of adam"),
        (
            "import optax\no = optax.chain(optax.scale_by_adam(b1=0.8), optax.scale_by_learning_rate(1e-3))",
            "torch",
            "b1=0.8 of adam;",
        ),
        (
            "import optax\no = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(1e-3))",
            "torch",
            "momentum=0.9 of trace",
        ),
        (json.dumps({"max_steps": 9, "adam_beta2": 0.95}), "torch", "betas=(0.9, 0.95) of AdamW"),
        (json.dumps({"max_steps": 9, "adam_beta2": 0.9}), "torch", "max_grad_norm=1.0 of the Trainer"),
        (json.dumps({"max_steps": 9, "max_grad_norm": 0.5}), "hf", "max_grad_norm=0.5 of the Trainer"),
        (
            "import transformers\na = TrainingArguments('o', max_steps=9, adam_epsilon=1e-6)",
            "torch",
            "eps=1e-06 of AdamW",
        ),
        ("import timm\no = create_optimizer_v2(model, 'sgd', lr=0.1)", "torch", "momentum=0.9, nesterov=True of SGD"),
        ("import timm\no = create_optimizer_v2(model, 'momentum', lr=0.1)", "torch", "momentum=0.9 of SGD"),
        ("import timm\no = create_optimizer_v2(model, 'sgdw', lr=0.1)", "timm", "momentum=0.9, nesterov=True of SGDW"),
        (
            "import timm\no = create_optimizer_v2(model, 'rmsprop', lr=0.1)",
            "torch",
            "momentum=0.9, alpha=0.9 of RMSprop",
        ),
        ("import timm\no = create_optimizer_v2(model, 'adagrad', lr=0.1)", "torch", "eps=1e-08 of Adagrad"),
    ],
)
def test_each_setting_that_is_lost_is_named(recipe: str, peer: str, said: str) -> None:
    lost = [note for note in notes(carried(recipe, peer)) if note.startswith("not carried over: ")]
    assert any(said in note for note in lost), lost


@pytest.mark.parametrize(
    ("recipe", "peer"),
    [
        ("torch:Adam(lr=1e-3, betas=[0.9, 0.999])", "optax"),
        ("torch:RMSprop(lr=1e-3, alpha=0.9)", "keras"),
        ("optax:adam(1e-3, eps=1e-7)", "keras"),
        ("torch:SGD(lr=0.1, momentum=0.0, foreach=True)", "optax"),
        (json.dumps({"max_steps": 9}), "hf"),
        ("torch:StepLR(30) lr=0.1", "optax"),
    ],
)
def test_nothing_is_named_that_comes_along(recipe: str, peer: str) -> None:
    lost = [note for note in notes(carried(recipe, peer)) if note.startswith("not ")]
    assert not [note for note in lost if "eps" not in note], lost


BESIDE = {
    "torch:AdamW(lr=1e-3, weight_decay=0.1) ReduceLROnPlateau(patience=3)": "decoupled 0.1",
    "torch:AdamW(lr=1e-3) ReduceLROnPlateau(patience=3)": "decoupled 0.01",
    "torch:SGD(lr=0.1, momentum=0.9, weight_decay=5e-4) ReduceLROnPlateau()": "l2 5e-4",
    "torch:SGD(lr=0.1) ReduceLROnPlateau()": "",
    "torch:ReduceLROnPlateau() lr=0.1": "",
    "keras:AdamW() ReduceLROnPlateau()": "decoupled 4e-3",
    "import keras\nd = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(1e-3))\n"
    "o = keras.optimizers.SGD(0.1)\nc = keras.callbacks.ReduceLROnPlateau()": "l2 2e-3",
    "import keras\nd = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(1e-3))\n"
    "m.compile('sgd')\nc = keras.callbacks.ReduceLROnPlateau()": "l2 2e-3",
    "import optax\ntx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1), optax.contrib.reduce_on_plateau())": "l2 0.1",
    "import torch\nfrom transformers import get_scheduler\no = torch.optim.AdamW(p, lr=1e-3)\n"
    "s = get_scheduler('reduce_lr_on_plateau', o)": "decoupled 0.01",
    "import torch\nfrom timm.scheduler import PlateauLRScheduler\no = torch.optim.Adam(p, lr=1e-3, weight_decay=0.1)\n"
    "s = PlateauLRScheduler(o)": "l2 0.1",
}


@pytest.mark.parametrize("recipe", BESIDE)
def test_the_decay_beside_a_rule_is_not_lost_in_silence(recipe: str) -> None:
    said = [note for note in notes(carried(recipe, "torch")) if "weight decay" in note]
    wanted = f"not carried over: the recipe's weight decay, {BESIDE[recipe]}; the optimiser below has none."
    assert said == ([wanted] if BESIDE[recipe] else [])


def test_a_decay_beside_a_rule_that_cannot_be_read_is_said() -> None:
    recipe = "import torch\no = torch.optim.SGD(p, lr=0.1, weight_decay=args.wd)\ns = ReduceLROnPlateau(o)"
    with pytest.raises(DwindleError):
        foreign.read(recipe)
    text = carry(foreign.read("torch:ReduceLROnPlateau() lr=0.1"), "torch", None, recipe, "torch")
    assert any(note.startswith("the recipe's weight decay could not be read: ") for note in notes(text))


@pytest.mark.parametrize("peer", ["torch", "timm", "hf"])
def test_a_rule_is_written_for_every_optimiser_without_its_default_decay(peer: str) -> None:
    rule = foreign.read("torch:ReduceLROnPlateau() lr=0.1")
    for name in OPTIMIZERS["torch"]:
        text = foreign.write(rule, peer, optimizer=name)
        if name in ("ASGD", "Rprop"):  # which no plan equals, and whose decay is 0
            continue
        built = optimiser_in(text, peer)
        assert built is not None
        line = next(line for line in text.splitlines() if "torch.optim." in line)
        assert foreign.read(f"import torch\n{line.strip()}").decay is None, line  # type: ignore[union-attr]


def test_of_an_optimiser_of_another_kind_what_is_not_the_default_is_lost() -> None:
    ours, other = Optimiser("torch", "Adam", {"betas": (0.8, 0.999), "amsgrad": False}), Optimiser("torch", "SGD", {})
    assert settings_lost(ours, other) == [
        "not carried over: betas=(0.8, 0.999) of Adam; SGD below has no such setting."
    ]
    assert settings_lost(ours, ours) == []
    assert settings_lost(ours, None) == ["not carried over: betas=(0.8, 0.999) of Adam."]


def test_the_explanation_says_the_same(convert: Any) -> None:
    recipe = "torch:SGD(lr=0.1, momentum=0.9) StepLR(30)"
    told = foreign.explain(foreign.read(recipe), "keras", 90, "torch", recipe=recipe)  # type: ignore[arg-type]
    assert "not carried over: momentum=0.9 of SGD; set it in the optimiser below." in told.cautions
    alone = convert(recipe, "--to", "plan", "--explain")
    assert "a plan holds no optimiser: take SGD along" in alone[2]
    assert "not carried over: momentum=0.9 of SGD." in alone[2]


# --- the run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "peer", "steps"),
    [
        ('{"max_steps": 200, "num_train_epochs": 3.0}', "hf", 200),
        ('{"max_steps": -1}', "hf", None),
        ("args = TrainingArguments('o', max_steps=20)", "hf", 20),
        ("hf:cosine(10, 100) lr=3e-4", "hf", 100),
        ("s = get_cosine_schedule_with_warmup(optimizer, 10, total)\ntotal = 90", "hf", 90),
        ("s = get_scheduler('linear', optimizer, num_warmup_steps=1, num_training_steps=70)", "hf", 70),
        ("torch:CosineAnnealingLR(50) lr=1", "torch", 50),
        ("torch:SequentialLR([LinearLR(0.1, total_iters=10), CosineAnnealingLR(90)], [10]) lr=0.1", "torch", 100),
        ("torch:OneCycleLR(0.1, epochs=3, steps_per_epoch=7)", "torch", 21),
        ("s = CosineAnnealingLR(optimizer, 60)", "torch", 60),
        ("a = CosineAnnealingLR(o, 6)\nb = CosineAnnealingLR(p, 7)", "torch", None),
        ("optax:adam(cosine_decay_schedule(0.1, 80))", "optax", 80),
        ("s = optax.join_schedules([optax.linear_schedule(0, 1, 5), optax.cosine_decay_schedule(1., 20)], [5])", "optax", 25),
        ("keras:CosineDecay(0.1, 80, warmup_target=0.2, warmup_steps=10)", "keras", 90),
        ("composer:LinearScheduler(1.0, 0.1, '100ba') lr=1e-3", "composer", 100),
        ("torch:StepLR(30) lr=1", "torch", None),
        ("this is (no recipe", "torch", None),
    ],
)  # fmt: skip
def test_the_steps_that_a_recipe_tells(recipe: str, peer: str, steps: int | None) -> None:
    assert own_steps(recipe, peer) == steps


def test_the_epochs_that_training_arguments_tell() -> None:
    assert own_epochs("args = TrainingArguments('o', num_train_epochs=2)") == 2.0
    assert own_epochs('{"num_train_epochs": 5}') == 5.0
    assert own_epochs("args = TrainingArguments('o')") == 3.0  # transformers' own default
    assert own_epochs("torch:StepLR(3) lr=1") is None


def test_the_run_of_the_recipe_is_taken(convert: Any) -> None:
    _, out, _ = convert("-", "--to", "torch", stdin='{"learning_rate": 1e-4, "max_steps": 200}')
    assert "for 200 steps" in out
    assert "assumed" not in out
    _, again, _ = convert("-", "--to", "optax", stdin=out)
    assert "for 200 steps" in again
    script = (
        "from transformers import TrainingArguments\na = TrainingArguments('o', num_train_epochs=3, warmup_steps=0.1)"
    )
    code, out, err = convert("-", "--to", "torch", "--steps-per-epoch", "10", stdin=script)
    assert code == 0, err
    assert "for 30 steps" in out
    assert "warmup 3st" in out


def test_a_run_that_is_assumed_is_said(convert: Any) -> None:
    for options in ([], ["--explain"]):
        _, out, _ = convert("torch:StepLR(30) lr=0.1", "--to", "keras", *options)
        assert out.count("assumed 10000 steps; give --steps.") == 1 + len(options)
        _, out, _ = convert("torch:StepLR(30) lr=0.1", "--to", "keras", "--steps", "90", *options)
        assert "assumed" not in out
    _, out, _ = convert("torch:CosineAnnealingLR(30) lr=0.1", "--to", "keras")
    assert "the 30 steps are those that the recipe itself tells" in " ".join(notes(out))


def test_a_run_has_an_end() -> None:
    assert dw.Horizon(10**18).steps == 10**18
    with pytest.raises(InvalidValueError, match=r"at most 10\^18 steps"):
        dw.Horizon(10**18 + 1)
    told = foreign.explain(dw.parse("peak 0.1 | cosine to 0%"), "optax", 10**18)
    assert told.difference is not None
    assert told.difference < 1e-12


# --- habits and facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "peer", "by_epochs"),
    [
        ("torch:StepLR(30) lr=0.1", "torch", True),
        ("torch:LambdaLR(lambda t: 0.9 ** t) lr=0.1", "torch", True),
        ("torch:OneCycleLR(0.1, 100)", "torch", False),
        ("torch:Adam(lr=0.1)", "torch", False),
        ("keras:ExponentialDecay(0.1, 100, 0.9)", "keras", False),
        ("timm:CosineLRScheduler(100) lr=0.1", "timm", True),
        ("timm:CosineLRScheduler(100, t_in_epochs=0) lr=0.1", "timm", False),
        (BY_EPOCH, "torch", True),
        (BY_UPDATE, "torch", False),
        ("s = CosineLRScheduler(o, 10)\ns.step_update(3)", "timm", True),  # which does nothing then
        ("s = CosineLRScheduler(o, 10, t_in_epochs=False)\ns.step_update(3)", "timm", False),
        (LOOP.format("        scheduler.step(epoch + i / 90)"), "torch", True),
        (LOOP.format("    scheduler.step()\n    ema.step()"), "torch", True),
        (BY_UPDATE.replace("        optimizer.step()", "        scaler.step(optimizer)"), "torch", False),
        (BY_UPDATE.replace("optimizer", "o"), "torch", False),
        (BY_HAND.format("for epoch in range(9):", "epoch"), "torch", True),
        (BY_HAND.format("for e in range(9):\n  for x in data:\n    o.step()", "e"), "torch", True),
        (BY_HAND.format("for it in range(9):", "it"), "torch", False),
        ("s = StepLR(o, 10)\nconfig = {'scheduler': s, 'interval': 'step'}", "torch", False),
    ],
)
def test_which_recipes_step_by_epochs(recipe: str, peer: str, by_epochs: bool) -> None:
    assert steps_by_epochs(recipe, peer) is by_epochs


def test_epochs_or_steps_is_said_without_being_asked(convert: Any) -> None:
    said = "where torch was told to step once an epoch, a step of this plan is an epoch."
    assert said in " ".join(notes(convert("-", "--to", "optax", stdin=BY_EPOCH)[1]))
    assert said not in " ".join(notes(convert("-", "--to", "optax", stdin=BY_UPDATE)[1]))
    written = foreign.write(dw.parse("peak 0.1 | step by 0.5 every 30st"), "torch", 90)
    assert not steps_by_epochs(written, "torch")


def test_layers_without_a_regulariser_beside_those_that_have_one_are_said(convert: Any) -> None:
    said = "only some of the layers have a regulariser"
    source = "import keras\nm.add(keras.layers.Dense(9, kernel_regularizer='l2'))\nm.add(keras.layers.Dense(1{}))\n"
    source += "m.compile(keras.optimizers.SGD(0.1))"
    both = source.format(", kernel_regularizer='l2'")
    for text, in_part in ((source.format(""), True), (both, False)):
        assert (said in " ".join(notes(convert("-", "--to", "torch", "--steps", "9", stdin=text)[1]))) is in_part
        told = foreign.explain(foreign.read(text), None, 9, "keras", recipe=text)  # type: ignore[arg-type]
        assert (said in " ".join(told.cautions)) is in_part


def test_the_time_scale_is_that_of_the_highest_rate() -> None:
    told = foreign.explain(dw.parse('peak 1e-3 | formula "2.0 if step < 5 else 0.5" | decoupled 0.01'), None, 10)
    assert dict(told.rates)["peak"] == "0.002, first in step 0"
    assert "2e-05 of each weight a step at the peak, time scale 5e+04 steps" in dict(told.decay)["plan"]
    falling = foreign.explain(dw.parse("peak 0.1 | constant | independent (linear to 0% over 9st)"), None, 9)
    assert "1 of each weight" in dict(falling.decay)["plan"]


@pytest.mark.parametrize("peer", ["optax", "keras"])
def test_patterns_with_dots_are_named_where_names_have_slashes(peer: str) -> None:
    dotted = dw.parse(
        r'peak 0.1 | constant | decoupled 0.1 | mask name "emb.*" does not, regex "\\.g$" does not, ndim "2" decays '
        r'| group "head" "head.*" times 10'
    )
    said = " ".join(notes(foreign.write(dotted, peer, 10)))
    for pattern in ("'head.*'", "'emb.*'", r"'\\.g$'"):
        assert f"the plan's pattern {pattern} has dots" in said
    assert "has dots" not in foreign.write(dotted, "torch", 10)
    fine = dw.parse(
        'peak 0.1 | constant | decoupled 0.1 | mask name "emb/*" does not, standard | group "h" "*head*" times 2'
    )
    assert "has dots" not in foreign.write(fine, peer, 10)


# --- what the command says -----------------------------------------------------------------------------------------------


def test_words_that_can_be_typed_here(convert: Any) -> None:
    alone = "import torch\ns = torch.optim.lr_scheduler.StepLR(optimizer, 30)"
    code, _, err = convert("-", "--to", "optax", stdin=alone)
    assert (code, "base_lr" in err, "lr=0.1'" in err) == (2, False, True)
    other = "import tensorflow_addons as tfa\no = tfa.optimizers.SWA(0.1)"
    assert "tensorflow_addons is not one of the peers" in convert("-", "--to", "optax", stdin=other)[2]
    assert "tensorflow_addons" not in convert("-", "--to", "optax", stdin="import numpy\nx = f(0.1)")[2]
    script = "from transformers import TrainingArguments\na = TrainingArguments('o', warmup_ratio=0.1)"
    assert "add --steps N" in convert("-", "--to", "torch", stdin=script)[2]
    code, out, _ = convert(
        "hf:TrainingArguments(learning_rate=1e-4, warmup_ratio=0.1)", "--to", "plan", "--steps", "10"
    )
    assert (code, out.strip()) == (0, "peak 1e-4 | warmup 1st, linear to 0% over 9st")


def test_a_plan_may_say_lr(convert: Any, tmp_path: Path) -> None:
    assert convert("lr 0.1", "--to", "plan")[1].strip() == "peak 0.1 | constant"
    assert convert("-", "--to", "plan", stdin="lr 0.1\n| cosine\n")[1].strip() == "peak 0.1 | cosine to 0%"
    assert "lr=0.1" in convert("-", "--to", "torch", stdin="import torch\no = torch.optim.SGD(p, lr=0.1)\n")[1]


def test_the_notes_fit_in_80_columns_and_the_source_still_reads(convert: Any) -> None:
    for recipe in ("torch:SGD(lr=0.1, momentum=0.9, nesterov=True, dampening=0.1) StepLR(3)", "keras:Lion(1e-4)"):
        _, out, _ = convert(recipe, "--to", "torch", "--steps", "9")
        header = out[: out.index("import torch")].splitlines()
        assert max(map(len, header)) <= 80
        try:
            again = foreign.read(out)
        except DwindleError as error:  # pragma: no cover
            pytest.fail(str(error))
        np.testing.assert_allclose(again.lrs(9), foreign.read(recipe).lrs(9), rtol=1e-12)
