"""Inputs that once broke a reader, found by `make fuzz` or on the way to it; each is read or refused now."""

from __future__ import annotations

import base64
import io
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

from fuzz.reader import broken, placed
from fuzz.readers import named

from dwindle.errors import DataError
from dwindle.schedule import Formula
from dwindle.studies.data import load

HUGE = b"9" * 400  # a whole number that no float holds
DENSE = b"".join(b"%d,0.1,%g\n" % (i, 1 + 2 * (i % 2)) if i < 12 else b"%d,0.1,\n" % i for i in range(200))
WILD = b"".join(
    b"%d,%g,%s\n" % (i, 0.5 if i < 9 else 0.3, b"1e308" if i == 5 else b"%g" % (0.3 + 0.1 * i)) for i in range(12)
)
FLAT = (
    b"step,,loss,lr\n0,,,.6\n60,,1,\n70,,4,\n80,,4,\n90,,1,\n720,,0,\n730,,0,\n740,,1e308,\n750,,1,\n760,,1,\n770,,5,\n780,,.3,\n"
    b"790,,1,\n800,,1.2,\n810,,0,\n820,,4,\n830,,0,\n840,,3,\n850,,1,\n860,,0,\n870,,4,.6"
)
TORCH = b"import torch\nopt = torch.optim.SGD(p, lr=%s)\n"


def npy(header: str, data: bytes = b"", form: bytes = b"\0") -> bytes:
    written = header.encode()
    return form + b"\x93NUMPY\x01\x00" + struct.pack("<H", len(written)) + written + data


def grown(line: str, first: str, times: int, end: str) -> bytes:
    """Return a source in which each name takes in the one before twice."""
    return (first + "".join(line.format(i + 1, i) for i in range(times)) + end.format(times)).encode()


TEXTS = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 1), }", bytes(range(12))) + npy(
    "{'descr': '<U1', 'fortran_order': False, 'shape': (12,), }", b"\xff\xff\xff\x7f" * 12
).removeprefix(b"\0")
END = "import torch\nopt = torch.optim.SGD(p, lr=v{})\n"

