"""``dwindle check``: it knows what it is given, says what is wrong in 80 columns, and leaves with 0, 1 or 2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dwindle.cli import main
from dwindle.findings import of_config
from dwindle.report.cells import cells
from hostile import FILE_NAMES, controls

yaml = pytest.importorskip("yaml")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["check", *words])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def codes(out: str) -> list[str]:
    return [f["code"] for f in json.loads(out)["findings"] if f["severity"] != "note"]


def test_a_healthy_plan(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1", "--steps", "1000")
    assert code == 0
    assert "nothing found" in out
    assert "looked at" in out


def test_a_plan_that_ends_early(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "peak 0.1 | cosine to 0 over 500st | l2 1e-4", "--steps", "1000")
    assert code == 1
    assert "FAULT schedule-short" in out
    assert "plan      schedule: cosine to 0% over 500st -> cosine to 0%" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_low_precision_and_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    plan = "peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1"
    assert codes(run(capsys, plan, "--steps", "1000", "--dtype", "bf16", "--json")[1]) == ["decay-rounds-away"]
    found = codes(
        run(capsys, "torch:Adam(lr=1e-3, weight_decay=1e-4) CosineAnnealingLR(500)", "--steps", "1000", "--json")[1]
    )
    assert {"adam-l2", "lr-rise", "decay-on-bias"} <= set(found)


@pytest.mark.parametrize(
    "words",
    [
        ("no.csv",),
        ("peak",),
        ("peak 1e-3 | wrong",),
        ("module_that_is_not:f",),
        ("peak 1 | constant", "--steps", "0"),
        ("x | y", "--dtype", "int4"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


FUNCTION = """
import torch
def build():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
def more():
    model, optimizer, scheduler = build()
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "horizon": 500}
def nothing():
    return 3
"""


def test_a_function(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path / "own_doctor_case.py", FUNCTION)
    code, out, _ = run(capsys, f"{file}:build", "--steps", "1000", "--json")
    assert code == 1
    assert set(codes(out)) == {"decay-on-bias", "decay-on-norm", "schedule-short", "lr-rise"}
    assert set(codes(run(capsys, f"{file}:more", "--json")[1])) == {"decay-on-bias", "decay-on-norm"}
    code, _, err = run(capsys, f"{file}:nothing")
    assert code == 2
    assert "must return" in err


def test_training_arguments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    healthy = {
        "output_dir": "x",
        "learning_rate": 5e-5,
        "weight_decay": 0.01,
        "max_steps": 1000,
        "num_train_epochs": 3.0,
    }
    file = written(tmp_path / "training_args.json", json.dumps(healthy))
    assert run(capsys, file)[0] == 0
    file = written(tmp_path / "args.json", json.dumps({**healthy, "warmup_steps": 900}))
    code, out, _ = run(capsys, file, "--json")
    assert codes(out) == ["warmup-long"]
    assert code == 1


CLI = """
fit:
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1e-3, weight_decay: 1e-4}}
  lr_scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 1000}}
  trainer: {max_epochs: 10, accumulate_grad_batches: 2, precision: bf16-mixed}
"""
TIMM = (
    "{opt: sgd, lr: 0.1, weight_decay: 1.0e-4, sched: cosine, epochs: 100, warmup_epochs: %d, min_lr: 0, warmup_lr: 1.0e-5, "
    "model: resnet50}"
)


def test_yaml(tmp_path: Path) -> None:
    found = {
        f.code for f in of_config(written(tmp_path / "config.yaml", CLI), steps_per_epoch=100) if f.severity != "note"
    }
    assert {"adam-l2", "decay-on-bias", "decay-on-norm", "schedule-long", "wrong-stepping"} <= found
    assert [
        f for f in of_config(written(tmp_path / "args.yaml", TIMM % 5), steps_per_epoch=5000) if f.severity != "note"
    ] == []
    assert "warmup-long" in {f.code for f in of_config(written(tmp_path / "args2.yaml", TIMM % 70))}
    plain = (
        "lr: 1e-3\nweight_decay: 1e-4\noptimizer: Adam\nmax_epochs: 100\nT_max: 50\nbetas: !!python/tuple [0.9, 0.99]\n"
    )
    assert {"adam-l2", "schedule-short"} <= {f.code for f in of_config(written(tmp_path / "hparams.yaml", plain))}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nlr: 0.1\n",
        "[" * 100_000,
        "lr: " + "{a: " * 200 + "1" + "}" * 200,
        "x" * 2_000_000,
        "- 1\n- 2\n",
        "nothing: known\n",
        "lr: [",
    ],
)
def test_a_hostile_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    code, _, err = run(capsys, written(tmp_path / "h.yaml", text))
    assert code == 2
    assert err.count("\n") == 1


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = f"lr: 0.1\nx: !!python/object/apply:os.system ['touch {mark}']\ny: !custom 3\n"
    of_config(written(tmp_path / "hparams.yaml", text))
    assert not mark.exists()


def test_what_would_steer_a_terminal_is_shown_inert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "own_doctor_names.py"
    written(
        file,
        FUNCTION.replace("torch.nn.Linear(3, 4)", "torch.nn.Linear(3, 4)").replace(
            "    optimizer = torch",
            "    model.register_parameter('\\x1b[31mred\\u202e', torch.nn.Parameter(torch.ones(3)))\n    optimizer = torch",
            1,
        ),
    )
    _, out, _ = run(capsys, f"{file}:build")
    assert "red" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


PROGRAM = """
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR
model = build()%s
optimizer = torch.optim.%s
scheduler = CosineAnnealingLR(optimizer, T_max=%d)
for epoch in range(90):
    for x, y in loader:
        loss(model(x), y).backward()
        optimizer.step()
    scheduler.step()
