"""Tasks, models and optimisers of the fourth set, none of which the third has."""

from __future__ import annotations

import numpy as np
import sklearn.datasets
import torch
from torch import nn
from torch.nn import functional as F

SIDE = 10
TOKENS = 8


def _std(a):
    return (a - a.mean(0)) / (a.std(0) + 1e-9)


def task_of(name, flag, examples, noise, seed, rng, split, D, context):
    s = split
    if name == "cancer":
        b = sklearn.datasets.load_breast_cancer()
        return s(_std(b.data), b.target.astype(float), rng, "binary", 1, examples, noise)
    if name == "circles":
        x, y = sklearn.datasets.make_circles(1500, noise=0.15, factor=0.5, random_state=seed)
        return s(x, y.astype(float), rng, "binary", 1, examples, noise)
    if name == "hastie":
        x, y = sklearn.datasets.make_hastie_10_2(4000, random_state=seed)
        return s(x, (y > 0).astype(float), rng, "binary", 1, examples, noise)
    if name == "roll":
        x, t = sklearn.datasets.make_swiss_roll(2000, noise=0.3, random_state=seed)
        return s(_std(x), _std(t), rng, "number", 1, examples, noise)
    if name == "friedman":
        x, y = sklearn.datasets.make_friedman1(2400, 10, noise=1.0, random_state=seed)
        kind = {"pinball": "pinball", "huber": "huber", "mae": "mae"}.get(flag, "number")
        return s((x - 0.5) * 3.46, _std(y), rng, kind, 1, examples, noise)
    if name == "ill":  # columns of scales from 1 to 1/30
        x = rng.standard_normal((2000, 12)) * np.geomspace(1, 1 / 30, 12)
        y = x @ (rng.standard_normal(12) / np.geomspace(1, 1 / 30, 12)) / 3 + 0.2 * rng.standard_normal(2000)
        return s(x, y, rng, "number", 1, examples, noise)
    if name == "waiting":  # times to an event, some not seen to their end
        x = rng.standard_normal((2000, 7))
        t = rng.exponential(np.exp(-(0.7 * x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + 0.4 * np.abs(x[:, 3]))))
        c = rng.exponential(2.5, 2000)
        return s(x, np.stack([np.minimum(t, c), t <= c], 1), rng, "hazard", 1, examples, 0.0)
    if name == "lorenz":
        p, out = np.array([1.0, 1.0, 1.0]), []
        for _ in range(26000):
            x, y, z = p
            p = p + 0.005 * np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])
            out.append(p[0])
        v = np.array(out[2000::8]) / 8 + 0.08 * rng.standard_normal(3000)
        w = np.lib.stride_tricks.sliding_window_view(v, 24)
        return s(w[:, :20], w[:, 23], rng, "number", 1, examples, noise)
    if name == "sums":  # the sum of two numbers, modulo 23
        a, b = np.divmod(np.arange(529), 23)
        return s(np.stack([a, b], 1), (a + b) % 23, rng, "classes", 23, examples, 0.0)
    if name == "markov":  # a chain of second order over twelve signs
        p = rng.dirichlet(np.full(12, 0.25), (12, 12)).cumsum(-1)
        u, ids = rng.random(40000), [0, 1]
        for i in range(40000 - 2):
            ids.append(min(11, int(np.searchsorted(p[ids[-2], ids[-1]], u[i]))))
        ids = torch.tensor(ids)
        cut = 32000
        parts = []
        for part in (ids[: min(examples or cut, cut)], ids[cut:]):
            w = part.unfold(0, context + 1, context)
            parts += [w[:, :-1], w[:, 1:]]
        return D(*parts, 12, "text")
    if name == "picture":  # the grey of a photograph at a place
        try:
            grey = sklearn.datasets.load_sample_image("china.jpg").mean(-1)[40:400:8, 40:600:12]
        except ImportError:
            j, i = np.mgrid[:45, :47] / 45
            grey = np.sin(9 * i + 4 * j * j) + (np.hypot(i - 0.5, j - 0.4) < 0.25) + np.cos(17 * j)
        j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in grey.shape), indexing="ij")
        y = _std(grey.ravel()) + (0.15 if flag == "" else float(flag)) * rng.standard_normal(grey.size)
        return s(np.stack([i.ravel(), j.ravel()], 1), y, rng, "number", 1, examples, noise)
    if name == "shapes":  # a cross, a ring, a bar or a square, somewhere, in noise
        n = 2000
        k, out = rng.integers(4, size=n), np.zeros((n, SIDE, SIDE))
        for m in range(n):
            i, j = rng.integers(0, SIDE - 4, size=2)
            g = np.zeros((5, 5))
            if k[m] == 0:
                g[2], g[:, 2] = 1, 1
            elif k[m] == 1:
                g[[0, -1], 1:-1], g[1:-1, [0, -1]] = 1, 1
            elif k[m] == 2:
                g[1:3] = 1
            else:
                g[1:4, 1:4] = 1
            out[m, i : i + 5, j : j + 5] = g
        out += 0.45 * rng.standard_normal(out.shape)
        return s(out.reshape(n, -1), k, rng, "classes", 4, examples, noise)
    if name == "rank":  # of two, which is the better
        a, b = rng.standard_normal((2, 2400, 8))
        f = lambda v: v[:, 0] + np.abs(v[:, 1]) + v[:, 2] * v[:, 3]
        better = f(a) + 0.5 * rng.standard_normal(2400) > f(b)
        x = np.where(better[:, None], np.concatenate([a, b], 1), np.concatenate([b, a], 1))
        wrong = rng.random(2400) < noise
        x[wrong] = np.concatenate([x[wrong, 8:], x[wrong, :8]], 1)
        return s(x, np.ones(2400), rng, "rank", 1, examples, 0.0)
    if name in ("views", "vae"):
        b = sklearn.datasets.load_digits().data / 16.0
        if name == "vae":
            return s(b, b, rng, "vae", 64, examples, 0.0)
        x = np.concatenate([b, b], 1) + 0.25 * rng.standard_normal((len(b), 128))
        return s(x, np.zeros(len(b)), rng, "contrast", 16, examples, 0.0)
    if name == "topics":
        x, y = sklearn.datasets.make_multilabel_classification(1800, 20, n_classes=6, n_labels=2, random_state=seed)
        y = y.astype(float)
        wrong = rng.random(y.shape) < noise
        y[wrong] = 1 - y[wrong]
        return s(_std(x), y, rng, "multi", 6, examples, 0.0)
    if name == "needle":  # which sign follows the marker
        n = 5000
        x = rng.integers(1, TOKENS, (n, 16))
        at = rng.integers(0, 15, n)
        x[np.arange(n), at] = 0
        return s(x, x[np.arange(n), at + 1], rng, "classes", TOKENS, examples, noise)
    if name == "graph":
        return s(np.arange(600)[:, None], _graph(seed)[1], rng, "classes", 4, examples, noise, 0.5)
    raise KeyError(name)


