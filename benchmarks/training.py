"""Whole trainings: samples a second with `dwindle.torch.AdamW` and `SGD`, and with torch's fused steps.

    python benchmarks/training.py [--steps 60] [--blocks 9] [--models mlp,cnn,transformer] [--quick]
                                  [--json FILE]

Each model is trained twice from the same weights on the same batches, in alternating blocks of steps in one process: by
torch's fused optimiser with clip_grad_norm_, CosineAnnealingLR and AveragedModel, and by ours with clip and ema. An MLP
784-100-10 and a small CNN on the shipped Fashion-MNIST images (batch 64), and a transformer of 10.7 million weights on the
bytes of Python's own ``pydoc_data.topics`` (batch 8, context 128). ``after backward`` is the share of a step that is spent
after ``backward()``, ours and torch's. The final loss is the mean over the last tenth of the steps; all trainings take the
same number of steps. ``differs`` is how far ours is from that of torch's fused step, relative, and ``torch's own`` how far
that of torch's foreach step is, which does the same in another order of roundings.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from surroundings import begin, command, save
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import dwindle as dw
from dwindle.studies.data import load

CLIP, EMA = 1.0, 0.999
HEADS = ("", "weights", "samples/s", "torch", "ratio", "range", "after backward", "loss", "differs", "torch's own")


class Transformer(nn.Module):
    """A decoder of six blocks of width 384 over bytes."""

    def __init__(self, width: int = 384, blocks: int = 6, context: int = 128) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(128, width), nn.Embedding(context, width)
        block = nn.TransformerEncoderLayer(width, 6, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids) + self.position.weight
        return self.head(self.norm(self.blocks(x, mask=self.mask, is_causal=True))).transpose(1, 2)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def images(batch: int) -> Callable[[int], tuple[Any, Any]]:
    data = load("fashion")
    x = torch.tensor(data.train_x, dtype=torch.float32).reshape(-1, 1, 28, 28)
    y = torch.tensor(data.train_y, dtype=torch.int64)

    def draw(step: int) -> tuple[Any, Any]:
        some = torch.randint(len(x), (batch,), generator=torch.Generator().manual_seed(step))
        return x[some], y[some]

    return draw


def text(batch: int, context: int = 128) -> Callable[[int], tuple[Any, Any]]:
    from pydoc_data import topics

    whole = "".join(topics.topics[name] for name in sorted(topics.topics)).encode("ascii", "replace")
    ids = torch.tensor(list(whole))

    def draw(step: int) -> tuple[Any, Any]:
        starts = torch.randint(len(ids) - context - 1, (batch, 1), generator=torch.Generator().manual_seed(step))
        at = starts + torch.arange(context + 1)
        return ids[at[:, :-1]], ids[at[:, 1:]]

    return draw


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any], int, str, float]] = {
    "mlp": (mlp, images, 64, "SGD", 0.1),
    "cnn": (cnn, images, 64, "AdamW", 2e-3),
    "transformer": (Transformer, text, 8, "AdamW", 5e-4),
}


def theirs(model: nn.Module, rule: str, peak: float, steps: int, way: str = "fused") -> Callable[[], None]:
    params, options = list(model.parameters()), {"lr": peak, way: True}
    if rule == "AdamW":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(params, weight_decay=0.1, **options)
    else:
        optimizer = torch.optim.SGD(params, momentum=0.9, weight_decay=1e-4, **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))

    def finish() -> None:
        nn.utils.clip_grad_norm_(params, CLIP)
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        optimizer.zero_grad()

    return finish


def ours(model: nn.Module, rule: str, peak: float, steps: int) -> Callable[[], None]:
    decay = dw.decoupled(0.1) if rule == "AdamW" else dw.l2(1e-4)
    plan, own = dw.Plan(peak, dw.cosine(), decay, mask=dw.Mask.everything()), {"clip": CLIP, "ema": EMA}
    kind: Any = dw.torch.AdamW if rule == "AdamW" else dw.torch.SGD
    optimizer = kind(model.parameters(), plan, steps, **own, **({} if rule == "AdamW" else {"momentum": 0.9}))

    def finish() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return finish


class Training:
    def __init__(self, name: str, batch: int, finishing: Callable[..., Callable[[], None]], steps: int) -> None:
        make, data, _, rule, peak = MODELS[name]
        self.batch = batch
        torch.manual_seed(0)
        self.model, self.draw = make(), data(batch)
        self.finish = finishing(self.model, rule, peak, steps)
        self.step, self.losses, self.rates, self.shares = 0, [], [], []  # type: ignore[var-annotated]

    def block(self, steps: int) -> None:
        after, begun = 0.0, time.perf_counter()
        for _ in range(steps):
            x, y = self.draw(self.step)
            loss = functional.cross_entropy(self.model(x), y)
            loss.backward()
            at = time.perf_counter()
            self.finish()
            after += time.perf_counter() - at
            self.losses.append(float(loss.detach()))
            self.step += 1
        took = time.perf_counter() - begun
        self.rates.append(steps * self.batch / took)
        self.shares.append(after / took)

    @property
    def final(self) -> float:
        return statistics.fmean(self.losses[-max(1, len(self.losses) // 10) :])


def compare(name: str, batch: int, steps: int, blocks: int) -> dict[str, Any]:
    total = steps * (blocks + 1)
    pair = [Training(name, batch, finishing, total) for finishing in (ours, theirs)]
    for i in range(blocks + 1):
        for training in pair if i % 2 else pair[::-1]:
            training.block(steps)
    mine, other = pair
    again = Training(name, batch, partial(theirs, way="foreach"), total)
    again.block(total)
    ratios = [a / b for a, b in zip(mine.rates[1:], other.rates[1:], strict=True)]  # the first block warms up
    return {
        "model": name, "batch_size": batch, "steps": total,
        "weights": sum(p.numel() for p in mine.model.parameters()),
        "samples_per_second": statistics.median(mine.rates[1:]),
        "torch_samples_per_second": statistics.median(other.rates[1:]),
        "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
        "optimiser": statistics.median(mine.shares[1:]), "torch_optimiser": statistics.median(other.shares[1:]),
        "final_loss": mine.final, "loss_difference": abs(mine.final / other.final - 1.0),
        "torch_loss_difference": abs(again.final / other.final - 1.0),
    }  # fmt: skip


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--steps", type=int, help="steps a block (60; the transformer takes a tenth)")
    parser.add_argument("--blocks", type=int, help="blocks of each, after one that warms up (9)")
    parser.add_argument("--models", default=",".join(MODELS), help="with commas between; all of them, unless told")
    given = parser.parse_args()
    names, steps, blocks = given.models.split(","), given.steps or 60, given.blocks or 9
    if given.quick:
        steps, blocks = given.steps or 2, given.blocks or 1
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}.")
    around = begin()
    heads = zip((12, 11, 11, 9, 7, 12, 17, 9, 10, 13), HEADS, strict=True)
    print("".join(f"{head:>{width}}" for width, head in heads))
    rows = []
    for name in names:
        batch, each = 1 if given.quick else MODELS[name][2], max(2, steps // 10) if name == "transformer" else steps
        rows.append(r := compare(name, batch, each, blocks))
        print(
            f"{name:12}{r['weights']:11,}{r['samples_per_second']:11.0f}{r['torch_samples_per_second']:9.0f}{r['ratio']:7.2f}"
            f"{r['low']:7.2f}-{r['high']:.2f}{r['optimiser']:8.1%} /{r['torch_optimiser']:6.1%}{r['final_loss']:9.4f}"
            f"{r['loss_difference']:10.1e}{r['torch_loss_difference']:13.1e}",
            flush=True,
        )
    save(given.json, around, training=rows)


if __name__ == "__main__":
    main()