"""
TWO = (
    "AdamW([{'params': [p for p in model.parameters() if p.ndim >= 2], 'weight_decay': 0.1}, "
    "{'params': [p for p in model.parameters() if p.ndim < 2], 'weight_decay': 0.0}], lr=1e-3)"
)


@pytest.mark.parametrize(
    ("cast", "optimizer", "length", "wanted"),
    [
        ("", TWO, 90, set()),
        ("", TWO, 30, {"schedule-short", "lr-rise"}),
        ("", TWO, 300, {"schedule-long"}),
        (".to(torch.bfloat16)", TWO, 90, {"decay-rounds-away"}),
        ("", "SGD(model.parameters(), lr=0.1, momentum=0.9)", 90, set()),
        ("", "Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)", 90, {"adam-l2", "decay-on-bias", "decay-on-norm"}),
    ],
)
def test_a_training_script_is_read_and_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cast: str, optimizer: str, length: int, wanted: set[str]
) -> None:
    file = written(tmp_path / "train.py", PROGRAM % (cast, optimizer, length))
    assert {f.code for f in of_config(file) if f.severity != "note"} == wanted
    assert set(codes(run(capsys, file, "--steps", "90000", "--json")[1])) == wanted  # the same by the command


IN_A_FUNCTION = """
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR
def train(model, loader, optimizer):
    for x, y in loader:
        loss(model(x), y).backward()
        optimizer.step()
optimizer = torch.optim.%s
scheduler = CosineAnnealingLR(optimizer, T_max=30)
for epoch in range(1, 90 + 1):
    train(model, loader, optimizer)
    scheduler.step()
"""


def test_a_scheduler_that_counts_epochs_is_seen_and_its_set_up_says_nothing_of_decay(tmp_path: Path) -> None:
    decayed = "AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)"
    for text in (PROGRAM % ("", decayed, 30), IN_A_FUNCTION % decayed):
        codes_found = {f.code for f in of_config(written(tmp_path / "train.py", text))}
        assert codes_found == {"decay-on-bias", "decay-on-norm", "schedule-short", "lr-rise"}
    bare = of_config(written(tmp_path / "bare.py", PROGRAM % ("", "SGD(model.parameters(), lr=0.1)", 90)))
    assert [f.code for f in bare] == ["no-decay"]


def test_a_script_whose_schedule_cannot_be_read_is_judged_by_its_optimiser(tmp_path: Path) -> None:
    text = (PROGRAM % ("", "Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)", 90)).replace(
        "T_max=90", "T_max=unknown()"
    )
    assert "adam-l2" in {f.code for f in of_config(written(tmp_path / "train.py", text))}


def test_the_defaults_of_a_command_line_are_taken(tmp_path: Path) -> None:
    text = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--wd", "--weight-decay", dest="wd", type=float, default=1e-2)
parser.add_argument("--epochs", type=int, default=90)
args = parser.parse_args()
""" + (PROGRAM % ("", "Adam(model.parameters(), lr=args.lr, weight_decay=args.wd)", 30)).replace("90", "args.epochs")
    found = {f.code for f in of_config(written(tmp_path / "train.py", text)) if f.severity != "note"}
    assert {"adam-l2", "schedule-short"} <= found


def test_a_configuration_in_python(tmp_path: Path) -> None:
    text = "learning_rate = 6e-4\nmax_iters = 1000\nlr_decay_iters = %d\nwarmup_iters = 20\nweight_decay = 1e-1\n"

    def found(length: int) -> set[str]:
        return {f.code for f in of_config(written(tmp_path / "train_gpt.py", text % length)) if f.severity != "note"}

    assert found(1000) == set()
    assert found(300) == {"schedule-short"}
    assert found(3000) == {"schedule-long"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "plan.toml",
            'format = "dwindle-plan/1"\npeak = 3e-4\nschedule = "cosine to 0 over 50st"\ndecay = "decoupled 0.1"\n',
        ),
        ("plan.json", '{"format": "dwindle-plan/1", "peak": 3e-4, "schedule": "cosine to 0 over 50st"}'),
    ],
)
def test_a_plan_in_a_file_is_read_as_a_config(tmp_path: Path, name: str, text: str) -> None:
    file = written(tmp_path / name, text)
    assert [f.code for f in of_config(file, steps=100) if f.severity != "note"] == ["schedule-short"]
    assert [f.code for f in of_config(file) if f.severity != "note"] == []


