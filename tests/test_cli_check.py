"""``dwindle check``: it knows what it is given, says what is wrong in 80 columns, and leaves with 0, 1 or 2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import dwindle as dw
from dwindle.cli import main
from dwindle.errors import DwindleError, ParseError
from dwindle.findings import of_config, of_plan
from dwindle.findings.configs import read_config
from dwindle.findings.configs.families import decays_apart, is_adaptive
from dwindle.findings.recognised import kind_of
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


def test_a_file_that_is_no_recipe_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, text, wanted in (("mine.py", "import foo\nfoo.train(3)\n", "foo is not one of the peers, torch, optax, keras"),
                               ("other.py", "print(3)\n", "no scheduler and no optimiser of torch, optax, keras"),
                               ("note.txt", "hello\n", "is no recipe; write for instance")):  # fmt: skip
        (tmp_path / name).write_text(text)
        code, out, err = run(capsys, str(tmp_path / name))
        assert (code, out) == (2, "")
        assert f"{tmp_path / name}: " in err
        assert wanted in err


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


@pytest.mark.parametrize("own", ["1000", "__import__('dwindle').Horizon(epochs=20, steps_per_epoch=50)"])
def test_what_an_epoch_is_worth_is_taken_beside_the_horizon_of_a_function(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, own: str
) -> None:
    text = FUNCTION.replace("optimizer, 500", "optimizer, 10").replace('"horizon": 500', f'"horizon": {own}')
    file = written(tmp_path / f"own_doctor_epochs_{len(own)}.py", text)
    if own == "1000":
        assert "schedule-short" in codes(run(capsys, f"{file}:more", "--json")[1])
    said = json.loads(run(capsys, f"{file}:more", "--steps-per-epoch", "100", "--json")[1])
    assert [f["code"] for f in said["findings"] if f["code"] not in ("decay-on-bias", "decay-on-norm")] == [
        "wrong-stepping"
    ]
    assert "1,000 steps" in said["looked_at"]
    longer = json.loads(run(capsys, f"{file}:more", "--steps", "2000", "--json")[1])
    assert "2,000 steps" in longer["looked_at"]


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


GROUPS = {
    "params.append({'params': [p], 'weight_decay': 0.0})": "the param groups of AdamW are made piece by piece (line 6)",
    "optimizer.add_param_group({'params': p, 'weight_decay': 0.0})": "adds parameters with an lr or weight_decay of their own",
    "for g in optimizer.param_groups: g['weight_decay'] = f(p)": "changes the decay as the run goes (line 5)",
    "for g in optimizer.param_groups: g.update(lr=f(p), weight_decay=f(p))": "changes the learning rate by hand (line 5)",
    "pass\nif p is None: decay = 0.0": "decay is assigned in an if (line 6)",
}


@pytest.mark.parametrize("line", GROUPS)
@pytest.mark.parametrize("length", ["90", "unknown()", None])
def test_what_is_no_schedule_is_not_left_out_with_it(tmp_path: Path, line: str, length: str | None) -> None:
    groups = "params" if "append" in line else "model.parameters()"
    decay = "decay" if "decay =" in line else "0.1"
    text = (
        f"import torch\nparams = []\nfor p in model.parameters():\n    x = 1\n    {line}\n"
        f"optimizer = torch.optim.AdamW({groups}, lr=1e-3, weight_decay={decay})\n"
    )
    text += f"scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, {length})\n" if length else ""
    with pytest.raises(DwindleError) as raised:
        read_config(written(tmp_path / "train.py", text))
    assert GROUPS[line] in str(raised.value) or (length == "unknown()" and "unknown()" in str(raised.value))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("for g in optimizer.param_groups: g['lr'] *= 0.5", "changes the learning rate by hand"),
        ("print(get_lr(optimizer))", "get_lr takes the optimiser and is not known"),
        ("adjust_learning_rate(optimizer, epoch)", "adjust_learning_rate takes the optimiser and is not known"),
    ],
)
def test_what_is_done_with_rates_beside_a_schedule_is_left_out_with_it(tmp_path: Path, line: str, why: str) -> None:
    text = (PROGRAM % ("", "Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)", 90)) + f"    {line}\n"
    config = read_config(written(tmp_path / "train.py", text))
    assert config.looked == ("the optimiser",)
    assert why in config.unread[0]
    assert "adam-l2" in {f.code for f in config.findings()}


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


OPTIONS = """
import argparse, torch
parser = argparse.ArgumentParser()
parser.add_argument("--lr", default=0.1, type=float)
parser.add_argument("--epochs", default=90, type=int)
parser.add_argument("--start_epoch", default=0, type=int)
args = parser.parse_args()
args.start_epoch = checkpoint["epoch"] + 1
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, %s)
for epoch in range(args.start_epoch, args.epochs):
    for x, y in loader:
        optimizer.step()
    scheduler.step()
