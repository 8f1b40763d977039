"""Reading a recipe from text of any form, explaining what changes on the way, and ``dwindle convert``."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle import foreign
from dwindle.cli import main
from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnknownNameError, UnresolvedTimeError
from dwindle.foreign import explain
from dwindle.foreign.optimizers.training_arguments import READ
from dwindle.foreign.reading import peer_of_text
from dwindle.foreign.schedules.peers import PEERS, signature
from dwindle.foreign.source.spec import read_spec
from dwindle.foreign.write import _WRITERS as WRITERS
from dwindle.plan import Plan
from dwindle.schedule.plateau import Plateau

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = sorted(GOLDEN.glob("schedule_*.json"))

# --- the order in which values may stand without their names, against the installed peers -------------------------------

HOMES = {
    "torch": ("torch", ["optim/lr_scheduler.py"]),
    "optax": ("optax", ["schedules/_schedule.py", "schedules/_join.py", "contrib/_reduce_on_plateau.py"]),
    "keras": (
        "keras",
        ["src/optimizers/schedules/learning_rate_schedule.py", "src/callbacks/reduce_lr_on_plateau.py"],
    ),
    "timm": (
        "timm",
        [f"scheduler/{n}_lr.py" for n in ("cosine", "plateau", "poly", "tanh", "step", "multistep", "wsd")],
    ),
    "hf": ("transformers", ["optimization.py"]),
    "composer": ("composer", ["optim/scheduler.py"]),
}
GET = {
    "constant": "get_constant_schedule",
    "constant_with_warmup": "get_constant_schedule_with_warmup",
    "linear": "get_linear_schedule_with_warmup",
    "cosine": "get_cosine_schedule_with_warmup",
    "cosine_with_restarts": "get_cosine_with_hard_restarts_schedule_with_warmup",
    "polynomial": "get_polynomial_decay_schedule_with_warmup",
    "inverse_sqrt": "get_inverse_sqrt_schedule",
    "cosine_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup",
    "cosine_warmup_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "warmup_stable_decay": "get_wsd_schedule",
    "reduce_lr_on_plateau": "get_reduce_on_plateau_schedule",
    "greedy": "get_greedy_schedule",
}


def positional(peer: str) -> dict[str, list[str]]:
    """The parameters of everything in a peer's files in their order, read from the installed source without importing it."""
    package, files = HOMES[peer]
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is named for testing and is not installed"
    found: dict[str, ast.arguments] = {}
    for file in files:
        for node in ast.parse((Path(str(spec.origin)).parent / file).read_text()).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = node.args
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        found[node.name] = method.args
    return {
        name: [arg.arg for arg in (*args.posonlyargs, *args.args) if arg.arg not in ("self", "optimizer")]
        for name, args in found.items()
    }


@pytest.mark.parametrize("peer", HOMES)
def test_the_order_of_values_is_the_peers(peer: str) -> None:
    real = positional(peer)
    for name in PEERS[peer]:
        ours, theirs = list(signature(peer, name)), real[GET[name] if peer == "hf" else name]
        assert ours == theirs[: len(ours)], name
        left = set(theirs[len(ours) :])
        assert left <= {"last_epoch", "name", "scale_warmup"}, (name, left)  # none that a reader knows by position


# --- a spec in one line --------------------------------------------------------------------------------------------------


def spelled(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"name", "params"}:
        return f"{value['name']}({', '.join(f'{k}={spelled(v)}' for k, v in value['params'].items())})"
    return f"[{', '.join(map(spelled, value))}]" if isinstance(value, list) else repr(value)


@pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")
def test_every_golden_recipe_is_read_from_one_line() -> None:
    count = 0
    for file in FILES:
        for case in json.loads(file.read_text())["cases"]:
            lr = "" if case.get("base_lr") is None else f" lr={case['base_lr']!r}"
            text = f"{case['peer']}: {spelled({'name': case['name'], 'params': case['params']})}{lr}"
            want = foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))
            assert foreign.read(text) == want, text
            count += 1
    assert count == 391


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (
            "torch:CosineAnnealingLR(T_max=100, eta_min=1e-5) lr=1e-3",
            "peak 1e-3 | (cosine to 1% over 100st) mirror every 100st",
        ),
        ("torch : StepLR ( 30 ,\n gamma = 1/2 )  lr = 3e-4", "peak 3e-4 | step by 0.5 every 30st"),
        ("pytorch:lr=0.1, StepLR(optimizer, 30)", "peak 0.1 | step by 0.1 every 30st"),
        (
            "torch:AdamW(model.parameters(), lr=1e-3, weight_decay=0.1) StepLR(step_size=30)",
            'peak 1e-3 | step by 0.1 every 30st | decoupled 0.1 | mask name "*" decays',
        ),
        (
            "torch:SequentialLR([LinearLR(0.1, total_iters=10), CosineAnnealingLR(90)], [10]) lr=0.1",
            "peak 0.1 | warmup 10st from 10%, (cosine to 0% over 90st) mirror every 90st",
        ),
        ("torch:LambdaLR(lambda t: 0.95 ** t) lr=0.1", 'peak 0.1 | formula "0.95 ** step"'),
        ("hf:cosine(10, 100) lr=3e-4", "peak 3e-4 | warmup 10st, (cosine to 0% over 90st) mirror every 90st"),
        ("transformers: constant AdamW(lr=1e-3, weight_decay=0.0)", "peak 1e-3 | constant"),
        ("keras:ExponentialDecay(0.1, 100, 0.96)", "peak 0.1 | exponential by 0.96 every 100st"),
        (
            "keras: SGD(CosineDecay(0.0, 100, 0.1, 'its name', 0.2, 10), weight_decay=1e-3)",
            'peak 0.2 | warmup 10st, cosine to 10% over 100st | decoupled 1e-3 | mask name "*" decays',
        ),
        (
            "optax: adamw(warmup_constant_schedule(0.0, 1e-3, 10), weight_decay=linear_schedule(0.1, 0.0, 50))",
            'peak 1e-3 | warmup 10st | decoupled (linear to 0% from 10% over 50st) | mask name "*" decays',
        ),
        ("sklearn:SGDClassifier(alpha=1e-3, learning_rate='constant', eta0=0.1)", "peak 0.1 | constant | l2 1e-3"),
        ("scikit-learn: MLPClassifier(0.01, batch_size=200, alpha=0.1)", "peak 0.01 | constant | l2 5e-4"),
        ("textbook:halve(epochs=5) lr=0.5", "peak 0.5 | step by 0.5 every 5ep"),
        ("textbook: network2(eta=0.5, lmbda=5, n=50_000) halve(5)", "peak 0.5 | step by 0.5 every 5ep | l2 1e-4"),
        ("composer:LinearScheduler(1.0, 0.1, '100ba') lr=1e-3", "peak 1e-3 | linear to 10% over 100st"),
        (
            "timm:StepLRScheduler(30, 0.5) AdamW(lr=1e-3)",
            'peak 1e-3 | step by 0.5 every 30st | decoupled 0.01 | mask name "*" decays',
        ),
    ],
)
def test_specs(text: str, plan: str) -> None:
    assert read_spec(text) == foreign.read(text) == dw.parse(plan), str(read_spec(text))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("toch:StepLR(30) lr=1", UnknownNameError, "did you mean 'torch'"),
        ("torch:StpLR(30) lr=1", UnknownNameError, r"did you mean 'StepLR'\? \(at character 7: 'StpLR"),
        ("torch:StepLR(stepsize=3) lr=1", UnknownNameError, "did you mean 'step_size'"),
        ("torch:SequentialLR([StepLR(3), CosineAnnealingL(3)], [1]) lr=1", UnknownNameError, "at character 32"),
        ("torch:StepLR(30) weight_decay=0.1", UnknownNameError, "put it inside a call .at character 18"),
        ("torch:StepLR(30)", ParseError, "add lr=3e-4"),
        ("torch:StepLR(30 lr=1", ParseError, "not closed"),
        ("torch:StepLR('30) lr=1", ParseError, "unterminated"),
        ("torch:StepLR(30, step_size=4) lr=1", ParseError, "step_size of StepLR is given twice"),
        ("torch:SGD(lr=1, lr=2)", ParseError, "lr of SGD is given twice"),
        ("torch:StepLR(30) lr=1 lr=2", ParseError, "lr is given twice"),
        ("torch:StepLR(30) lr=-1", InvalidValueError, "lr must be positive; got -1 .at character 18"),
        ("torch:StepLR(1, 2, 3) lr=1", ParseError, "at most 2 values"),
        ("hf:greedy(0.5) lr=1", ParseError, "only named values"),
        ("torch:StepLR(*[30]) lr=1", ParseError, "nothing to unpack"),
        ("torch:StepLR(30) StepLR(20) lr=1", ParseError, "second schedule"),
        ("torch:SGD(lr=1) AdamW(lr=1)", ParseError, "second optimiser"),
        ("torch:lr=0.1", ParseError, "was expected beside lr"),
        ("torch:", ParseError, "was expected .at the end"),
        ("torch:3", ParseError, "was expected .at character 7"),
        ("torch:StepLR(30) lr=1 $", ParseError, "cannot be read"),
        ("torch:AdamW(1e-3, 0.9)", ParseError, "name the values of AdamW"),
        ("keras:ExponentialDecay(0.1, 100, 0.96) lr=1", InvalidValueError, "leave lr= out"),
        ("torch:StepLR(__import__('os').system('true')) lr=1", UnknownNameError, "'system' is no schedule"),
        ("torch:StepLR(30) lr=(lambda: 1)()", DwindleError, "at character"),
        ("torch:LambdaLR(f) lr=1", ParseError, "needs its function here"),
    ],
)
def test_a_bad_spec_says_what_and_where(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        foreign.read(text)


@given(st.text(max_size=40), st.sampled_from(["torch:", "keras: ", "torch:StepLR(", "hf:lr=", ""]))
def test_no_text_breaks_the_reader(text: str, begin: str) -> None:
    with contextlib.suppress(DwindleError):
        foreign.read(begin + text)


# --- TrainingArguments ---------------------------------------------------------------------------------------------------


# as transformers 5.23 saves them, a few of 114; the slow test below takes the class itself
DEFAULTS = {
    "output_dir": "out", "per_device_train_batch_size": 8, "num_train_epochs": 3.0, "max_steps": -1,
    "learning_rate": 5e-05, "lr_scheduler_type": "linear", "lr_scheduler_kwargs": None, "warmup_steps": 0,
    "optim": "adamw_torch_fused", "optim_args": None, "weight_decay": 0.0, "adam_beta1": 0.9, "max_grad_norm": 1.0,
    "tf32": None, "logging_steps": 500, "eval_steps": None, "save_steps": 500, "report_to": [], "debug": [],
    "accelerator_config": {"split_batches": False}, "local_rank": -1,
}  # fmt: skip


def saved(**given: Any) -> str:
    return json.dumps(DEFAULTS | given, indent=2)


COSINE = {
    "learning_rate": 1e-4, "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "weight_decay": 0.01, "max_steps": 200,
}  # fmt: skip


def test_the_arguments_are_read_and_all_others_passed_over() -> None:
    want = "peak 1e-4 | warmup 20st, (cosine to 0% over 180st) mirror every 180st | decoupled 0.01"
    assert foreign.read(saved(**COSINE)) == dw.parse(want)


@pytest.mark.slow
def test_the_real_class_is_read_and_none_of_its_arguments_is_taken_for_a_typing_error() -> None:
    import dataclasses

    from transformers import TrainingArguments

    real = TrainingArguments(output_dir="/tmp/none", report_to=[], use_cpu=True, **COSINE).to_json_string()  # type: ignore[arg-type]
    assert len(json.loads(real)) > 80
    assert foreign.read(real) == foreign.read(saved(**COSINE))
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert fields >= set(READ) - {"warmup_ratio"}
    for field in fields - set(READ):
        foreign.read(json.dumps({"learning_rate": 1e-4, "max_steps": 10, field: None}))


def test_epochs_need_the_steps_of_the_run() -> None:
    text = saved(num_train_epochs=3)
    with pytest.raises(UnresolvedTimeError, match="num_train_epochs=3 does not say how many steps"):
        foreign.read(text)
    want = dw.parse("peak 5e-5 | linear to 0% over 300st")
    assert foreign.read(text, run=300) == want
    assert foreign.read(text, run=dw.Horizon(epochs=3, steps_per_epoch=100)) == want
    assert foreign.read(saved(max_steps=50), run=300) == dw.parse("peak 5e-5 | linear to 0% over 50st")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"learning_rte": 1e-4, "max_steps": 10}, UnknownNameError, "did you mean 'learning_rate'"),
        ({"weight_dekay": 0.1, "max_steps": 10}, UnknownNameError, "did you mean 'weight_decay'"),
        ({"log_history": [], "max_steps": 10}, InvalidValueError, "trainer_state"),
        ({"foo": 1}, ParseError, "no TrainingArguments"),
    ],
)
def test_what_is_no_training_arguments_is_refused(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        foreign.read(json.dumps(given))


def test_training_arguments_in_source() -> None:
    text = """
args = TrainingArguments(output_dir=parser.out, learning_rate=1e-4, num_train_epochs=3, report_to="none", logging_steps=7)
"""
    assert foreign.read(text, run=90) == dw.parse("peak 1e-4 | linear to 0% over 90st")


# --- the one door --------------------------------------------------------------------------------------------------------


def test_read_takes_a_name_and_parameters_or_one_text() -> None:
    assert foreign.read("torch", "StepLR", {"step_size": 30}, base_lr=0.1) == foreign.read("torch:StepLR(30) lr=0.1")
    for bad, said in [
        ("torch", "torch is a peer"), ("", "a recipe is text"), ("peak 0.1 | cosine", "dwindle.parse"),
        ("StepLR", "no recipe"), ("a b c", "no Python source"), ("{", "begins as JSON"),
    ]:  # fmt: skip
        with pytest.raises(DwindleError, match=said):
            foreign.read(bad)
    with pytest.raises(InvalidValueError, match="base_lr belong"):
        foreign.read("torch:StepLR(30) lr=0.1", base_lr=0.1)
    assert isinstance(foreign.read("torch:ReduceLROnPlateau(factor=0.5) lr=0.1"), Plateau)


PLANS = [
    "peak 3e-4 | warmup 10st, cosine to 10% over 90st | decoupled 0.1",
    "peak 0.1 | step by 0.5 every 30st | l2 1e-4",
    "peak 0.1 | constant",
]


@pytest.mark.parametrize("peer", WRITERS)
@pytest.mark.parametrize("text", PLANS)
def test_read_undoes_write(text: str, peer: str) -> None:
    plan = dw.parse(text)
    source = foreign.write(plan, peer, 100)
    back = foreign.read(source, run=100)
    np.testing.assert_allclose(back.lrs(100), plan.lrs(100), rtol=1e-12, atol=1e-18)
    if peer in ("torch", "optax", "keras"):
        assert peer_of_text(source) == peer


# --- explaining ----------------------------------------------------------------------------------------------------------


def facts(text: str, peer: str | None, run: Any, source: str | None = None) -> dict[str, str]:
    told = explain(dw.parse(text), peer, run, source)
    return {label: words for label, words in (*told.rates, *told.decay) if label}


def test_where_the_rate_first_falls() -> None:
    assert facts("peak 0.1 | step by 0.5 every 30st", "torch", 90)["first decayed"] == (
        "step 30, at 0.05; 30 steps run at the peak"
    )
    assert facts("peak 0.1 | cosine over 50st", None, 50)["first decayed"].startswith("step 1, at 0.09990")
    assert facts("peak 0.1 | constant", None, 50)["first decayed"].startswith("none")
    long = facts("peak 0.1 | warmup 10st, cosine to 0%", None, 10**7)["first decayed"]
    assert long == "step 11, 2e-14 of it below; 1 step runs at the peak"


def test_where_a_warm_up_begins_and_ends() -> None:
    told = facts("peak 0.1 | warmup 20st, cosine to 0%", None, 100)
    assert told["warm-up"] == "begins at 0 in step 0: the first update does nothing"
    assert told["peak"] == "0.1, first in step 20"
    assert facts("peak 0.1 | warmup 20st from 10%, cosine to 0%", None, 100)["warm-up"] == "begins at 0.01 in step 0"
    assert "warm-up" not in facts("peak 0.1 | cosine to 0%", None, 100)


def test_what_the_last_step_uses_and_what_comes_after() -> None:
    told = facts("peak 0.1 | linear to 0% over 10st", None, 10)
    assert told["last step"] == "step 9 uses 0.01, 10% of the peak; step 10 would use 0"
    assert told["beyond the run"] == "it holds 0"
    climbing = explain(foreign.read("torch:CosineAnnealingLR(10) lr=0.1"), "torch", 10, "torch")
    assert dict(climbing.rates)["beyond the run"] == "it rises again, to 0.1 before step 20"
    assert (
        facts("peak 1 | step by 0.5 every 5st", None, 10)["beyond the run"]
        == "it goes on falling, to 0.0625 in step 20"
    )
    assert "last step" not in facts("peak 0.1 | step by 0.5 every 30st", None, None)


def test_the_numbers_of_the_other_convention() -> None:
    told = facts("peak 0.1 | constant | l2 1e-4", "torch", 10, "keras")
    assert told["as decoupled"].startswith(
        "0.0001 with SGD, 0.001 with SGD of momentum μ = 0.9 (λ/(1-μ)); with Adam no"
    )
    told = facts("peak 0.1 | constant | independent 0.01", "torch", 10)
    assert told["as l2"].startswith("0.1 with SGD, 0.01 with SGD of momentum μ = 0.9")
    assert "time scale 100 steps" in told["plan"]
    assert "a step of this plan is an epoch" in str(explain(dw.parse("peak 0.1 | constant"), "keras", 10, "torch"))
    assert facts("peak 0.1 | constant", "torch", 10)["written as"] == "ConstantLR of torch itself"


def test_boundaries_are_named_where_a_peer_has_its_own() -> None:
    def told(recipe: str, source: str, peer: str) -> dict[str, str]:
        return dict(explain(foreign.read(recipe), peer, 90, source, recipe=recipe).rates)  # type: ignore[arg-type]

    pieces = "keras:PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.4])"
    assert "boundary b falls in step b + 1" in told(pieces, "keras", "torch")["boundaries"]
    assert "PiecewiseConstantDecay" in told("torch:MultiStepLR([11, 20]) lr=0.1", "torch", "keras")["boundaries"]
    assert "boundaries" not in told("keras:ExponentialDecay(0.1, 30, 0.5, staircase=True)", "keras", "torch")
    assert "boundaries" not in told("timm:CosineLRScheduler(90) AdamW(lr=0.1)", "timm", "torch")
    assert "index before" in told("timm:MultiStepLRScheduler([5]) AdamW(lr=0.1)", "timm", "torch")["boundaries"]
    assert "boundaries" not in facts("peak 0.1 | step by 0.5 every 30st", "torch", 90, "keras")


def test_the_difference_is_measured_on_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dw.parse("peak 0.1 | step by 0.5 every 30st")
    assert explain(plan, "torch", 90).difference == 0.0
    module = sys.modules["dwindle.foreign.explain"]
    monkeypatch.setattr(
        module, "carry", lambda *_, **__: foreign.write(dw.parse("peak 0.1 | step by 0.5 every 31st"), "torch")
    )
    assert explain(plan, "torch", 90).difference == pytest.approx(1.0)
    monkeypatch.setattr(module, "carry", lambda *_, **__: "import torch\nx = torch.relu(y)\n")
    told = explain(plan, "torch", 90)
    assert told.difference is None
    assert "not read back" in dict(told.rates)["read back"]


@pytest.mark.parametrize("peer", WRITERS)
@pytest.mark.parametrize("text", PLANS)
def test_an_explanation_fits_in_the_terminal(text: str, peer: str) -> None:
    told = explain(dw.parse(text), peer, 100, "torch")
    assert max(map(len, str(told).splitlines())) <= 78
    assert told.difference is not None
    assert told.difference <= 1e-12


def test_a_rule_has_no_curve() -> None:
    with pytest.raises(InvalidValueError, match="Plateau answers a metric"):
        explain(foreign.read("torch:ReduceLROnPlateau() lr=0.1"), "torch")  # type: ignore[arg-type]


def test_a_rule_is_written_though_it_cannot_be_explained(convert: Any) -> None:
    words = ["torch:ReduceLROnPlateau() lr=0.1", "--to", "optax"]
    told, plain = convert(*words, "--explain"), convert(*words)
    assert (told.code, told.out) == (0, plain.out)
    assert told.err == "Plateau answers a metric as it comes, and so has no curve to explain.\n"
    assert "explanation" not in json.loads(convert(*words, "--explain", "--json").out)


# --- the command ---------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*words: str, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(["convert", *words])
        said = capsys.readouterr()
        return Answer(int(left.value.code or 0), said.out, said.err)

    return run


PLAN = "peak 3e-4 | warmup 20st, cosine to 10% over 80st | decoupled 0.1"


def test_every_form_of_a_recipe_is_read(convert: Any, tmp_path: Path) -> None:
    plan = dw.parse(PLAN)
    files = {
        "plan.toml": dw_text("toml", plan), "plan.json": dw_text("json", plan), "plan.txt": PLAN,
        "train.py": foreign.write(plan, "torch", 100),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        for answer in (convert(str(tmp_path / name), "--to", "plan"), convert("-", "--to", "plan", stdin=text)):
            assert answer.code == 0, answer.err
            got = dw.parse(answer.out.strip())
            np.testing.assert_allclose(got.lrs(100), plan.lrs(100), rtol=1e-12)
            assert got.decay == plan.decay
    (tmp_path / "args.json").write_text(saved(num_train_epochs=2))
    for options in (["--steps", "20"], ["--steps-per-epoch", "10"], ["--epochs", "4", "--steps-per-epoch", "5"]):
        answer = convert(str(tmp_path / "args.json"), "--to", "plan", *options)
        assert answer.out.strip() == "peak 5e-5 | linear to 0% over 20st"


def dw_text(form: str, plan: Plan) -> str:
    from dwindle.text import to_json, to_toml

    return to_toml(plan) if form == "toml" else to_json(plan)


@pytest.mark.parametrize("target", [*WRITERS, "plan", "toml", "json"])
def test_every_target_is_written_and_what_was_said_above_it_still_reads(target: str, convert: Any) -> None:
    plain = convert(PLAN, "--to", target, "--steps", "100")
    told = convert(PLAN, "--to", target, "--steps", "100", "--explain")
    assert plain.code == told.code == 0, plain.err + told.err
    assert plain.err == ""
    assert told.out.endswith(plain.out)
    said = (told.out if target not in ("plan", "json") else told.err).removesuffix(plain.out)
    assert "first decayed" in said
    assert max(map(len, said.splitlines())) <= 80
    again = convert("-", "--to", "plan", "--steps", "100", stdin=told.out)
    np.testing.assert_allclose(dw.parse(again.out.strip()).lrs(100), dw.parse(PLAN).lrs(100), rtol=1e-12)


def test_json_holds_everything(convert: Any) -> None:
    answer = json.loads(
        convert("torch:StepLR(30) lr=0.1", "--to", "textbook", "--steps", "90", "--json", "--explain").out
    )
    assert (answer["plan"], answer["from"], answer["to"]) == ("peak 0.1 | step by 0.1 every 30st", "torch", "textbook")
    assert answer["explanation"]["difference"] == 0.0
    assert foreign.read(answer["source"]).lrs(90).tolist() == pytest.approx(dw.parse(answer["plan"]).lrs(90).tolist())


def test_out_writes_the_source_and_prints_the_rest(convert: Any, tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    answer = convert(PLAN, "--to", "torch", "--out", str(file), "--explain", "--steps", "100")
    assert file.read_text() == foreign.write(dw.parse(PLAN), "torch", 100)
    assert str(file) in answer.out
    assert "weight decay" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["peak 1 | cosin", "--to", "torch"], "cosin"),
        (["torch:StpLR(3) lr=1", "--to", "optax"], "did you mean 'StepLR'"),
        (["torch:StepLR(3) lr=1", "--to", "plam"], "did you mean 'plan'"),
        (["torch:StepLR(3) lr=1", "--to", "torch", "--optimizer", "AdamWW"], "did you mean 'AdamW'"),
        (["absent.py", "--to", "torch"], "absent.py: cannot be read"),
        (["hello", "--to", "torch"], "is no recipe"),
        (["-", "--to", "torch"], "a recipe is text"),
        (["textbook:halve(5) lr=0.5", "--to", "torch"], "add --steps N, or --epochs E with --steps-per-epoch K"),
        (["textbook:halve(5) lr=0.5", "--to", "torch", "--steps", "9"], "add --steps-per-epoch K"),
        (["textbook:halve(5) lr=0.5", "--to", "torch", "--steps-per-epoch", "9"], "how long is the run"),
        (["textbook:halve(5) lr=0.5", "--to", "torch", "--epochs", "9"], "add --steps-per-epoch K, or --examples N"),
        (["peak 0.1 | constant | l2 0.1", "--to", "sklearn", "--optimizer", "MLPRegressor"], "add --batch-size M"),
        (["torch:ReduceLROnPlateau() lr=1", "--to", "toml"], "Plateau answers a metric and is no plan"),
        (["peak 0.1 | cosine | layer-decay 0.5", "--to", "sklearn", "--steps", "9"], "one learning rate"),
        (["peak 0.1 | cosine", "--to", "plan", "--steps", "9", "--out", "/proc/none/there"], "/proc/none"),
        (["peak 0.1 | cosine"], "--to"),
        (["torch:StepLR(3) lr=1", "--to", "torch", "--steps", "0"], "--steps must be at least 1; got 0"),
        (["torch:StepLR(3) lr=1", "--to", "torch", "--steps", "9" * 23], "at most 10^18 steps; got about 10^22"),
        (["torch:StepLR(3) lr=1", "--to", "torch", "--epochs", "1e300", "--steps-per-epoch", "10"], "about 10^301"),
        (["hf:TrainingArguments(warmup_ratio=0.1)", "--to", "torch"], "add --steps N"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str, convert: Any) -> None:
    answer = convert(*words)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert answer.out == ""


def test_in_a_terminal_of_80_columns() -> None:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "dwindle", "convert", "--help"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
    assert max(map(len, out.stdout.splitlines())) <= 80
    assert "--steps-per-epoch" in out.stdout
