"""Recipes of other frameworks: source, specs and arguments as text, and schedules and optimisers by name and parameters."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import dwindle as dw
from dwindle.errors import DwindleError
from dwindle.foreign import OPTIMIZERS, PEERS, read, read_optimizer, write
from dwindle.foreign.schedules.peers import signature
from dwindle.text import parse
from fuzz.corpus import beginnings, texts
from fuzz.reader import Reader
from fuzz.readers.plans import PLANS, used

_RUN = dw.Horizon(steps=40, steps_per_epoch=10, batch_size=8, tokens_per_step=100)
_WORDS = tuple(
    word.encode() for word in (
        "import torch\n", "import optax\n", "import keras\n", "import timm\n", "import transformers\n", "import composer\n",
        "from sklearn.neural_network import MLPClassifier\n", "torch.optim.AdamW(", "torch.optim.SGD(", "optax.chain(",
        "optax.adamw(",
        "lr=", "weight_decay=", "params", "opt", "lambda step: ", "for epoch in range(10):\n    ", "if x:\n    ",
        "def f(step):\n    ",
        "return ", "class A(B):\n    ", "model.parameters()", "SequentialLR(", "LambdaLR(", "milestones=[",
        "[p for p in q if p.ndim > 1]",
        "'params': ", "**kwargs", "*args", "opt.param_groups[0]['lr'] = 0.1\n", "scheduler.step()\n", "get_scheduler(",
        "TrainingArguments(",
        "learning_rate=", "warmup_ratio=", "num_train_epochs=", "max_steps=", "lr_scheduler_type=", "lr_scheduler_kwargs={",
        "f'{x}'",
        "x := 1", "global x\n", "del x\n", "await f()", "yield", "try:\n    ", "with a as b:\n    ", "@f\n", "x: int = 1\n",
        "x += 1\n",
        "numpy.cos(", "math.pi", "1 / 0", "2 ** 10 ** 10", "10 ** 400", "1e400", "None", "{1: 2}", "'a' * 10", "x[0]", "x[::2]",
        "...",
    )
) + tuple(name.encode() for names in (*PEERS.values(), *OPTIMIZERS.values()) for name in names)  # fmt: skip
_NUMBERS: tuple[Any, ...] = (10, 0.1, 1e-3, 3, 0.5)


def _source(data: bytes) -> object:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(DwindleError):
        used(read(text))
    return used(read(text, run=_RUN))


def _given(data: bytes) -> dict[str, Any]:
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):  # the question is not one: that is the harness's own affair
        return {}
    return given if isinstance(given, dict) else {}


def _schedule(data: bytes) -> object:
    given = _given(data)
    return given and used(
        read(given.get("peer"), given.get("name", ""), given.get("params"), base_lr=given.get("base_lr"))  # type: ignore[arg-type]
    )


def _optimizer(data: bytes) -> object:
    given = _given(data)
    return given and used(
        read_optimizer(given.get("peer"), given.get("name"), given.get("params"), base_lr=given.get("base_lr"))  # type: ignore[arg-type]
    )


def _sources() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in beginnings(".py", ".py.txt", "training_args.json", size=3000))
    yield from ((0, data) for data in texts("test_foreign_source", most=300))
    yield from (
        (0, data) for data in texts("test_convert", "test_foreign_rules", "test_foreign_live", among="(", most=60)
    )
    yield (
        0,
        b'{"learning_rate": 5e-5, "optim": "adamw_torch", "max_steps": 1000, "warmup_steps": 900, "weight_decay": 0.1}',
    )
    yield 0, b"torch:AdamW(lr=1e-3, weight_decay=0.1) StepLR(30)"
    for plan in PLANS:
        for peer in PEERS:
            try:
                yield 0, write(parse(plan), peer, _RUN).encode()
            except DwindleError:
                continue


def _schedules() -> Iterator[tuple[int, bytes]]:
    for peer, names in PEERS.items():
        for name in names:
            params = {key: _NUMBERS[i % len(_NUMBERS)] for i, key in enumerate(signature(peer, name))}
            for given in (params, dict(list(params.items())[:2]), {}):
                yield 0, json.dumps({"peer": peer, "name": name, "params": given, "base_lr": 0.1}).encode()
                yield 0, json.dumps({"peer": peer, "name": name, "params": given}).encode()
    inner = {"name": "StepLR", "params": {"step_size": 3}}
    for name, extra in (("SequentialLR", {"milestones": [5]}), ("ChainedScheduler", {})):
        params = {"schedulers": [inner, {"name": "ConstantLR", "params": {}}], **extra}
        yield 0, json.dumps({"peer": "torch", "name": name, "params": params, "base_lr": 1}).encode()
    for params in (
        {"boundaries": [3, 5], "values": [1.0, 0.5, 0.1]},
        {"boundaries_and_scales": {"5": 0.5}, "init_value": 1},
    ):
        yield 0, json.dumps({"peer": "keras", "name": "PiecewiseConstantDecay", "params": params}).encode()
        yield 0, json.dumps({"peer": "optax", "name": "piecewise_constant_schedule", "params": params}).encode()


def _optimizers() -> Iterator[tuple[int, bytes]]:
    schedule = {"name": "StepLR", "params": {"step_size": 30}}
    for peer, names in OPTIMIZERS.items():
        for name in names:
            for key in ("lr", "learning_rate"):
                yield 0, json.dumps({"peer": peer, "name": name, "params": {key: 0.1, "weight_decay": 0.01}}).encode()
            yield 0, json.dumps({"peer": peer, "name": name, "params": {"lr": schedule}, "base_lr": 0.1}).encode()
            yield (
                0,
                json.dumps(
                    {"peer": peer, "name": name, "params": {"momentum": 0.9, "alpha": 0.1, "lmbda": 5, "n": 10}}
                ).encode(),
            )


_KEYS = (
    *tuple(
        f'"{key}"'.encode()
        for key in sorted({key for peer, names in PEERS.items() for name in names for key in signature(peer, name)})
    ),
    b'"peer"',
    b'"params"',
    b'"base_lr"',
    b'"lr"',
    b'"weight_decay"',
    b'{"name": "StepLR", "params": {"step_size": 3}}',
    b"[1, 2]",
)

READERS = (
    Reader("recipe-source", (_source,), _sources, _WORDS),
    Reader("recipe-params", (_schedule,), _schedules, (*_KEYS, *(f'"{n}"'.encode() for names in PEERS.values() for n in names))),
    Reader("optimizer-params", (_optimizer,), _optimizers, (*_KEYS,
        *(f'"{n}"'.encode() for names in OPTIMIZERS.values() for n in names))),
)  # fmt: skip