"""


def test_an_option_that_is_assigned_has_not_its_default(tmp_path: Path) -> None:
    config = read_config(written(tmp_path / "train.py", OPTIONS % 90))
    assert config.unread[0] == "what its command line says: the defaults are taken (lr=0.1, epochs=90)"
    assert [f.code for f in config.findings()] == ["no-decay"]
    short = read_config(written(tmp_path / "short.py", OPTIONS % 30)).findings()
    assert {f.code for f in short} == {"no-decay", "schedule-short", "lr-rise"}
    scaled = written(tmp_path / "scaled.py", (OPTIONS % 90).replace("args.start_epoch =", "args.lr *= 2 +"))
    with pytest.raises(DwindleError, match=r"args\.lr"):
        read_config(scaled)


@pytest.mark.parametrize(
    ("line", "options", "lr"),
    [
        ("args.lr = 0.2", "epochs=90", 0.2),
        ("args.lr = 0.2; rate = args.lr", "epochs=90", 0.2),
        ("args.lr = args.lr * args.batch_size / 256", "lr=0.1, batch_size=512, epochs=90", 0.2),
        ("args.epochs = 30", "lr=0.1", 0.1),
        ("args.device = 'cuda'; print(f'{args.lr} \u00e9')", "lr=0.1, epochs=90", 0.1),
    ],
)
def test_an_option_that_is_assigned_once_is_what_it_is_assigned(
    tmp_path: Path, line: str, options: str, lr: float
) -> None:
    text = OPTIONS.replace('args.start_epoch = checkpoint["epoch"] + 1', line).replace(
        "args = ", 'parser.add_argument("--batch-size", default=512)\nargs = '
    )
    text = (text % 30).replace("range(args.start_epoch, ", "range(")
    if "rate" in line:
        text = text.replace("(), lr=args.lr", "(), lr=rate")
    config = read_config(written(tmp_path / "train.py", text))
    assert config.unread[0] == f"what its command line says: the defaults are taken ({options})"
    assert config.setups[0].groups[0].lr == lr
    short = {f.code for f in config.findings()} - {"no-decay"}
    assert short == (set() if "epochs = 30" in line else {"schedule-short", "lr-rise"})


@pytest.mark.parametrize(
    "line", ["if args.lr is None:\n    args.lr = 0.1", "args.lr = 0.2\nargs.lr = 0.1", "args.lr = args.lr * world_size"]
)
def test_an_option_whose_value_cannot_be_told_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    text = (OPTIONS % 90).replace('args.start_epoch = checkpoint["epoch"] + 1', line)
    at = next(n for n, each in enumerate(text.splitlines(), 1) if ("SGD" if "world" not in line else "world") in each)
    with pytest.raises(ParseError, match=rf"\(line {at}\)"):
        read_config(written(tmp_path / "train.py", text))


SCALED = """
import argparse, torch
parser = argparse.ArgumentParser()
parser.add_argument("--lr", default=1e-3)
parser.add_argument("--scale-lr", action="store_true")
%s
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
"""
SCALE = "def scale(args):\n    args.lr = args.lr * 8\n"


@pytest.mark.parametrize(
    "lines",
    [
        f"{SCALE}args = parser.parse_args()\nif args.scale_lr:\n    scale(args)",
        f"args = parser.parse_args()\n{SCALE}",
        f"args = parser.parse_args()\nclass Warm:\n    {SCALE}".replace("\n    args.lr =", "\n        args.lr ="),
        f"def get():\n    args = parser.parse_args()\n    return args\n{SCALE}",
        "args = parser.parse_args()\nsetattr(args, 'lr', 1.0)",
        "args = parser.parse_args()\nargs.lr = 1.0\nvars(args)['lr'] = 2.0",
        "args = parser.parse_args()\nvars(args).update(lr=1.0)",
        "args = parser.parse_args()\nargs.__dict__.update(json.load(file))",
        "args = parser.parse_args()\nfor k, v in read().items():\n    setattr(args, k, v)",
    ],
)
def test_an_option_that_may_be_set_elsewhere_has_no_value(tmp_path: Path, lines: str) -> None:
    with pytest.raises(ParseError, match=r"^'args\.lr' is not a number"):
        read_config(written(tmp_path / "train.py", SCALED % lines))


@pytest.mark.parametrize(
    "lines",
    [
        "if args.config:\n    vars(args).update(json.load(file))",
        "vars(args).update(epochs=3)\nsetattr(args, 'seed', 3)",
        "wandb.init(config=vars(args))\nconfig.update(args.__dict__)\nsetattr(model, name, args.lr)",
    ],
)
def test_what_is_set_elsewhere_is_no_matter_for_other_options(tmp_path: Path, lines: str) -> None:
    config = read_config(written(tmp_path / "train.py", SCALED % f"args = parser.parse_args()\n{lines}"))
    assert config.unread[0] == "what its command line says: the defaults are taken (lr=0.001)"


@pytest.mark.parametrize(
    "lines",
    [
        "args = parser.parse_args()\nargs.lr = args.lr * 8",
        "def get():\n    args = parser.parse_args()\n    args.lr = args.lr * 8\n    return args\nargs = get()",
        "def parse_args():\n    args = parser.parse_args()\n    args.lr = args.lr * 8\n    return args\nargs = parse_args()",
        "def main(args):\n    args.lr = args.lr * 8\n    lr = args.lr\n    return AdamW(lr)\nargs = parser.parse_args()\n",
    ],
)
def test_an_option_that_is_assigned_before_in_a_function_around_has_that_value(tmp_path: Path, lines: str) -> None:
    text = SCALED % lines
    if "main" in lines:
        text = text[: text.index("optimizer =")].replace("AdamW(lr)", "torch.optim.AdamW(model.parameters(), lr=lr)")
    config = read_config(written(tmp_path / "train.py", text))
    assert config.setups[0].groups[0].lr == 8e-3
    assert config.unread[0] == "what its command line says: the defaults are taken (lr=0.001)"


LOOPS = {
    "for": "for epoch in range(%d):",
    "goes on": "for epoch in range(start, start + %d):",
    "of an option": "for epoch in range(args.start, %d):",
    "while": "epoch = 0\nwhile epoch < %d:",
    "unknown": "for epoch in range(start, args.epochs):  # %d",
}
BODIES = {
    "one name": "    for x, y in loader:\n        opt.step()\n    lr_decay.step()\n",
    "elsewhere": "    train_one_epoch(model, loader, opt, epoch)\n    lr_decay.step()\n",
    "by name": "    train_one_epoch(model, loader, optimizer=opt)\n    lr_decay.step()\n",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("length", [90, 30])
def test_a_loop_over_epochs_is_seen(tmp_path: Path, loop: str, body: str, length: int) -> None:
    text = (
        "import torch\nfrom engine import train_one_epoch\n"
        "opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        f"lr_decay = torch.optim.lr_scheduler.CosineAnnealingLR(opt, {length})\n"
    ) + f"{LOOPS[loop] % 90}\n{BODIES[body]}"
    found = of_config(written(tmp_path / "train.py", text), steps=9000, steps_per_epoch=100)
    wanted = set() if length == 90 else {"schedule-short", "lr-rise"}
    assert {f.code for f in found if f.severity != "note"} == wanted
    assert all("epoch 30 of 90" in f.verdict for f in found if f.severity != "note")


def test_a_loop_over_updates_that_hands_its_optimiser_on_is_none_over_epochs(tmp_path: Path) -> None:
    text = """
