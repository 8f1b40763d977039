"""Live set-ups of the third set, in torch, optax and Keras: each function builds what ``dw.doctor`` is called with."""

from __future__ import annotations

import copy
import math
import os
import warnings

import torch
from torch import nn
from torch.optim import lr_scheduler as ls

os.environ.setdefault("KERAS_BACKEND", "jax")
F = nn.functional


class Block(nn.Module):
    """A residual block with its norm first: nothing is right before a norm alone."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, h):
        return h + self.down(F.gelu(self.up(self.norm(h))))


class Net(nn.Module):
    def __init__(self, blocks=2, width=8, words=13, answers=4):
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, answers)

    def forward(self, k):
        h = self.table(k)
        for block in self.blocks:
            h = block(h)
        return self.head(self.last(h))


def net(seed=0, **more):
    torch.manual_seed(seed)
    return Net(**more)


def plain(seed=0, sizes=(6, 12, 12, 3), dtype=torch.float32):
    torch.manual_seed(seed)
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def images(seed=0, bn=True):
    torch.manual_seed(seed)
    mid = [nn.BatchNorm2d(6)] if bn else []
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=not bn), *mid, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 4)
    )


def split(model, decay, also=(), never=()):
    """Two groups: matrices and filters decay, all else and tables do not; ``also`` and ``never`` are parts of names."""
    tables = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    yes, no = [], []
    for n, p in model.named_parameters():
        in_it = (p.ndim > 1 and n not in tables) or any(a in n for a in also)
        (yes if in_it and not any(a in n for a in never) else no).append(p)
    return [{"params": yes, "weight_decay": decay}, {"params": no, "weight_decay": 0.0}]


def batch(model):
    if isinstance(model, Net):
        return torch.randint(13, (5,)), 4
    first = next(m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv1d))
    if isinstance(first, nn.Conv2d):
        return torch.randn(5, 1, 8, 8), 4
    return torch.randn(5, first.in_features, dtype=first.weight.dtype), 3


def go(model, optimizer, scheduler=None, steps=10, ticks=1, each=1, forward=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(1, steps + 1):
            x, answers = batch(model)
            optimizer.zero_grad()
            out = (forward or model)(x)
            F.cross_entropy(out.float(), torch.randint(answers, (5,))).backward()
            optimizer.step()
            if scheduler is not None and i % each == 0:
                for _ in range(ticks):
                    scheduler.step()


def up_down(optimizer, warm, total, end=0.0):
    def factor(t):
        if t < warm:
            return (t + 1) / (warm + 1)
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, (t - warm) / (total - warm))))

    return ls.LambdaLR(optimizer, factor)


def out(model, optimizer=None, scheduler=None, **more):
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, **more}


# --- JAX and Keras


def tree(dtype="float32"):
    import jax
    import jax.numpy as jnp

    k = jax.random.split(jax.random.key(3), 4)
    f = lambda key, *s: (0.3 * jax.random.normal(key, s)).astype(dtype)
    return {"params": {
        "embed": {"embedding": f(k[0], 13, 8)}, "dense_0": {"kernel": f(k[1], 8, 16), "bias": jnp.zeros(16, dtype)},
        "norm": {"scale": jnp.ones(16, dtype), "bias": jnp.zeros(16, dtype)}, "head": {"kernel": f(k[2], 16, 4), "bias": jnp.zeros(4, dtype)},
    }}  # fmt: skip


def dense(dtype="float32"):
    import jax
    import jax.numpy as jnp

    k = jax.random.split(jax.random.key(4), 2)
    f = lambda key, *s: (0.3 * jax.random.normal(key, s)).astype(dtype)
    return {
        "hidden": {"kernel": f(k[0], 6, 12), "bias": jnp.zeros(12, dtype)},
        "out": {"kernel": f(k[1], 12, 3), "bias": jnp.zeros(3, dtype)},
    }


def chosen(params, rule):
    """A mask: ``rule`` of the path as text."""
    import jax

    return jax.tree_util.tree_map_with_path(
        lambda path, _: rule(jax.tree_util.keystr(path, simple=True, separator="/")), params
    )


def layers(norm=True):
    import keras

    keras.utils.set_random_seed(0)
    parts = [
        keras.layers.Input((6,)),
        keras.layers.Dense(12),
        keras.layers.Activation("tanh"),
        keras.layers.Dense(12, activation="relu"),
    ]
    if norm:
        parts.insert(2, keras.layers.Activation("relu"))
        parts.insert(3, keras.layers.LayerNormalization())
    return keras.Sequential([*parts, keras.layers.Dense(3)])


# --- what decays


def t_bias_nadamw():
    model = nn.Sequential(nn.Linear(6, 10), nn.SiLU(), nn.Linear(10, 3))
    return out(model, torch.optim.NAdam(model.parameters(), 2e-3, weight_decay=0.05, decoupled_weight_decay=True))


def t_bias_conv_sgd():
    model = images(1, bn=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    return out(model, optimizer, ls.MultiStepLR(optimizer, [600, 900]), horizon=1000)


def t_bias_optax():
    import optax

    return out(dense(), optax.adamw(1e-3, weight_decay=0.1))


def t_bias_keras():
    import keras

    model = layers(norm=False)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.05), "mse")
    return out(model)


def t_norm_in_blocks():
    model = net(2)
    return out(
        model, torch.optim.AdamW(split(model, 0.1, also=("norm.weight", "last.weight")), 3e-4, betas=(0.9, 0.98))
    )


def t_norm_optax():
    import optax

    params = tree()
    mask = chosen(params, lambda n: "bias" not in n and "embed" not in n)
    return out(params, optax.lamb(1e-3, weight_decay=0.01, mask=mask))


def t_norm_keras():
    import keras

    model = layers()
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.05)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta"])
    model.compile(optimizer, "mse")
    return out(model)


def t_table_by_rank():
    model = net(3)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.02},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 5e-4)
    return out(model, optimizer, up_down(optimizer, 40, 2000), horizon=2000)


def t_table_optax():
    import optax

    params = tree()
    return out(
        params, optax.adamw(5e-4, weight_decay=0.1, mask=chosen(params, lambda n: n.endswith(("kernel", "embedding"))))
    )


def t_table_adagrad():
    model = net(4)
    return out(model, torch.optim.SGD(split(model, 1e-3, also=("table",)), 0.05))


def t_l2_nadam():
    model = plain(5)
    return out(model, torch.optim.NAdam(split(model, 1e-3), 1e-3))


def t_l2_radam():
    model = net(6)
    optimizer = torch.optim.RAdam(split(model, 5e-3), 1e-3)
    return out(model, optimizer, ls.ExponentialLR(optimizer, 0.999), horizon=3000)


def t_l2_optax():
    import optax

    params = dense()
    decay = optax.add_decayed_weights(1e-3, mask=chosen(params, lambda n: "kernel" in n))
    return out(params, optax.chain(decay, optax.scale_by_adam(), optax.scale(-1e-3)))


def t_rounds_half():
    model = plain(7, dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(split(model, 0.05), 2e-4)
    return out(model, optimizer, ls.LinearLR(optimizer, 1.0, 0.1, 4000), horizon=4000)


def t_rounds_single():
    model = net(8)
    return out(model, torch.optim.AdamW(split(model, 5e-5), 2e-5))


def t_rounds_optax():
    import optax

    params = dense("bfloat16")
    return out(params, optax.adamw(1e-4, weight_decay=0.1, mask=chosen(params, lambda n: "kernel" in n)))


def t_aux_of_no_weight():
    """An auxiliary head whose loss has the weight 0."""
    model = net(9)
    model.aux = nn.Linear(8, 4)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    go(model, optimizer, None, 4, forward=lambda k: model(k) + 0.0 * model.aux(model.table(k)))
    return out(model, optimizer)


def t_expert_never_chosen():
    """Of two experts the gate has never taken the second."""
    torch.manual_seed(10)
    model = nn.ModuleDict({"first": nn.Linear(6, 3), "second": nn.Linear(6, 3)})
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    gate = torch.tensor([1.0, 0.0])
    go(model, optimizer, None, 5, forward=lambda x: gate[0] * model["first"](x) + gate[1] * model["second"](x))
    return out(model, optimizer)


def t_asleep():
    """Units of a CNN that never wake."""
    model = images(11, bn=False)
    with torch.no_grad():
        model[0].bias.fill_(-1e5)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    go(model, optimizer, None, 4)
    return out(model, optimizer)


def t_frozen_table():
    model = net(12)
    model.table.requires_grad_(False)
    return out(model, torch.optim.AdamW(split(model, 0.1, also=("table",)), 1e-3))


def t_frozen_blocks():
    model = net(13, blocks=3)
    model.blocks.requires_grad_(False)
    optimizer = torch.optim.SGD(split(model, 1e-3), 0.05, momentum=0.9)
    return out(model, optimizer, ls.CosineAnnealingLR(optimizer, 700), horizon=700)


def t_invariant_conv():
    model = images(14)
    optimizer = torch.optim.SGD(split(model, 5e-4), 0.2, momentum=0.9, nesterov=True)
    return out(model, optimizer, ls.OneCycleLR(optimizer, 0.2, total_steps=900), horizon=900)


def t_invariant_linear():
    torch.manual_seed(15)
    model = nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 3))
    return out(model, torch.optim.AdamW(split(model, 0.05), 2e-3))


def t_large_adamw():
    model = net(16)
    optimizer = torch.optim.AdamW(split(model, 6.0), 0.05)
    return out(model, optimizer, up_down(optimizer, 30, 3000), horizon=3000)


def t_large_sgd():
    model = plain(17)
    return out(model, torch.optim.SGD(split(model, 0.4), 0.8))


def t_large_optax():
    import optax

    params = dense()
    decay = optax.add_decayed_weights(0.5, mask=chosen(params, lambda n: "kernel" in n))
    return out(params, optax.chain(decay, optax.sgd(0.6)), horizon=1000)


# --- the rate


def t_warm_lambda():
    model = plain(18)
    optimizer = torch.optim.RAdam(model.parameters(), 2e-3)
    return out(model, optimizer, up_down(optimizer, 1300, 2000, 0.1), horizon=2000)


def t_warm_optax():
    import optax

    params = dense()
    return out(params, optax.adam(optax.warmup_cosine_decay_schedule(0.0, 2e-3, 650, 1000)), horizon=1000)


def t_warm_keras():
    import keras

    model = layers()
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.0, 300, warmup_target=1e-3, warmup_steps=700)),
        "mse",
    )
    return out(model, horizon=1000)


def t_short_polynomial():
    model = net(19)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    return out(model, optimizer, ls.PolynomialLR(optimizer, 700, 2.0), horizon=2500)


def t_short_optax():
    import optax

    return out(dense(), optax.sgd(optax.cosine_decay_schedule(0.1, 350), momentum=0.9), horizon=1000)


def t_short_keras():
    import keras

    model = layers(norm=False)
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(0.1, 300, 0.0)), "mse")
    return out(model, horizon=1200)


def t_long_cosine():
    model = plain(20)
    optimizer = torch.optim.NAdam(model.parameters(), 1e-3)
    return out(model, optimizer, ls.CosineAnnealingLR(optimizer, 3100), horizon=1250)


def t_long_optax():
    import optax

    return out(dense(), optax.adam(optax.linear_schedule(1e-3, 0.0, 5300)), horizon=2000)


def t_long_cycle():
    model = net(21)
    optimizer = torch.optim.AdamW(split(model, 0.05), 2e-3)
    return out(model, optimizer, ls.OneCycleLR(optimizer, 2e-3, total_steps=2700), horizon=1100)


def t_rise_cosine():
    model = net(22)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    return out(model, optimizer, ls.CosineAnnealingLR(optimizer, 420, 1e-6), horizon=700)


def t_rise_joined():
    import optax

    first, then = optax.cosine_decay_schedule(1e-3, 500), optax.linear_schedule(0.0, 8e-4, 450)
    return out(dense(), optax.adam(optax.join_schedules([first, then], [500])), horizon=950)


def t_rise_jump():
    model = plain(23)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return out(
        model, optimizer, ls.LambdaLR(optimizer, lambda t: 1.0 if t < 400 else 0.05 if t < 650 else 0.7), horizon=1000
    )


def t_ticks_processes():
    model = plain(24)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 20, 600)
    go(model, optimizer, scheduler, 40, ticks=4)
    return out(model, optimizer, scheduler, horizon=600, processes=4)


def t_ticks_epochs():
    model = net(25)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    scheduler = ls.CosineAnnealingLR(optimizer, 1500)
    go(model, optimizer, scheduler, 150, each=30)
    return out(model, optimizer, scheduler, horizon=1500)


def t_ticks_micro():
    model = plain(26)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    scheduler = ls.PolynomialLR(optimizer, 800, 1.0)
    go(model, optimizer, scheduler, 30, ticks=8)
    return out(model, optimizer, scheduler, horizon=800, accumulation=8)


def _half_way(seed, steps=70, total=240):
    model = plain(seed)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 12, total)
    go(model, optimizer, scheduler, steps)
    return model, optimizer, scheduler


def t_resume_without_scheduler():
    model, old, _ = _half_way(27)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 12, 240)
    optimizer.load_state_dict(copy.deepcopy(old.state_dict()))
    return out(model, optimizer, scheduler, horizon=240)


def t_resume_without_moments():
    model, _, before = _half_way(28, 90)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 12, 240)
    scheduler.load_state_dict(copy.deepcopy(before.state_dict()))
    return out(model, optimizer, scheduler, horizon=240)


def t_resume_of_another_hour():
    model, optimizer, scheduler = _half_way(29, 50)
    early = copy.deepcopy(scheduler.state_dict())
    go(model, optimizer, scheduler, 80)
    late = copy.deepcopy(optimizer.state_dict())
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 12, 240)
    optimizer.load_state_dict(late)
    scheduler.load_state_dict(early)
    return out(model, optimizer, scheduler, horizon=240)


# --- which parameters


def t_twice_across():
    model = net(30)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    optimizer.param_groups[1]["params"].append(model.blocks[0].up.weight)
    return out(model, optimizer)


def t_twice_inside():
    model = plain(31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return out(model, torch.optim.Adam([*model.parameters(), model[0].bias], 1e-3))


def t_tied_table():
    torch.manual_seed(32)
    model = net(32, answers=13)
    model.head.weight = model.table.weight
    return out(model, torch.optim.Adam(model.parameters(), 1e-3))


def t_tied_blocks():
    model = net(33, blocks=3)
    model.blocks[2].up.weight = model.blocks[0].up.weight
    return out(model, torch.optim.AdamW(split(model, 0.1), 1e-3))


def t_left_out_table():
    model = net(34)
    return out(model, torch.optim.Adam([p for n, p in model.named_parameters() if "table" not in n], 1e-3))


def t_left_out_biases():
    model = plain(35)
    return out(model, torch.optim.AdamW([p for p in model.parameters() if p.ndim > 1], 1e-3, weight_decay=0.1))


def t_left_out_block():
    model = net(36)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    model.blocks.append(Block(8))
    return out(model, optimizer)


# --- sound


def t_sound_net():
    model = net(40)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3, betas=(0.9, 0.95))
    return out(model, optimizer, up_down(optimizer, 60, 2000, 0.1), horizon=2000)


def t_sound_net_half_way():
    model = net(41, blocks=3)
    optimizer = torch.optim.AdamW(split(model, 0.02), 1e-3)
    scheduler = up_down(optimizer, 20, 400)
    go(model, optimizer, scheduler, 120)
    return out(model, optimizer, scheduler, horizon=400)


def t_sound_resumed():
    model, old, before = _half_way(42)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    scheduler = up_down(optimizer, 12, 240)
    scheduler.load_state_dict(copy.deepcopy(before.state_dict()))
    optimizer.load_state_dict(copy.deepcopy(old.state_dict()))
    return out(model, optimizer, scheduler, horizon=240)


def t_sound_conv():
    model = images(43, bn=False)
    optimizer = torch.optim.SGD(split(model, 5e-4), 0.1, momentum=0.9, nesterov=True)
    return out(model, optimizer, ls.CosineAnnealingLR(optimizer, 900), horizon=900)


def t_sound_nadam_bare():
    model = net(44)
    return out(model, torch.optim.NAdam(model.parameters(), 1e-3))


def t_sound_adagrad():
    model = plain(45)
    return out(model, torch.optim.Adagrad(model.parameters(), 0.01), horizon=5000)


def t_sound_nadamw():
    model = plain(46)
    optimizer = torch.optim.NAdam(split(model, 0.02), 2e-3, decoupled_weight_decay=True)
    return out(model, optimizer, ls.PolynomialLR(optimizer, 600, 1.0), horizon=600)


def t_sound_rmsprop_cycle():
    model = plain(47)
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3)
    return out(
        model,
        optimizer,
        ls.OneCycleLR(optimizer, 1e-3, total_steps=700, pct_start=0.2, cycle_momentum=False),
        horizon=700,
    )


def t_sound_cyclic():
    model = plain(48)
    optimizer = torch.optim.SGD(split(model, 1e-4), 0.1)
    return out(model, optimizer, ls.CyclicLR(optimizer, 0.01, 0.1, 100, cycle_momentum=False), horizon=1000)


def t_sound_restarts():
    model = net(49)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    return out(model, optimizer, ls.CosineAnnealingWarmRestarts(optimizer, 150), horizon=600)


def t_sound_plateau():
    model = net(50)
    optimizer = torch.optim.AdamW(split(model, 0.05), 1e-3)
    return out(model, optimizer, ls.ReduceLROnPlateau(optimizer, factor=0.3, patience=4))


def t_sound_wsd():
    model = plain(51)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    return out(
        model, optimizer, ls.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 31, (1000 - t) / 200)), horizon=1000
    )


def t_sound_accumulating():
    model = net(52)
    optimizer = torch.optim.AdamW(split(model, 0.1), 1e-3)
    scheduler = up_down(optimizer, 10, 500)
    go(model, optimizer, scheduler, 60)
    return out(model, optimizer, scheduler, horizon=500, accumulation=8, processes=2)


def t_sound_frozen_left_out():
    model = net(53)
    model.blocks[0].requires_grad_(False)
    groups = split(model, 0.1)
    for g in groups:
        g["params"] = [p for p in g["params"] if p.requires_grad]
    return out(model, torch.optim.AdamW(groups, 1e-3))


def t_sound_layerwise():
    model = net(54)
    groups = []
    for part, lr in (
        (model.table, 1e-4),
        (model.blocks[0], 3e-4),
        (model.blocks[1], 6e-4),
        (model.last, 1e-3),
        (model.head, 1e-3),
    ):
        groups += [
            g | {"lr": lr}
            for g in split(part, 0.05)
            if g["params"] and not isinstance(part, nn.Embedding | nn.LayerNorm)
        ]
        if isinstance(part, nn.Embedding | nn.LayerNorm):
            groups.append({"params": list(part.parameters()), "weight_decay": 0.0, "lr": lr})
    optimizer = torch.optim.AdamW(groups)
    return out(model, optimizer, up_down(optimizer, 20, 500), horizon=500)


def t_sound_hf():
    from transformers import get_cosine_schedule_with_warmup

    model = net(55)
    optimizer = torch.optim.AdamW(split(model, 0.01), 5e-4)
    return out(model, optimizer, get_cosine_schedule_with_warmup(optimizer, 100, 3000), horizon=3000)


def t_sound_sequential():
    model = plain(56)
    optimizer = torch.optim.SGD(split(model, 1e-4), 0.1, momentum=0.9)
    parts = [ls.LinearLR(optimizer, 0.05, 1.0, 40), ls.ExponentialLR(optimizer, 0.995)]
    return out(model, optimizer, ls.SequentialLR(optimizer, parts, [40]), horizon=1000)


def t_sound_double():
    model = plain(57, dtype=torch.float64)
    return out(model, torch.optim.AdamW(split(model, 1e-2), 1e-4))


def t_sound_optax():
    import optax

    params = tree()
    tx = optax.adamw(
        optax.warmup_cosine_decay_schedule(0.0, 1e-3, 50, 1500),
        weight_decay=0.1,
        mask=chosen(params, lambda n: n.endswith("kernel")),
    )
    return out(params, tx, horizon=1500)


def t_sound_optax_clipped():
    import optax

    params = dense()
    return out(
        params,
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(optax.linear_schedule(0.1, 0.0, 800), momentum=0.9)),
        horizon=800,
    )


def t_sound_optax_state():
    import optax

    params = tree()
    tx = optax.lion(1e-4)
    return out(params, (tx, tx.init(params)))


def t_sound_keras():
    import keras

    model = layers()
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-3, 900), weight_decay=0.02)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, "mse")
    return out(model, horizon=900)


def t_sound_keras_sgd():
    import keras

    model = layers(norm=False)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return out(model, horizon=1000)


def t_sound_keras_l2():
    """L2 on the kernels alone, by SGD."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(12, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4)),
            keras.layers.Dense(3),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return out(model)