CASES: dict[str, tuple[str, bytes]] = {
    "json: a whole number beyond float64": ("log-jsonl", b'\0{"":%s,"l":""}' % HUGE),
    "log: the loss ends before a rattling run has settled": ("log-findings", b"\0step,lr,loss\n" + DENSE),
    "log: a gap whose square is not finite": ("log-findings", b"\0epoch,loss,val_loss\n" + WILD),
    "log: a loss that no law can be started from": ("log-findings", b"\0" + FLAT),
    "plan: a mirror of more steps than 64 bits hold": ("plan-text", b"\0peak 1 | cosine mirror every %sst" % (b"9" * 20)),
    "plan: a repeat of more steps than 64 bits hold": ("plan-text", b"\0peak 1 | cosine repeat every %sst" % (b"9" * 20)),
    "recipe: two TrainingArguments and nothing else": (
        "config-program",
        b"\1from transformers import TraiingArguments\n" + b"args = TrainingArguments('o', max_steps=9)\n" * 2,
    ),
    "space: a range that ends in an underscore": ("space-text", b"\0lam 0 1e-4..1_"),
    "space: a range in a schedule that ends so": ("space-text", b"\0lam 1 | peak 1 | schedule cosine to 0..1_"),
    "table: an exponent beyond that of a Decimal": ("data-csv", b"\0a,b\n" + b"1,1e-444444444444444444440\n2,0\n" * 9),
    "plan: a table of more steps than 64 bits hold": ("plan-text", b"\0peak 1 | table [1] every %s" % (b"9" * 21)),
    "formula: nested so deep that it cannot be shown": ("formula", b"\0[0 > (1, %sstep)]" % (b"not " * 450)),
    "formula: the minus of a condition": ("formula", b"\0---(not -1) + 1"),
    "formula: whole numbers beside a power, late": ("formula", b"\0(1 + step) - step ** 1.0"),
    "formula: whole numbers beside a choice, late": ("formula", b"\0(1 + step) - (step if step > 0 else 0.5)"),
    "formula: a whole number beyond 64 bits": ("formula", b"\0step - step % 999999999999999999999999999999999"),
    "source: a name by itself, in a configuration": ("config-program", b"\0lr = b + 1\nb = lr2 + 1\nlr2 = b"),
    "source: attributes without end": ("config-program", b"\0o = torch.optim.SGD" + b".h" * 900),
    "source: elif without end": ("config-program", b"\0if a: x = 1\n" + b"elif a: x = 1\n" * 800 + TORCH % b"1"),
    "source: sums that double": ("recipe-source", b"\0" + grown("v{0} = v{1} + v{1}\n", "v0 = 1\n", 60, END)),
    "source: products that double": ("recipe-source", b"\0" + grown("v{0} = v{1} * v{1}\n", "v0 = %s\n" % ("9" * 4000), 14, END)),
    "source: lists that double": ("recipe-source", b"\0" + grown("v{0} = [v{1}, v{1}]\n", "v0 = 1\n", 60, END)),
    "source: mappings that double": ("recipe-source", b"\0" + grown("v{0} = {{1: v{1}, 2: v{1}}}\n", "v0 = {}\n", 60, END)),
    "source: schedules that double": (
        "recipe-source",
        b"\0import optax\n" + grown("v{0} = optax.join_schedules([v{1}, v{1}], [3])\n", "v0 = optax.constant_schedule(1.)\n", 60,
                                    "t = optax.sgd(v{})\n"),
    ),
    "source: a mapping for optax's rate": ("recipe-source", b"\0import optax\no = optax.adamw({1: 2})\n"),
    "source: a list for optax's scale": ("recipe-source", b"\0import optax\no = optax.chain(optax.scale([]), optax.sgd(0.1))\n"),
    "source: a list for a group's decay": ("recipe-source", b"\0" + TORCH.replace(b"p,",
    b"[{'params': p, 'weight_decay': []}],") % b"1"),
    "source: a list for the decay beside groups": (
        "recipe-source", b"\0" + TORCH.replace(b"p,",
        b"[{'params': p, 'weight_decay': 1.}, {'params': q}], weight_decay=[],") % b"1"),
    "source: a number for Keras' names": (
        "recipe-source", b"\0import keras\no = keras.optimizers.AdamW(0.1)\no.exclude_from_weight_decay(var_names=3)\n"),
    "source: a schedule without its name": ("recipe-source", b"\0import transformers\ns = transformers.get_scheduler()\n"),
    "source: a LambdaLR without its function": (
        "recipe-source", b"\0" + TORCH % b"1" + b"s = torch.optim.lr_scheduler.LambdaLR(opt)\n"),
    "arguments: a number for a scheduler's": (
        "recipe-source", b'\0{"learning_rate": 1, "max_steps": 3, "lr_scheduler_type": "cosine", "lr_scheduler_kwargs": 3}'),
    "recipe: a period beyond every run": (
        "recipe-params", b'\0{"peer": "torch", "name": "CosineAnnealingLR", "params": {"T_max": 1e308}, "base_lr": 0.1}'),
    "recipe: one cycle beyond every run": (
        "recipe-params", b'\0{"peer": "torch", "name": "OneCycleLR", "params": {"max_lr": 10, "total_steps": 1e308}}'),
    "recipe: cycles of almost no length": (
        "recipe-params", b'\0{"peer": "timm", "name": "CosineLRScheduler", "params": {"t_initial": 1e-320}, "base_lr": 0.1}'),
    "yaml: a whole number of no digits": ("config-yaml", b"\0lr: !!int \n"),
    "yaml: a fraction of no digits": ("config-yaml", b"\0lr: !!float \n"),
    "yaml: a number beyond float64": ("config-yaml", b"\0lr: " + HUGE),
    "yaml: text for a number of timm's": ("config-yaml", b"\0lr: 1e-3\nopt: sgd\nsched: cosine\nepochs: 30\nmin_lr: 1e-"),
    "configuration: steps beyond float64": ("config-program",
    b"\1learning_rate = 6e-4\nmax_iters = 9\nlr_decay_iters = 1e308\nmin_lr = 6e-5\n"),
    "csv: a line that ends in a return alone": ("data-csv", b"\0a,\rx"),
    "npz: a header cut in a bracket": ("data-npz", npy("{'descr': '<f8', 'shape': (1, ")),
    "npz: a header with keys of two kinds": ("data-npz", npy("{'descr': '|b1', 'fortran_order': False, 1: (20, 1), }")),
    "npz: a shape of over 64 bits": (
        "data-npz", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 99999999999999999999), }")),
    "npz: a shape that no memory holds": ("data-npz",
    npy("{'descr': '<f8', 'fortran_order': False, 'shape': (281474976710656, 9), }")),
    "npz: a type of nothing": ("data-npz", npy("{'descr': (), 'fortran_order': False, 'shape': (20, 1), }")),
    "npz: an archive whose end alone is there": ("data-npz", b"\2x" + b"PK\5\6" + bytes(18)),
    "npz: text that is none": ("data-npz", TEXTS),
    "program: n is the model itself": (
        "config-program", b"\0n = MLPClassifier(p, lr=.1)\ns = torch.optim.lr_scheduler.StepLR(o, 3)",
    ),
    "program: an empty tuple is called": (
        "config-program", b"\0import sklearn.linear_model\nsklearn.linear_model.SGDClassifier()\n()()",
    ),
    "findings: a rate and a decay whose product is beyond floats": (
        "log-findings", b"\0step,loss,lr,weight_decay\n" + b"".join(b"%d,1.5,1e308,20\n" % k for k in range(0, 200, 5)),
    ),
    "findings: a long rattle, whose means of two are all alike": (
        "log-findings", b"\0step,loss\n" + b"".join(b"%d,%d\n" % (k, 1 + k % 2) for k in range(1024)),
    ),
    "findings: a loss more times higher after a resume than floats reach": (
        "log-findings",
        b"\0step,loss\n" + b"".join(b"%d,%d%b\n" % (k % 30, 1 + k % 3, b"e-200" if k < 30 else b"e200") for k in range(50)),
    ),
    "lab: a loss too large to square": (
        "lab-log", b"\0step,loss,lr\n30,0.66,0.1\n32,0.63,0.1\n34,0.64,0.1\n36,1e308,0.1\n40,20,0.1\n",
    ),
    "lab: no row of a block is used, of a log whose steps begin anew": (
        "lab-log", b"\0epoch,lr-Adam,step,train_loss,vs\n0,,4,2.3,\n0,,14,2.2,\n0,,17,,2.0\n1,,4,1.9,\n1",
    ),
    "lab: a sum of rates that falls, for one is below 0": (
        "lab-log", b"\x005,epoch,loss,lr,val_loss\n30,0.483871,1.8897,0.05,\n35,0.564516,1.72762,0.05,\n"
        b"40,0.645161,1.72705,time,\n45,0.725806,1.62853,0.05,\n50,0.806452,1.4609,-1,\n100,1.6129,1.21456,0.005,\n105,1.69315=,1.1236,0.005,\n"
        b"35,0.56\xb4516,1.72762,0.05,\n1\x130,2.09677,1.12979,0.005,\n,0.01866535$0.005,1.03137,0.005,\n"
        b"140,2.25806,0.937156,{{{0.005}}},\n145,2.33871,0.930749,0.005,\n150,2.41935,0.993582,0.005,\n155,2.5,1.09422,0.005,\n"
        b"160%,1.00886,1.18211,0.005,\n165,2.6029,1.04367,0.005,\n170,2.74194,0.707973,0.005,\n175,2.82258,1.00886,0.005,\n"
        b"N0one,2.90323,0.67502,0.005,\n185,2.98387,1.02952,1.62853,",
    ),
    "space: lists without end": ("space-toml", b"\0lams = " + b"[" * 3000),
    "space: a number of too many digits": ("space-toml", b"\0lams = [%s]" % (b"9" * 4500)),
    "space: a key of thousands of dots": ("space-toml", b"\0" + b"a." * 25_000 + b"a = 1"),
    "space: a batch beyond 2^53": ("space-toml", b"\0batch_sizes = [16, 9007199254740993]"),
    "space: a list for a schedule": ("space-toml", b"\0schedules = [[]]"),
    "training.json: a list without end": ("training-json", b"\0" + b"[" * 100_000),
    "training.json: a member beyond 64 bits": ("training-json", b'\0{"threads": 2, "chunks": [[%s]]}' % (b"9" * 30)),
    "training.json: a member within a list": (
        "training-json", b'\0{"format":"dwindle population 1","training":"mine","threads":2,"chunks":[[0,2],[[1]]]}',
    ),
    "lab: a step of more than 64 bits": ("lab-plan", b"\0peak 0.1 | step by 0.5 every 1e18ep | l2 1e4"),
    "trials: a loss beyond floats": (
        "trials", b'\1{"key": "a", "stage": "sweep", "task": "b", "final": {"validation_loss": %s}}' % (b"9" * 400),
    ),
    "trials: losses whose sum is beyond floats": (
        "trials", b"\1" + b"".join(
            b'{"key": "%d", "division": "%d", "stage": "sweep", "task": "b", "final": {"validation_loss": 1e308}}\n' % (k, k)
            for k in range(3)
        ),
    ),
    "trials: stops that are no epochs": (
        "trials", b"\1" + b"".join(
            b'{"key": "%d", "division": "%d", "stage": "sweep", "task": "b", "stopped_at": %s}\n' % (k, k, stop)
            for k, stop in enumerate((b"[1]", b"2", b'"c"', b"1"))
        ),
    ),
    "checkpoint: a type of 8 bits": (
        "checkpoint", b'\x01{"e":{"dtype":"F8_E4M3","shape":[0,0],"data_offsets":[0,0]}}\n',
    ),
    "checkpoint: a type that NumPy has not": (
        "checkpoint", b'\x01{"e":{"dtype":"BF16","shape":[0,3],"data_offsets":[0,0]}}\n',
    ),
    "checkpoint: a step of too many digits": (
        "checkpoint", b'\x01{"__metadata__":{"format":"dwindle population 1","training":"mine","step":"%s"}}\n' % (b"9" * 4500),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_once_broke_a_reader_is_read_or_refused(name: str) -> None:
    if name.startswith("yaml"):
        pytest.importorskip("yaml")
    reader, data = CASES[name]
    found = broken(named(reader), data)
    assert found is None, found.traceback


def test_parquet_with_integers_that_arrow_has_not_is_refused() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"a": [i / 7 for i in range(20)], "kind": [i % 2 for i in range(20)]}), out)
    written = re.search(rb"ARROW:schema[^A-Za-z0-9+/]*(?:.(?=/////))?([A-Za-z0-9+/=]{100,})", out.getvalue())
    assert written is not None
    schema = bytearray(base64.b64decode(written[1]))
    schema[schema.index(b"\x40\0\0\0")] = 4  # bits of an integer
    data = out.getvalue().replace(written[1], base64.b64encode(schema))
    with pytest.raises(DataError, match="not a Parquet table"):
        load(placed("data.parquet", data))


@pytest.mark.parametrize(
    "text",
    [
        "step * step * step / 1e21", "step * step * step // 10 ** 3", "1 - step // -18446744073709551616",
        "9000000000000000000 + 9000000000000000000 + step", "4611686018427387904 * 4 + step", "1 - -(step < 3)",
        "step if step < 10 ** 12 else 1 // 0 if step < 0 else 2",
    ],
)  # fmt: skip
def test_a_formula_has_the_same_value_in_an_array(text: str) -> None:
    """Products of whole numbers left 64 bits in an array, without a word, where a step alone had the right value."""
    formula, steps = Formula(text), [0, 1, 7, 3_000_000, 10**7, 10**12]
    np.testing.assert_allclose(formula(np.array(steps)), [formula(step) for step in steps], rtol=1e-15)