import torch
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.ndim > 1], lr=1e-3, weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
for step in range(1000):
    train_step(model, next(batches), optimizer)
    scheduler.step()
"""
    config = read_config(written(tmp_path / "train.py", text), steps=1000)
    assert "1,000 steps" in config.looked
    assert {f.code for f in config.findings() if f.severity != "note"} == {"decay-on-bias", "decay-on-norm"}


@pytest.mark.parametrize(
    "loop",
    [
        "while step < steps_per_epoch * 10:\n    step += 1\n    ",
        "for e in range(10):\n    for epoch_step, batch in enumerate(loader):\n        ",
        "for e in range(10):\n    for step_in_epoch in range(100):\n        ",
        "while epoch_step < 100:\n    ",
        "for i in range(epochs * 100):\n    ",
        "for i in range(steps_per_epoch):\n    ",
        "for i in range(len_epoch):\n    ",
    ],
)
def test_a_loop_over_the_updates_of_an_epoch_is_none_over_epochs(tmp_path: Path, loop: str) -> None:
    text = (
        "import torch\nopt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        "sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1000)\n"
        f"{loop}train_step(model, opt, batch); sched.step()\n"
    )
    found = read_config(written(tmp_path / "train.py", text), steps=1000, steps_per_epoch=100)
    assert "1,000 steps" in found.looked
    assert [f.code for f in found.findings()] == ["no-decay"]


@pytest.mark.parametrize(
    "loop",
    [
        "for current_epoch in range(90):", "while self.epoch < 90:", "for epochIdx in range(90):",
        "for epoch_counter in range(90):", "for epoch_count in range(90):", "for e in range(num_epochs):",
        "EPOCHS = 90\nfor t in range(EPOCHS):", "for _ in tqdm(range(start, start + cfg['epochs'])):",
        "p.add_argument('--epochs', default=90)\nargs = p.parse_args()\nfor t in range(args.epochs):",
    ],
)  # fmt: skip
def test_a_loop_over_epochs_is_seen_by_what_it_counts(tmp_path: Path, loop: str) -> None:
    text = (
        "import torch\nopt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        "sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 30)\n"
        f"{loop}\n    train(model, opt, loader)\n    sched.step()\n"
    )
    config = read_config(written(tmp_path / "train.py", text), steps=9000, steps_per_epoch=100)
    assert config.looked[-1] == "the schedule over 90 epochs, at whose end it is stepped"
    assert {f.code for f in config.findings() if f.severity != "note"} == {"schedule-short", "lr-rise"}


@pytest.mark.parametrize(
    "text",
    [
        "torch: SGD(lr=0.1, momentum=0.9) CosineAnnealingLR(200)",
        "torch: SGD(lr=0.1, momentum=0.9) LinearLR(1.0, 0.0, 200)",
        "import torch\nopt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        "sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 200)\n",
    ],
)
def test_what_may_count_epochs_is_a_note_as_it_is_of_live_objects(tmp_path: Path, text: str) -> None:
    found = read_config(written(tmp_path / "recipe.txt", text), steps=78_200, steps_per_epoch=391).findings()
    assert [(f.code, f.severity) for f in found if f.code != "no-decay"] == [("wrong-stepping", "note")]
    assert "that is right if it is stepped once an epoch" in next(
        f.verdict for f in found if f.code == "wrong-stepping"
    )
    by_updates = read_config(written(tmp_path / "recipe.txt", text), steps=200).findings()
    assert [f.code for f in by_updates] == ["no-decay"]


def test_a_function_of_the_epoch_that_ends_with_the_run_is_looked_at_over_epochs(tmp_path: Path) -> None:
    text = "torch: SGD(lr=0.1) LambdaLR(lambda e: 1 - e / 100)"
    config = read_config(written(tmp_path / "recipe.txt", text), steps=10_000, steps_per_epoch=100)
    assert [f.code for f in config.findings()] == ["no-decay"]
    assert config.looked[-1] == "the schedule over 100 epochs, at whose end it is stepped"


def test_a_scheduler_of_transformers_that_is_stepped_once_an_epoch(tmp_path: Path) -> None:
    text = """