def test_types_of_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    usual = {"output_dir": "x", "learning_rate": 1e-4, "weight_decay": 0.1, "max_steps": 1000, "warmup_steps": 20}

    def found(**more: object) -> set[str]:
        file = written(tmp_path / "args.json", json.dumps({**usual, **more}))
        return {f.code for f in of_config(file) if f.severity != "note"}

    assert found(bf16=True) == found(fp16=True) == set()  # autocast: the weights are float32
    assert found(learning_rate=1e-6, weight_decay=1e-3) == {"decay-rounds-away"}
    assert found(bf16=True, torch_dtype="bfloat16") == {"decay-rounds-away"}
    assert found(bf16=True, torch_dtype="bfloat16", use_peft=True) == set()  # adapters are float32


@pytest.mark.parametrize("name", ["\u8a13" * 60, "two\nlines", "wide \u8a13" * 12])
def test_a_wide_column_keeps_its_table_in_80_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    rows = "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(20))
    file = written(tmp_path / f"{name[:60].replace(chr(10), '')}.csv", f'"{name}",b,y\n{rows}')
    with pytest.raises(SystemExit) as left:
        main(["path", file])
    out = capsys.readouterr().out
    assert left.value.code in (0, None)
    assert all(cells(line) <= 80 for line in out.splitlines())
    assert sum(line.startswith(name[:3]) for line in out.splitlines()) >= 1


@pytest.mark.parametrize("name", sorted(set(FILE_NAMES) - {"long", "long words"}))
def test_a_hostile_name_reaches_the_terminal_inert(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    text = FILE_NAMES[name]
    table = tmp_path / f"{text}.csv"
    table.write_bytes(
        f"{text.replace(chr(10), ' ').replace(chr(13), ' ').replace(',', ' ')},b,y\n".encode("utf-8", "replace")
    )
    with table.open("a") as file:
        file.writelines(f"{i},{i * i % 7},{i % 5}\n" for i in range(20))
    plan = tmp_path / f"{text}.toml"
    plan.write_text('format = "dwindle-plan/1"\npeak = 3e-4\nschedule = "cosine to 0"\n')
    told = ("explain", "peak 1e-3 | cosine to 0", "--step", "1", "--shape", "4", "--param")
    for words in (
        ("check", str(plan)), ("check", str(table)), ("check", text), ("path", str(table)), ("path", str(plan)),
        ("explain", str(plan), "--step", "1"), (*told, text), ("explain", text, "--step", "1"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            main(list(words))
        out, err = capsys.readouterr()
        assert left.value.code in (0, 1, 2, None), words
        assert controls(out + err) == [], words
        assert "Traceback" not in err
        assert all(cells(line) <= 80 for line in out.splitlines()), words


def test_of_an_optimiser_that_is_not_known_the_rates_are_looked_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = {
        "output_dir": "out", "learning_rate": 2e-5, "weight_decay": 0.01, "optim": "rmsprop", "lr_scheduler_type": "linear",
        "warmup_steps": 900, "max_steps": 1000,
    }  # fmt: skip
    file = written(tmp_path / "training_args.json", json.dumps(given))
    said = json.loads(run(capsys, file, "--json")[1])
    assert [f["code"] for f in said["findings"]] == ["warmup-long"]
    assert not {"optim", "weight_decay"} & set(said["looked_at"])
    assert said["not_looked_at"][0].startswith(
        "what decays: optim of transformers' TrainingArguments 'rmsprop' is not known;"
    )


def test_a_schedule_that_is_not_known_is_not_said_to_be_constant() -> None:
    from dwindle.findings.setups.wording import plan_change
    from dwindle.plan import Plan
    from dwindle.setup import setup_of_plan

    setup = setup_of_plan(Plan(0.1))
    assert plan_change(setup, "schedule", "linear") == {"schedule": ("", "linear")}
    assert plan_change(replace(setup, schedule_known=True), "schedule", "linear") == {
        "schedule": ("constant", "linear")
    }


def test_too_few_validation_losses_are_said_to_be_too_few(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [f"{s},{2.0 + s**-0.5:.4f},{'2.5' if s % 300 == 0 else ''}" for s in range(10, 1001, 10)]
    log = written(tmp_path / "run.csv", "step,train_loss,val_loss\n" + "\n".join(rows) + "\n")
    said = "overfitting: the log has 3 of the 5 validation losses that it takes"
    assert said in json.loads(run(capsys, str(log), "--json")[1])["not_looked_at"]
