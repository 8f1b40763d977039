"""Trainings of the third set and the fourth: other tasks, models and optimisers than those of scripts/clinic."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import sklearn.datasets
import torch
from clinic.training import Resume, Trained
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from clinic import rates

HERE = Path(__file__).resolve().parent
CONTEXT = 24


# --- schedules as values


@dataclass(frozen=True)
class R:
    """A schedule by its name, so that a job can be told by its repr."""

    name: str
    args: tuple = ()

    def __call__(self, optimizer: Any, steps: int) -> Any:
        own = globals().get("_" + self.name)
        return (own or getattr(rates, self.name))(*self.args)(optimizer, steps)


def r(name: str, *args: Any) -> R:
    return R(name, args)


def _poly(power: float, total: float = 1.0, end: float = 0.0):
    return rates.factor(lambda t, n: end + (1 - end) * max(0.0, 1 - t / (total * n)) ** power)


def _pieces(*parts: tuple[float, float]):
    """Constant pieces: (share of the run at which it begins, factor)."""
    return rates.factor(lambda t, n: [f for at, f in ((0.0, 1.0), *parts) if t >= at * n][-1])


def _lines(*points: tuple[float, float]):
    """Linear between (share, factor)."""
    return rates.factor(lambda t, n: float(np.interp(t / n, [p[0] for p in points], [p[1] for p in points])))


def _cycles(period: float, low: float):
    """Triangles, as cyclical rates are."""

    def of(t, n):
        x = (t / (period * n)) % 1
        return low + (1 - low) * (1 - abs(2 * x - 1))

    return rates.factor(of)


def _held_fall(fall: float, end: float = 0.0):
    return rates.factor(lambda t, n: end + (1 - end) * min(1.0, (n - t) / (fall * n)))


def _wsd_for(total: float, warm: float, fall: float):
    return rates.factor(lambda t, n: max(0.0, min(1.0, (t + 1) / (1 + warm * n), (total * n - t) / (fall * total * n))))


def _cycle_for(total: float, top: float):
    def of(t, n):
        x = min(1.0, t / (total * n))
        if x < top:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * x / top))
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * (x - top) / (1 - top)))

    return rates.factor(of)


def _cosine_again(turn: float, warm: float, back: float):
    """A cosine to its end, then a warm-up once more to ``back`` of the peak, held."""

    def of(t, n):
        x = t / n
        if x < turn:
            return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * x / turn))
        return 0.02 + (back - 0.02) * min(1.0, (x - turn) / warm)

    return rates.factor(of)


def _warm_exponential(warm: float, left: float):
    return rates.factor(lambda t, n: min((t + 1) / (1 + warm * n), left ** max(0.0, (t / n - warm) / (1 - warm))))


def _root(fall: float, warm: float = 0.03):
    """Held, then 1 - sqrt."""
    return rates.factor(lambda t, n: min((t + 1) / (1 + warm * n), 1.0, 1 - max(0.0, (t / n - 1 + fall) / fall) ** 0.5))


def _rex(total: float = 1.0, warm: float = 0.03):
    """REX: slow at first, fast at last."""

    def of(t, n):
        z = max(0.0, 1 - t / (total * n))
        return min((t + 1) / (1 + warm * n), z / (0.5 + 0.5 * z))

    return rates.factor(of)


def _noam(warm: float, total: float = 1.0):
    return rates.factor(lambda t, n: min((t + 1) / (warm * n), (warm * n / (t + 1)) ** 0.5))


def _stairs(warm: float, *parts: tuple[float, float]):
    """A warm-up, then constant pieces."""
    return rates.factor(
        lambda t, n: min((t + 1) / (1 + warm * n), [f for at, f in ((0.0, 1.0), *parts) if t >= at * n][-1])
    )


def _warm_square(warm: float, total: float = 1.0):
    """A warm-up as a square, then a linear fall."""
    return rates.factor(
        lambda t, n: (
            min(1.0, (t + 1) / (warm * n)) ** 2 if t < warm * n else max(0.0, 1 - (t / n - warm) / (total - warm))
        )
    )


def _damped(period: float, by: float):
    """Cosine restarts, each lower than the last."""
    return rates.factor(
        lambda t, n: (
            by ** int(t / (period * n)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * ((t / (period * n)) % 1))))
        )
    )


# --- what is trained


@dataclass(frozen=True)
class J:
    data: str
    model: str
    optimizer: str
    lr: float
    schedule: Any = None
    steps: int = 500
    batch: int = 32
    ticks: Any = 1
    decay: float = 0.0
    examples: int = 0
    noise: float = 0.0
    width: int = 32
    dropout: float = 0.0
    smoothing: float = 0.0
    clip: float = 0.0
    start: str = ""
    scale: float = 1.0  # of the loss, as logged and as trained on
    evaluate: Any = 0
    resume: Resume | None = None
    seed: int = 0
    stop_on: float = math.inf
    patience: int = 0
    curriculum: float = 0.0
    freeze: str = ""
    norms: bool = field(default=False, repr=False)  # whether the log needs them


@dataclass
class D:
    x: Any
    y: Any
    hx: Any
    hy: Any
    outputs: int
    kind: str


def _split(x, y, rng, kind, outputs, examples, noise, share=0.7):
    order = rng.permutation(len(x))
    x, y = x[order], y[order]
    cut = int(len(x) * share)
    tx, ty, hx, hy = x[:cut][: examples or None], np.array(y[:cut][: examples or None]), x[cut:], y[cut:]
    if noise and kind in ("classes", "binary"):
        for part in (ty, hy):
            wrong = rng.random(len(part)) < noise
            part[wrong] = rng.integers(max(2, outputs), size=int(wrong.sum()))
    elif noise:
        ty = ty + noise * rng.standard_normal(ty.shape)
        hy = hy + noise * rng.standard_normal(hy.shape)
    whole = kind == "classes"
    f = lambda a, w: torch.tensor(np.asarray(a), dtype=torch.int64 if w else torch.float32)
    return D(f(tx, False), f(ty, whole), f(hx, False), f(hy, whole), outputs, kind)


@cache
def data(name: str, examples: int, noise: float, seed: int) -> D:
    rng = np.random.default_rng(1000 + seed)
    name, _, flag = name.partition(":")
    if name == "moons":
        x, y = sklearn.datasets.make_moons(1200, noise=0.25, random_state=seed)
        return _split(x, y.astype(float), rng, "binary", 1, examples, noise)
    if name == "spiral":
        n = 500
        t = rng.random((3, n)) ** 0.7 * 3.5
        a = t * 1.6 + np.arange(3)[:, None] * 2.094 + 0.12 * rng.standard_normal((3, n))
        x = np.stack([t * np.cos(a), t * np.sin(a)], -1).reshape(-1, 2) / 2
        return _split(x, np.repeat(np.arange(3), n), rng, "classes", 3, examples, noise)
    if name in ("iris", "digits", "wine"):
        b = getattr(sklearn.datasets, f"load_{name}")()
        x = (b.data - b.data.mean(0)) / (b.data.std(0) + 1e-6)
        if name == "digits":
            x = b.data / 16.0
        if flag == "raw":
            x = b.data * 1000.0
        if flag in ("rebuild", "binary"):
            d = _split(x, x, rng, "rebuild", x.shape[1], examples, 0.0)
            return d
        return _split(x, b.target, rng, "classes", int(b.target.max()) + 1, examples, noise)
    if name == "houses":  # eight columns of unlike use, a price that bends
        x = rng.standard_normal((2400, 8))
        y = 1.2 * x[:, 0] + np.sin(1.5 * x[:, 1]) + x[:, 2] * x[:, 3] * 0.6 + 0.4 * np.abs(x[:, 4])
        y = (y - y.mean()) / y.std()
        y = y + 0.3 * rng.standard_normal(len(y))
        if flag == "price":
            y = 200_000 + 60_000 * y
            y = y / 1000.0
        return _split(x, y, rng, "nll" if flag == "nll" else "number", 2 if flag == "nll" else 1, examples, noise)
    if name == "diabetes":
        b = sklearn.datasets.load_diabetes()
        x = b.data / b.data.std(0)
        y = (b.target - b.target.mean()) / b.target.std()
        return _split(x, y, rng, "nll" if flag == "nll" else "number", 2 if flag == "nll" else 1, examples, noise)
    if name == "counts":
        x = rng.standard_normal((2000, 6))
        y = rng.poisson(np.exp(0.5 * x[:, 0] - 0.4 * x[:, 1] + 0.3 * x[:, 2] + 1.0)).astype(float)
        return _split(x, y, rng, "poisson", 1, examples, 0.0)
    if name == "sines":  # the next value of a noisy sum of waves from the sixteen before it
        t = np.arange(3000)
        s = np.sin(t / 5.3) + 0.6 * np.sin(t / 2.1 + 1) + 0.25 * rng.standard_normal(len(t))
        w = np.lib.stride_tricks.sliding_window_view(s, 17)
        return _split(w[:, :16], w[:, 16], rng, "number", 1, examples, noise)
    if name == "parity":
        x = rng.integers(0, 2, (6000, 24)) * 2.0 - 1
        return _split(x, (x[:, :3].prod(1) > 0).astype(float), rng, "binary", 1, examples, noise)
    if name == "ratings":
        n, m, k = 120, 80, 3
        u, v = rng.standard_normal((n, k)), rng.standard_normal((m, k))
        i, j = rng.integers(n, size=5000), rng.integers(m, size=5000)
        y = (u[i] * v[j]).sum(1) / k**0.5 + 0.5 * rng.standard_normal(5000)
        return _split(np.stack([i, j], 1), y, rng, "number", 1, examples, noise)
    if name == "text":
        text = (HERE / "text.txt").read_text()[seed % 37 * 300 :]
        text = re.sub(r"[^a-z0-9 .,:;()=|\n'\-]", "", text.lower())
        letters = {c: i for i, c in enumerate(sorted(set(text)))}
        ids = torch.tensor([letters[c] for c in text])
        cut = len(ids) - 8000
        parts = []
        for part in (ids[: min(examples or cut, cut)], ids[cut:]):
            w = part.unfold(0, CONTEXT + 1, CONTEXT)
            parts += [w[:, :-1], w[:, 1:]]
        return D(*parts, len(letters), "text")
    return fresh.task_of(name, flag, examples, noise, seed, rng, _split, D, CONTEXT)


class Walk(nn.Module):
    """Recurrent, over characters or over the values of a series."""

    def __init__(self, cell: str, outputs: int, width: int, text: bool, gain: float = 1.0) -> None:
        super().__init__()
        self.text = text
        self.embedding = nn.Embedding(outputs, width) if text else nn.Linear(1, width)
        self.cell = {"gru": nn.GRU, "rnn": nn.RNN, "lstm": nn.LSTM}[cell](width, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        h = self.embedding(x if self.text else x.unsqueeze(-1))
        h, _ = self.cell(h)
        return self.head(h if self.text else h[:, -1])


class Line(nn.Module):
    """Windows of three characters, or a transformer with the norm after each block."""

    def __init__(self, outputs: int, width: int, kind: str, dropout: float) -> None:
        super().__init__()
        self.kind = kind
        self.embedding = nn.Embedding(outputs, width)
        if kind == "ngram":
            self.mix = nn.Linear(3 * width, outputs)
        else:
            self.place = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, batch_first=True, norm_first=kind == "preln")
                for _ in range(2)
            )
            self.head = nn.Linear(width, outputs)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT), persistent=False)

    def forward(self, ids):
        h = self.embedding(ids)
        if self.kind == "ngram":
            padded = F.pad(h, (0, 0, 2, 0))
            return self.mix(torch.cat([padded[:, i : i + h.shape[1]] for i in range(3)], -1))
        h = h + self.place
        for block in self.blocks:
            h = block(h, src_mask=self.mask, is_causal=True)
        return self.head(h)


class Vit(nn.Module):
    """Sixteen patches of 2 x 2 of the digits."""

    def __init__(self, outputs: int, width: int, dropout: float, first: bool = True) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.place = nn.Parameter(0.02 * torch.randn(16, width))
        self.block = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, batch_first=True, norm_first=first)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        p = x.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        return self.head(self.block(self.patch(p) + self.place).mean(1))


class Factors(nn.Module):
    def __init__(self, width: int, scale: float = 0.3) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(120, width), nn.Embedding(80, width)
        for e in (self.user, self.item):
            nn.init.normal_(e.weight, std=scale)

    def forward(self, x):
        x = x.long()
        return (self.user(x[:, 0]) * self.item(x[:, 1])).sum(1, keepdim=True)


def build(job: J, task: D) -> nn.Module:
    name, w = job.model, job.width
    if name in ("gru", "rnn", "lstm"):
        return Walk(name, task.outputs, w, task.kind == "text")
    if name in ("ngram", "postln", "preln"):
        return Line(task.outputs, w, name, job.dropout)
    if name in ("vit", "vit-after"):
        return Vit(task.outputs, w, job.dropout, name == "vit")
    if name == "mf":
        return Factors(w)
    own = fresh.model_of(job, task)
    if own is not None:
        return own
    inputs = task.x.shape[1]
    if name == "linear":
        return nn.Linear(inputs, task.outputs)
    if name == "pca":
        return nn.Sequential(nn.Linear(inputs, w), nn.Linear(w, task.outputs))
    if name == "auto":
        return nn.Sequential(
            nn.Linear(inputs, 4 * w),
            nn.ReLU(),
            nn.Linear(4 * w, w),
            nn.ReLU(),
            nn.Linear(w, 4 * w),
            nn.ReLU(),
            nn.Linear(4 * w, task.outputs),
        )
    if name in ("conv", "conv-bn"):
        bn = name == "conv-bn"
        body = [
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, w // 2, 3, padding=1, bias=not bn),
            nn.BatchNorm2d(w // 2) if bn else nn.Identity(),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(w // 2, w, 3, padding=1, bias=not bn),
            nn.BatchNorm2d(w) if bn else nn.Identity(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(job.dropout),
            nn.Linear(16 * w, task.outputs),
        ]
        return nn.Sequential(*body)
    kind, *more = name.split("-")
    depth = int(kind.removeprefix("mlp"))
    acts = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
    act = next((acts[m] for m in more if m in acts), nn.ReLU)
    layers: list[nn.Module] = []
    for k in range(depth):
        layers.append(nn.Linear(w if k else inputs, w))
        if "bn" in more:
            layers.append(nn.BatchNorm1d(w))
        if "ln" in more:
            layers.append(nn.LayerNorm(w))
        layers.append(act())
        if job.dropout:
            layers.append(nn.Dropout(job.dropout))
    return nn.Sequential(*layers, nn.Linear(w, task.outputs))


class Lion(torch.optim.Optimizer):
    def __init__(self, groups, lr, betas=(0.9, 0.99)):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - g["lr"] * g["weight_decay"]).sub_(g["lr"] * (b1 * m + (1 - b1) * p.grad).sign())
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


def optimizer_of(job: J, model: nn.Module) -> Any:
    ps = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in ps if p.ndim > 1], "weight_decay": job.decay},
        {"params": [p for p in ps if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]] if job.decay else [{"params": ps}]
    own = fresh.optimizer_of(job.optimizer, groups, job.lr)
    if own is not None:
        return own()
    o = torch.optim
    return {
        "sgd": lambda: o.SGD(groups, job.lr), "momentum": lambda: o.SGD(groups, job.lr, momentum=0.9), "heavy": lambda: o.SGD(groups, job.lr, momentum=0.98),
        "nesterov": lambda: o.SGD(groups, job.lr, momentum=0.9, nesterov=True), "adam": lambda: o.Adam(groups, job.lr),
        "adam95": lambda: o.Adam(groups, job.lr, betas=(0.9, 0.95)), "adamw": lambda: o.AdamW(groups, job.lr), "nadam": lambda: o.NAdam(groups, job.lr),
        "radam": lambda: o.RAdam(groups, job.lr), "adamax": lambda: o.Adamax(groups, job.lr), "adagrad": lambda: o.Adagrad(groups, job.lr),
        "rmsprop": lambda: o.RMSprop(groups, job.lr), "lion": lambda: Lion(groups, job.lr), "adam0": lambda: o.Adam(groups, job.lr, betas=(0.0, 0.99)),
    }[job.optimizer]()  # fmt: skip


def loss_of(kind: str, out: Any, x: Any, y: Any, smoothing: float = 0.0) -> Any:
    own = fresh.loss_of(kind, out, x, y)
    if own is not None:
        return own
    if kind == "number":
        return F.mse_loss(out.squeeze(-1), y)
    if kind == "binary":
        return F.binary_cross_entropy_with_logits(out.squeeze(-1), y)
    if kind == "text":
        return F.cross_entropy(out.flatten(0, 1), y.flatten(), label_smoothing=smoothing)
    if kind == "rebuild":
        return F.mse_loss(out, y)
    if kind == "nll":
        return (out[:, 1] + 0.5 * (y - out[:, 0]) ** 2 * torch.exp(-2 * out[:, 1])).mean()
    if kind == "poisson":
        return F.poisson_nll_loss(out.squeeze(-1), y, full=True)
    return F.cross_entropy(out, y, label_smoothing=smoothing)


def evaluated(model: nn.Module, task: D, scale: float) -> dict[str, float]:
    model.eval()
    n = 64 if task.kind == "contrast" else 200 if task.kind == "text" or task.x.shape[1] == 64 else 1000
    with torch.no_grad():
        out = {"train": scale * float(loss_of(task.kind, model(task.x[:n]), task.x[:n], task.y[:n]))}
        hx, hy = task.hx[:n], task.hy[:n]
        answer = model(hx)
        out["val"] = scale * float(loss_of(task.kind, answer, hx, hy))
        if task.kind in ("classes", "text"):
            right = (answer.argmax(-1) == hy).float()
        elif task.kind == "multi":
            right = ((answer > 0) == (hy > 0.5)).float()
        elif task.kind == "rank":
            right = (answer > 0).float()
        elif task.kind == "binary":
            right = ((answer.squeeze(-1) > 0) == (hy > 0.5)).float()
        else:
            right = torch.zeros(1)
        out["val_accuracy"] = float(right.mean())
    model.train()
    return out


def _start(model: nn.Module, job: J, task: D) -> None:
    kind, _, size = job.start.partition(" ")
    if kind == "pre":  # trained already, on other rows of the same, its head fresh
        other = data(job.data, 0, 0.0, job.seed + 77) if task.kind != "text" else task
        opt = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(int(size)):
            rows = torch.randint(len(other.x), (64,))
            opt.zero_grad()
            loss_of(task.kind, model(other.x[rows]), other.x[rows], other.y[rows]).backward()
            opt.step()
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        last.reset_parameters()
        return
    with torch.no_grad():
        for m in model.modules():
            if kind == "zeros" and isinstance(m, nn.Linear):
                m.weight.zero_()
                m.bias.zero_()
            elif kind == "dead" and isinstance(m, nn.Linear | nn.Conv2d):
                m.bias.fill_(-float(size))
            elif kind == "large" and isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding | nn.RNN | nn.GRU):
                for p in m.parameters():
                    p.mul_(float(size))


def more(run: Trained, share: float, by: float) -> Trained:
    """Go on from the end of ``run`` for ``share`` of its steps more, at ``by`` of its last rate: the rows of this part alone."""
    job = run.job
    steps = round(share * job.steps)
    end = getattr(run, "end", None)
    if end is None:
        end = train(job).end
    task = data(job.data, job.examples, job.noise, job.seed)
    torch.manual_seed(job.seed)
    model = build(job, task)
    model.load_state_dict(end[0])
    optimizer = optimizer_of(job, model)
    optimizer.load_state_dict(end[1])
    for g in optimizer.param_groups:
        g["lr"] = run.lr[-1] * by
    found = Trained(job, run.per_epoch)
    g = torch.Generator().manual_seed(job.seed + 99)
    batch = job.batch or len(task.x)
    for t in range(1, steps + 1):
        rows = torch.randint(len(task.x), (batch,), generator=g) if job.batch else torch.arange(len(task.x))
        optimizer.zero_grad()
        loss = job.scale * loss_of(task.kind, model(task.x[rows]), task.x[rows], task.y[rows], job.smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), job.clip or math.inf)
        optimizer.step()
        found.step.append(len(run.loss) + t)
        found.loss.append(float(loss.detach()))
        found.lr.append(run.lr[-1] * by)
    found.evaluated.append({"step": found.step[-1], "row": steps, **evaluated(model, task, job.scale)})
    return found


def train(job: J) -> Trained:
    task = data(job.data, job.examples, job.noise, job.seed)
    torch.manual_seed(job.seed)
    model = build(job, task)
    _start(model, job, task)
    if job.freeze:
        for n, p in model.named_parameters():
            p.requires_grad_(not re.search(job.freeze, n))
    optimizer = optimizer_of(job, model)
    batch = job.batch or len(task.x)
    per_epoch = max(1, len(task.x) // batch)
    scheduler = job.schedule(optimizer, job.steps) if job.schedule else None
    found = Trained(job, per_epoch)
    order = torch.Generator().manual_seed(job.seed + 1)
    resume, saved = job.resume, None
    shift = t = trouble = 0
    owed = 0.0
    best, waited = math.inf, 0
    hard = task.x.float().norm(dim=1).argsort() if job.curriculum else None
    permutation = torch.arange(len(task.x))
    while t < job.steps and trouble < 25:
        if resume and saved is None and t == round(resume.saved * job.steps):
            saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), scheduler and scheduler.state_dict()))
        if resume and t == round(resume.crash * job.steps):
            t = round(resume.saved * job.steps)
            model.load_state_dict(saved[0])
            optimizer = optimizer_of(job, model)
            scheduler = job.schedule(optimizer, job.steps) if job.schedule else None
            if "optimizer" not in resume.lost:
                optimizer.load_state_dict(saved[1])
            if scheduler:
                if "schedule" not in resume.lost:
                    scheduler.load_state_dict(saved[2])
                for group, lr in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                    group["lr"] = lr
            if "counter" in resume.lost:
                shift = t
            if "rows" in resume.lost:
                keep = [i for i, s in enumerate(found.step) if s <= t]
                for values in (found.step, found.lr, found.loss, found.grad_norm, found.weight_norm):
                    values[:] = [values[i] for i in keep]
                found.evaluated = [e for e in found.evaluated if e["step"] <= t]
            resume = None
        if job.batch and t % per_epoch == 0:
            permutation = torch.randperm(len(task.x), generator=order)
        rows = permutation[(t % per_epoch) * batch :][:batch] if job.batch else permutation
        if hard is not None and t < job.curriculum * job.steps:
            rows = hard[: len(hard) // 3][rows % (len(hard) // 3)]
        optimizer.zero_grad()
        x, y = task.x[rows], task.y[rows]
        loss = job.scale * loss_of(task.kind, model(x), x, y, job.smoothing)
        loss.backward()
        norm = (
            float(nn.utils.clip_grad_norm_(model.parameters(), job.clip or math.inf))
            if job.norms or job.clip
            else math.nan
        )
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step()
        t += 1
        ends = t % per_epoch == 0
        found.step.append(t - shift)
        found.lr.append(float(lr))
        found.loss.append(float(loss.detach()))
        found.grad_norm.append(norm)
        found.weight_norm.append(
            float(torch.stack([p.detach().norm() for p in model.parameters()]).norm()) if job.norms else math.nan
        )
        trouble += not found.loss[-1] < job.stop_on
        due = t in job.evaluate if isinstance(job.evaluate, tuple) else t % (job.evaluate or per_epoch) == 0
        if due or t == job.steps:
            e = evaluated(model, task, job.scale)
            found.evaluated.append({"step": t - shift, "row": len(found.loss), **e})
            waited, best = (0, e["val"]) if e["val"] < best else (waited + 1, best)
            if job.patience and waited >= job.patience:
                break
        if scheduler is None:
            continue
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            if ends:
                scheduler.step(np.mean(found.loss[-per_epoch:]))
        elif job.ticks == "epoch":
            if ends:
                scheduler.step()
        else:
            owed += job.ticks
            while owed >= 1 - 1e-9:
                scheduler.step()
                owed -= 1
    if not found.evaluated or found.evaluated[-1]["row"] != len(found.loss):
        found.evaluated.append({"step": found.step[-1], "row": len(found.loss), **evaluated(model, task, job.scale)})
    found.end = (model.state_dict(), optimizer.state_dict())
    return found


def _cuts_by(by: float, *shares: float):
    return rates.cuts(*shares, by=by)


class _Rates:
    """What scripts/clinic/checks.py asks of its rates, as values that can be told by their repr."""

    @staticmethod
    def cuts(*shares: float, by: float = 0.1) -> R:
        return r("cuts_by", by, *shares)

    @staticmethod
    def warm_constant(w: float) -> R:
        return r("warm_constant", w)

    @staticmethod
    def warm_cosine(w: float) -> R:
        return r("warm_cosine", w)


import clinic.checks

clinic.checks.rates = _Rates