import torch
from transformers import get_linear_schedule_with_warmup
optimizer = torch.optim.SGD(model.parameters(), lr=2e-5)
scheduler = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=100, num_training_steps=3000)
for epoch in range(3):
    for batch in loader:
        optimizer.step()
%s    scheduler.step()
"""
    found = of_config(written(tmp_path / "epochs.py", text % ""))
    assert {f.code for f in found} == {"no-decay", "warmup-long", "schedule-long"}
    assert any("the rate still rises when the run of 3 epochs ends" in f.verdict for f in found)
    assert [f.code for f in of_config(written(tmp_path / "steps.py", text % "    "), steps=3000)] == ["no-decay"]


def test_one_cycle_once_an_epoch_and_in_a_line(tmp_path: Path) -> None:
    text = """
import torch
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-4, epochs=30, steps_per_epoch=391)
for epoch in range(30):
    for x, y in loader:
        optimizer.step()
    scheduler.step()
"""
    long = [f for f in of_config(written(tmp_path / "train.py", text)) if f.code == "schedule-long"]
    assert "would end at epoch 11,730, and the run of 30 epochs cuts it off" in long[0].verdict
    line = written(tmp_path / "recipe.txt", "torch:SGD(lr=1e-3) OneCycleLR(1e-3, total_steps=1000)")
    assert [f.code for f in of_config(line, steps=2000)] == ["schedule-short", "no-decay"]
    assert [f.code for f in of_config(line, steps=1000)] == ["no-decay"]
    assert [f.code for f in of_config(line, steps=400)] == ["schedule-long", "warmup-long", "no-decay"]


def test_adapters_stay_in_float32(tmp_path: Path) -> None:
    text = """