def _graph(seed):
    rng = np.random.default_rng(5000 + seed)
    k = rng.integers(4, size=600)
    p = np.where(k[:, None] == k[None], 0.03, 0.006)
    a = np.triu(rng.random((600, 600)) < p, 1)
    a = (a | a.T).astype(float) + np.eye(600)
    d = a.sum(1) ** -0.5
    x = np.eye(4)[k] * 0.6 + rng.standard_normal((600, 4))
    return (
        torch.tensor(a * d[:, None] * d[None], dtype=torch.float32),
        k,
        torch.tensor(np.concatenate([x, rng.standard_normal((600, 12))], 1), dtype=torch.float32),
    )


class Gcn(nn.Module):
    def __init__(self, seed, w, outputs):
        super().__init__()
        a, _, x = _graph(seed)
        self.register_buffer("a", a)
        self.register_buffer("x", x)
        self.one, self.two = nn.Linear(16, w), nn.Linear(w, outputs)

    def forward(self, i):
        h = torch.relu(self.a @ self.one(self.x))
        return (self.a @ self.two(h))[i.long().squeeze(-1)]


class Res(nn.Module):
    def __init__(self, inputs, w, outputs, depth):
        super().__init__()
        self.inp, self.out = nn.Linear(inputs, w), nn.Linear(w, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(w), nn.Linear(w, 2 * w), nn.GELU(), nn.Linear(2 * w, w)) for _ in range(depth)
        )

    def forward(self, x):
        h = self.inp(x)
        for b in self.blocks:
            h = h + b(h)
        return self.out(h)


