"""Files that set up a run, whatever their format, and what the doctor finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwindle.findings import of_config
from fuzz.corpus import beginnings, texts
from fuzz.reader import Reader, placed
from fuzz.readers.plans import PLANS

_TESTS = ("test_doctor", "test_findings_logs", "test_cli_check", "test_diagnosis", "test_bad_inputs")
_KEYS = tuple(
    word.encode() for word in (
        "learning_rate", "lr", "optim", "optimizer", "weight_decay", "max_steps", "warmup_steps", "warmup_ratio",
        "num_train_epochs",
        "lr_scheduler_type", "lr_scheduler_kwargs", "class_path: torch.optim.AdamW", "init_args:", "trainer:", "model:",
        "max_epochs",
        "accumulate_grad_batches", "precision", "bf16", "fp16", "sched", "epochs", "warmup_epochs", "warmup_lr", "min_lr",
        "decay_rate",
        "opt", "momentum", "batch_size", "adam_beta1", "gradient_accumulation_steps", "per_device_train_batch_size", "betas",
        "lr_noise", "cooldown_epochs", "decay_epochs", "decay_milestones", "layer_decay", "warmup_iters", "lr_decay_iters",
        "max_iters",
    )
)  # fmt: skip
_YAML = (b"!!python/object/apply:os.system", b"&a", b"*a", b"<<: *a", b"- ", b": ", b"|\n", b">\n", b"---\n", b"!!binary ",
    b"!!set ",
         b"!!timestamp 2001-01-01", b"? ", b"%YAML 1.1\n", b"!!int ", b"!!float ", b"0o17", b"1:30", b".inf", b"~",
         b"!!omap ")  # fmt: skip


def _of(name: str) -> Callable[[bytes], object]:
    return lambda data: of_config(placed(name, data))


def _with_run(name: str) -> Callable[[bytes], object]:
    return lambda data: of_config(placed(name, data), steps=100, steps_per_epoch=10, dtype="bfloat16")


def _yaml() -> Iterator[tuple[int, bytes]]:
    yield from ((form, data) for form in (0, 1) for data in beginnings(".yaml", ".yml"))
    yield from ((0, data) for data in texts(*_TESTS, among=": "))
    yield (
        0,
        b"lr: 1e-3\nopt: adamw\nsched: cosine\nepochs: 300\nwarmup_epochs: 5\n"
        b"min_lr: 1e-5\nweight_decay: 0.05\nbatch_size: 128\n",
    )
    for size in (0, 1):
        yield (
            size,
            b"optimizer: adam\nlr: 0.001\nweight_decay: 0.1\nscheduler: cosine\nepochs: 10\nsteps_per_epoch: 100\n",
        )
        yield (
            size,
            b"opt: sgd\nlr: 0.5\nsched: multistep\ndecay_milestones: [90, 180]\ndecay_rate: 0.1\nepochs: 200\nmomentum: 0.9\n",
        )
        yield (
            size,
            b"opt: lamb\nlr: 5e-3\nsched: step\ndecay_epochs: 2.4\nwarmup_lr: 1e-6\nwarmup_epochs: 5\nlayer_decay: 0.75\n",
        )
        yield (
            size,
            b"opt: adamw\nlr: null\nlr_base: 0.1\nlr_base_size: 256\nbatch_size: 64\n"
            b"sched: tanh\nlr_cycle_mul: 2.0\nopt_betas: [0.9, 0.99]\n",
        )
    yield (
        0,
        (
            b"trainer:\n  max_epochs: 10\n  accumulate_grad_batches: 2\nmodel:\n  init_args:\n    lr: 0.1\n"
            b"optimizer:\n  class_path: "
            b"torch.optim.AdamW\n  init_args:\n    lr: 0.001\nlr_scheduler:\n  class_path: torch.optim.lr_scheduler.StepLR\n"
            b"  init_args:\n    step_size: 3\n"
        ),
    )
    yield (
        1,
        b"learning_rate: 0.1\nweight_decay: 1e-4\noptimizer: sgd\nmax_steps: 100\nbetas: !!python/tuple [0.9, 0.95]\n",
    )


def _json() -> Iterator[tuple[int, bytes]]:
    yield from ((form, data) for form in (0, 1) for data in beginnings("training_args.json"))
    yield from ((0, data) for data in texts(*_TESTS, among="{"))
    yield 0, b'{"learning_rate": 5e-5, "optim": "adamw_torch", "max_steps": 1000, "warmup_steps": 900, "bf16": true}'
    yield 0, b'{"lr": 0.1, "opt": "sgd", "sched": "step", "decay_epochs": [10, 20], "epochs": 30}'
    yield 1, b'{"format": "dwindle-plan/1", "peak": 0.1, "schedule": "cosine", "decay": "l2 0.1"}'


def _toml() -> Iterator[tuple[int, bytes]]:
    from dwindle.text import parse, to_toml

    yield from ((form, data) for form in (0, 1) for data in beginnings("plan.toml"))
    yield from ((form, to_toml(parse(plan)).encode()) for form in (0, 1) for plan in PLANS)


def _programs() -> Iterator[tuple[int, bytes]]:
    yield from ((form, data) for form in (0, 1) for data in beginnings(".py.txt", ".py", size=3000))
    yield from ((0, data) for data in texts("test_foreign_source", *_TESTS, among="\n"))
    yield (
        0,
        (
            b"import argparse, torch\np = argparse.ArgumentParser()\n"
            b"p.add_argument('--lr', type=float, default=1e-3)\na = p.parse_args()\n"
            b"opt = torch.optim.AdamW(model.to(torch.bfloat16).parameters(), lr=a.lr)\nfor e in range(3):\n    for x in d:\n"
            b"        opt.step()\n    sched.step()\n"
        ),
    )
    yield (
        0,
        b"learning_rate = 6e-4\nmax_iters = 100 * 10\nweight_decay = 1e-1\n"
        b"lr_decay_iters = 600\nmin_lr = 6e-5\nwarmup_iters = 20\n",
    )
    yield 2, b"torch:AdamW(lr=1e-3, weight_decay=0.1) StepLR(30)"


def _words() -> tuple[bytes, ...]:
    from fuzz.readers.recipes import _WORDS

    return _WORDS


READERS = (
    Reader("config-yaml", (_of("hparams.yaml"), _with_run("args.yml")), _yaml, (*_KEYS, *_YAML)),
    Reader("config-json", (_of("args.json"), _with_run("args.json")), _json, tuple(b'"' + key + b'"' for key in _KEYS)),
    Reader("config-toml", (_of("plan.toml"), _with_run("plan.toml")), _toml, _KEYS),
    Reader(
        "config-program", (_of("train.py"), _with_run("train.py"), _of("recipe.txt")), _programs, (*_KEYS, *_words())
    ),
)