import torch
from peft import get_peft_model, LoraConfig
model = AutoModelForCausalLM.from_pretrained("x", torch_dtype=torch.bfloat16)
%soptimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
"""
    adapters = "model = get_peft_model(model, LoraConfig(r=8))\n"
    for added, wanted in ((adapters, False), ("", True)):
        found = of_config(written(tmp_path / "train.py", text % added))
        assert ("decay-rounds-away" in {f.code for f in found}) is wanted


def test_optax_adds_the_decay_of_float32_weights_to_the_update(tmp_path: Path) -> None:
    line = written(tmp_path / "recipe.txt", "optax: adamw(1e-4, weight_decay=1e-4)")
    assert "decay-rounds-away" not in {f.code for f in of_config(line)}
    assert "decay-rounds-away" in {f.code for f in of_config(line, dtype="bfloat16")}
    torch = written(tmp_path / "torch.txt", "torch: AdamW(lr=1e-4, weight_decay=1e-4)")
    assert "decay-rounds-away" in {f.code for f in of_config(torch)}


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        *((name, True) for name in (
            "adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "paged_adamw_32bit", "galore_adamw_8bit", "adamw-torch",
            "AdamW8bit", "AdamWScheduleFree", "adamwlegacy", "decoupled_adamw", "FusedAdam", "DeepSpeedCPUAdam", "adamp", "SGDW",
        )),
        *((name, False) for name in ("Adam", "adam", "adam8bit", "RAdam", "adamax", "nadam", "RMSprop", "sgd")),
    ],
)  # fmt: skip
def test_how_an_optimiser_decays_is_told_by_its_name(tmp_path: Path, name: str, apart: bool) -> None:
    assert decays_apart(name) is apart
    given = f"optimizer: {name}\nlearning_rate: 0.0002\nweight_decay: 0.1\n"
    found = {f.code for f in of_config(written(tmp_path / "config.yaml", given))}
    assert ("adam-l2" in found) is (not apart and is_adaptive(name))


def test_a_rule_that_answers_a_metric_leaves_the_optimiser_to_look_at(tmp_path: Path) -> None:
    line = written(tmp_path / "recipe.txt", "torch:Adam(lr=1e-3, weight_decay=0.1) ReduceLROnPlateau(patience=3)")
    arguments = {
        "output_dir": "out", "learning_rate": 5e-5, "weight_decay": 0.1, "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"factor": 0.5, "patience": 2},
        "max_steps": 1000, "optim": "adamw_torch", "torch_dtype": "bfloat16",
    }  # fmt: skip
    for file, rule, code in (
        (line, "Plateau", "adam-l2"),
        (written(tmp_path / "args.json", json.dumps(arguments)), "reduce_lr_on_plateau", "decay-rounds-away"),
    ):
        config = read_config(file)
        assert f"what {rule} does: it answers a metric" in config.unread
        assert code in {f.code for f in config.findings()}


BUILT = "TrainingArguments('out', learning_rate=5e-5, weight_decay=0.1, max_steps=1000, %s)"
ANSWERS = "lr_scheduler_type='reduce_lr_on_plateau', lr_scheduler_kwargs={'factor': 0.5}"


@pytest.mark.parametrize(
    "line",
    [
        f"args = {BUILT % ANSWERS}",
        f"args: TrainingArguments = {BUILT % ANSWERS}",
        f"Trainer(model, {BUILT % ANSWERS}).train()",
        f"def arguments():\n    return {BUILT % ANSWERS}",
        f"kind = 'reduce_lr_on_plateau'\nargs = {BUILT % 'lr_scheduler_type=kind'}",
        f"more = dict({ANSWERS})\nargs = {BUILT % '**more'}",
    ],
)
def test_arguments_in_python_whose_rate_answers_a_metric_are_read(tmp_path: Path, line: str) -> None:
    text = f"from transformers import Trainer, TrainingArguments\n{line}\n"
    config = read_config(written(tmp_path / "train.py", text), dtype="bfloat16")
    assert config.looked == ("the optimiser",)
    assert config.unread[0].startswith("the schedule: reduce_lr_on_plateau answers a metric")
    assert "decay-rounds-away" in {f.code for f in config.findings()}


@pytest.mark.parametrize(
    "lines",
    [
        "rule = keras.callbacks.ReduceLROnPlateau(factor=0.2)\nmodel.fit(x, y, callbacks=[rule])",
        "model.fit(x, y, callbacks=[keras.callbacks.ReduceLROnPlateau(factor=0.2)])",
    ],
)
def test_an_optimiser_of_keras_beside_a_rule_that_answers_a_metric_is_looked_at(tmp_path: Path, lines: str) -> None:
    text = f"import keras\nmodel.compile(keras.optimizers.Adam(1e-3), loss='mse')\n{lines}\n"
    config = read_config(written(tmp_path / "train.py", text))
    assert config.looked == ("the optimiser",)
    assert config.unread[0] == "what Plateau does: it answers a metric"
    assert config.setups[0].groups[0].lr == 1e-3


TIMM_LOOP = """
import timm
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-4, weight_decay=0.05)
scheduler = CosineLRScheduler(optimizer, t_initial=%s)
for epoch in range(100):
    for batch in loader:
        optimizer.step()
        scheduler.step_update(num_updates=n)
    scheduler.step(epoch + 1)