class Waves(nn.Module):
    """Sines for activations."""

    def __init__(self, inputs, w, outputs, pitch=8.0):
        super().__init__()
        self.a, self.b, self.c, self.pitch = nn.Linear(inputs, w), nn.Linear(w, w), nn.Linear(w, outputs), pitch

    def forward(self, x):
        return self.c(torch.sin(2 * self.b(torch.sin(self.pitch * self.a(x)))))


class Experts(nn.Module):
    def __init__(self, inputs, w, outputs):
        super().__init__()
        self.gate = nn.Linear(inputs, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, w), nn.ReLU(), nn.Linear(w, outputs)) for _ in range(4)
        )

    def forward(self, x):
        g = self.gate(x).softmax(-1)
        return (torch.stack([e(x) for e in self.experts], -1) * g.unsqueeze(1)).sum(-1)


class Time(nn.Module):
    """Convolutions over time."""

    def __init__(self, w, outputs):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, w, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(w, w, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv1d(w, w, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(outputs),
        )
        self.body(torch.zeros(1, 1, 20))

    def forward(self, x):
        return self.body(x.unsqueeze(1))


class Tokens(nn.Module):
    """Signs that are looked at: the mean of their vectors, attention, or an LSTM."""

    def __init__(self, kind, signs, length, w, outputs, dropout=0.0):
        super().__init__()
        self.kind = kind
        self.table = nn.Embedding(signs, w)
        self.place = nn.Parameter(0.3 * torch.randn(length, w))
        if kind == "look":
            self.block = nn.TransformerEncoderLayer(w, 4, 2 * w, dropout, batch_first=True, norm_first=False)
        if kind == "lstmc":
            self.cell = nn.LSTM(w, w, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(w * (length if kind == "side" else 1), 2 * w), nn.ReLU(), nn.Linear(2 * w, outputs)
        )

    def forward(self, x):
        h = self.table(x.long())
        if self.kind == "look":
            return self.head(self.block(h + self.place).mean(1))
        if self.kind == "lstmc":
            return self.head(self.cell(h)[0][:, -1])
        if self.kind == "side":
            return self.head(h.flatten(1))
        return self.head(h.mean(1))


class Pair(nn.Module):
    def __init__(self, half, w, outputs, join):
        super().__init__()
        self.half, self.join = half, join
        self.net = nn.Sequential(nn.Linear(half, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, outputs))

    def forward(self, x):
        a, b = self.net(x[:, : self.half]), self.net(x[:, self.half :])
        return a - b if self.join == "minus" else torch.stack([a, b], 1)


class Vae(nn.Module):
    def __init__(self, w, latent=6):
        super().__init__()
        self.k = latent
        self.enc = nn.Sequential(nn.Linear(64, w), nn.ReLU(), nn.Linear(w, 2 * latent))
        self.dec = nn.Sequential(nn.Linear(latent, w), nn.ReLU(), nn.Linear(w, 64))

    def forward(self, x):
        m, v = self.enc(x).chunk(2, -1)
        z = m + torch.randn_like(m) * torch.exp(0.5 * v) if self.training else m
        return torch.cat([self.dec(z), m, v], -1)


def model_of(job, task):
    n, w, o = job.model, job.width, task.outputs
    d = task.x.shape[1]
    if n == "gcn":
        return Gcn(job.seed, w, o)
    if n.startswith("res"):
        return Res(d, w, o, int(n[3:]))
    if n == "waves":
        return Waves(d, w, o)
    if n == "experts":
        return Experts(d, w, o)
    if n == "time":
        return Time(w, o)
    if n in ("mean", "look", "lstmc", "side"):
        return Tokens(n, 23 if task.outputs == 23 else TOKENS, d, w, o, job.dropout)
    if n == "pair":
        return Pair(d // 2, w, o, "minus" if task.kind == "rank" else "both")
    if n == "vae":
        return Vae(w)
    if n == "bigram":
        return nn.Embedding(o, o)
    if n == "tiger":  # the two signs before
        return Tiger(o)
    if n in ("pix", "pix-gn"):
        gn = n == "pix-gn"
        return nn.Sequential(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, w // 2, 3),
            nn.GroupNorm(4, w // 2) if gn else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(w // 2, w, 3, stride=2),
            nn.GroupNorm(4, w) if gn else nn.Identity(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(job.dropout),
            nn.Linear(9 * w, o),
        )
    return None


class Tiger(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o, self.table = o, nn.Embedding(o * o, o)

    def forward(self, x):
        before = F.pad(x, (1, 0))[:, :-1]
        return self.table(before * self.o + x)


class Signum(torch.optim.Optimizer):
    def __init__(self, groups, lr, beta=0.9):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is not None:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.mul_(g["beta"]).add_(p.grad, alpha=1 - g["beta"])
                    p.mul_(1 - g["lr"] * g["weight_decay"]).sub_(g["lr"] * m.sign())


class Lamb(torch.optim.Optimizer):
    def __init__(self, groups, lr, betas=(0.9, 0.99)):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b, c = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                s["t"] += 1
                s["m"].mul_(b).add_(p.grad, alpha=1 - b)
                s["v"].mul_(c).addcmul_(p.grad, p.grad, value=1 - c)
                u = s["m"] / (1 - b ** s["t"]) / ((s["v"] / (1 - c ** s["t"])).sqrt() + 1e-6) + g["weight_decay"] * p
                n, k = p.norm(), u.norm()
                p.sub_(g["lr"] * u * (float(n / k) if n > 0 and k > 0 else 1.0))


def optimizer_of(name, groups, lr):
    o = torch.optim
    return {
        "adadelta": lambda: o.Adadelta(groups, lr), "asgd": lambda: o.ASGD(groups, lr), "adafactor": lambda: o.Adafactor(groups, lr), "rprop": lambda: o.Rprop(groups, lr),
        "amsgrad": lambda: o.Adam(groups, lr, amsgrad=True), "adamw98": lambda: o.AdamW(groups, lr, betas=(0.9, 0.98)), "rmsmomentum": lambda: o.RMSprop(groups, lr, momentum=0.9),
        "signum": lambda: Signum(groups, lr), "lamb": lambda: Lamb(groups, lr), "nesterov95": lambda: o.SGD(groups, lr, momentum=0.95, nesterov=True), "light": lambda: o.SGD(groups, lr, momentum=0.5),
        "nadamw": lambda: o.NAdam(groups, lr, decoupled_weight_decay=True), "adam5": lambda: o.Adam(groups, lr, betas=(0.5, 0.9)), "sign0": lambda: Signum(groups, lr, 0.0),
    }.get(name)  # fmt: skip


NAMES = {"adadelta": "Adadelta", "asgd": "ASGD", "adafactor": "Adafactor", "rprop": "Rprop", "amsgrad": "Adam", "adamw98": "AdamW", "rmsmomentum": "RMSprop", "signum": "Signum", "lamb": "Lamb",
         "nesterov95": "SGD", "light": "SGD", "nadamw": "NAdam", "adam5": "Adam", "sign0": "Signum"}  # fmt: skip


def loss_of(kind, out, x, y):
    if kind == "pinball":
        e = y - out.squeeze(-1)
        return torch.maximum(0.9 * e, -0.1 * e).mean()
    if kind == "huber":
        return F.smooth_l1_loss(out.squeeze(-1), y, beta=0.3)
    if kind == "mae":
        return F.l1_loss(out.squeeze(-1), y)
    if kind == "hazard":
        h = out.squeeze(-1)
        return (h.exp() * y[:, 0] - y[:, 1] * h).mean()
    if kind == "rank":
        return F.softplus(-out.squeeze(-1)).mean()
    if kind == "multi":
        return F.binary_cross_entropy_with_logits(out, y)
    if kind == "contrast":
        a, b = F.normalize(out[:, 0], dim=-1), F.normalize(out[:, 1], dim=-1)
        s = a @ b.T / 0.2
        k = torch.arange(len(s))
        return 0.5 * (F.cross_entropy(s, k) + F.cross_entropy(s.T, k))
    if kind == "vae":
        r, m, v = out[:, :64], *out[:, 64:].chunk(2, -1)
        return (
            F.binary_cross_entropy_with_logits(r, y, reduction="none").sum(-1).mean()
            + 0.5 * (m * m + v.exp() - 1 - v).sum(-1).mean()
        )
    return None