"""


@pytest.mark.parametrize(
    ("length", "wanted"), [("100", []), ("30", ["schedule-short"]), ("100, t_in_epochs=False", ["schedule-short"])]
)
def test_a_scheduler_of_timm_counts_the_epochs_of_its_loop(tmp_path: Path, length: str, wanted: list[str]) -> None:
    config = read_config(written(tmp_path / "train.py", TIMM_LOOP % length), steps=9000)
    by_epochs = "the schedule over 100 epochs, at whose end it is stepped" in config.looked
    assert by_epochs is ("False" not in length)
    assert [f.code for f in config.findings() if f.severity != "note"] == wanted


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"betas": [0.9, 0.999], "milestones": [30, 60]}, "config"),
        ({"loss": [1.0, 0.5], "epochs": 10}, "config"),
        ({"loss": [3.0, 2.0, 1.5, 1.2, 1.1], "epochs": 5}, "log"),
        ({"history": {"loss": [3.0, 2.0, 1.5], "val_loss": [3.0, 2.5, 2.4]}}, "log"),
        ({"lr": [0.1, 0.01], "loss": [3.0, 2.0]}, "log"),
        ({"loss": [1.0, 0.5], "milestones": [30, 60]}, "config"),
        ({"loss": [1.0, 0.5], "val_loss": [1.0]}, "config"),
        ({"loss": [2.3, 2.1], "val_loss": [2.3, 2.2]}, "log"),
        ({"loss": [2.3, 2.1], "epoch": [1, 2]}, "log"),
        ({"loss": [2.3, 9.1, float("nan")]}, "log"),
        ({"loss": [2.3, "inf"]}, "log"),
    ],
)
def test_a_configuration_that_holds_lists_is_no_log(tmp_path: Path, given: dict[str, object], kind: str) -> None:
    path = Path(written(tmp_path / "config.json", json.dumps({"lr": 1e-3, "weight_decay": 0.01, **given})))
    assert kind_of(path) == kind


def test_a_short_log_of_a_run_that_diverged_keeps_its_fault(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path / "run.json", '{"lr": 0.5, "loss": [2.3, 9.1, NaN, NaN]}')
    code, out, _ = run(capsys, file, "--json")
    assert (code, codes(out)) == (1, ["divergence"])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("learning_rate: {desc: null, value: 1e-3}\nweight_decay: {desc: null, value: 0.1}\n", "learning_rate"),
        ("model:\n  optimizer: {_target_: torch.optim.Adam, lr: 1e-3, weight_decay: 0.1}\n", "optimizer.lr"),
        ("training: {lr: 1e-3, weight_decay: 0.1}\n", "lr"),
        ("a: {lr: 1e-3}\nb: {lr: 1e-3}\nweight_decay: 0.1\n", "lr"),
        ("optimizer: {type: AdamW, params: {lr: 1e-3, weight_decay: 0.1}}\n", "optimizer.params.lr"),
    ],
)
def test_a_rate_within_one_mapping_is_found(tmp_path: Path, text: str, key: str) -> None:
    config = read_config(written(tmp_path / "config.yaml", text))
    assert key in config.looked
    assert config.setups[0].groups[0].lr == 1e-3
    assert config.setups[0].groups[0].decay is not None
    assert ("adam-l2" in {f.code for f in config.findings()}) is ("torch.optim.Adam," in text)


@pytest.mark.parametrize("text", ["warmup: {lr: 1e-6}\n", "optimizer: {type: AdamW, params: {lr: auto}}\n"])
def test_a_file_without_one_rate_is_told_what_was_looked_for(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ParseError, match="no number under lr, learning_rate, base_lr, max_lr, peak_lr, nor one of them"
    ):
        read_config(written(tmp_path / "config.yaml", text))


def test_rates_that_differ_are_said_to_differ(tmp_path: Path) -> None:
    said = (
        "it has several learning rates that differ: 'backbone.lr', 'head.lr'. A configuration is looked at by one; check the "
        "live optimiser by module:function."
    )
    with pytest.raises(ParseError) as raised:
        read_config(written(tmp_path / "config.yaml", "backbone: {lr: 1e-4}\nhead: {lr: 1e-3}\nepochs: 10\n"))
    assert str(raised.value).endswith(said)


def test_epochs_are_called_epochs(tmp_path: Path) -> None:
    text = "lr: 0.1\nT_max: 10\nmax_epochs: 100\n"
    said = {f.code: f.verdict for f in of_config(written(tmp_path / "hparams.yaml", text))}
    assert "is lowest at epoch 10 of 100" in said["lr-rise"]
    assert "before the run of 100 epochs ends" in said["lr-rise"]
    assert "ends at epoch 10 of 100" in said["schedule-short"]


def test_a_highest_rate_that_the_run_never_has_is_not_judged() -> None:
    plan = dw.parse('peak 1 | formula "6e-4 * min(1, (step + 1) / 100)" | decoupled 0.1')
    assert [f.code for f in of_plan(plan, 20_000)] == []
    strong = dw.parse('peak 1 | formula "0.5 * min(1, (step + 1) / 100)" | decoupled 0.1')
    assert [f.code for f in of_plan(strong, 20_000)] == ["lr-lambda-large"]
