"""Hidden live set-ups; the helpers are those of the visible ones."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.optim import lr_scheduler

import dwindle as dw

_at = next(
    p
    for p in (Path("tests/clinic/live.py"), Path(dw.__file__).resolve().parents[2] / "tests/clinic/live.py")
    if p.exists()
)
_spec = importlib.util.spec_from_file_location("clinic_live_helpers", _at)
v = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(v)
made, apart, trained, warm_cosine = v.made, v.apart, v.trained, v.warm_cosine


class Residual(nn.Module):
    """GroupNorm, an embedding of a class, a bias of one's own, a learned scale."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 12)
        self.first = nn.Linear(12, 12)
        self.norm = nn.GroupNorm(3, 12)
        self.out = nn.Linear(12, 4)

    def forward(self, k):
        h = self.table(k)
        return self.out(torch.relu(self.norm(self.first(h) + h)))


def residual():
    torch.manual_seed(1)
    return Residual()


def named(model, decays, decay):
    yes = [p for n, p in model.named_parameters() if decays(n, p)]
    no = [p for n, p in model.named_parameters() if not decays(n, p)]
    return [{"params": yes, "weight_decay": decay}, {"params": no, "weight_decay": 0.0}]


def step(model, optimizer):
    k = torch.randint(7, (6,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(k), torch.randint(4, (6,))).backward()
    optimizer.step()


def h_bias_some():
    model = residual()
    return made(model, torch.optim.AdamW(named(model, lambda n, p: n.startswith(("first", "out")), 0.05), 1e-3))


def h_bias_nadamw():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3, weight_decay=1e-2, momentum=0.9)
    return made(model, optimizer, lr_scheduler.ExponentialLR(optimizer, 0.99))


def h_norm_group():
    model = residual()
    return made(model, torch.optim.AdamW(named(model, lambda n, p: "bias" not in n and "table" not in n, 0.1), 1e-3))


def h_norm_rms():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.RMSNorm(6), nn.ReLU(), nn.Linear(6, 2, bias=False))
    return made(model, torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1))


def h_embedding():
    model = residual()
    return made(model, torch.optim.AdamW(named(model, lambda n, p: p.ndim > 1, 0.1), 1e-3))


def h_embedding_bag():
    torch.manual_seed(4)
    model = nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, 2))
    return made(model, torch.optim.SGD(named(model, lambda n, p: p.ndim > 1, 1e-3), 0.1))


def h_adam_l2():
    model = residual()
    optimizer = torch.optim.Adam(
        named(model, lambda n, p: p.ndim > 1 and "table" not in n, 5e-3), 2e-3, betas=(0.9, 0.95)
    )
    scheduler = lr_scheduler.StepLR(optimizer, 100, 0.5)
    return made(model, optimizer, scheduler, horizon=400)


def h_nadam_l2():
    model = v.perceptron()
    return made(model, torch.optim.Adam(apart(model, 1e-4), 1e-3, fused=True))


def h_rounds_half():
    model = v.perceptron(torch.float16)
    return made(model, torch.optim.AdamW(apart(model, 0.01), 1e-3))


def h_rounds_bf16_sched():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(apart(model, 0.05), 6e-4, betas=(0.9, 0.95))
    return made(model, optimizer, warm_cosine(optimizer, 20, 1000), horizon=1000)


def h_no_gradient_branch():
    model = residual()
    model.spare = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 1))
    optimizer = torch.optim.AdamW(named(model, lambda n, p: p.ndim > 1 and "table" not in n, 0.1), 1e-3)
    for _ in range(4):
        step(model, optimizer)
    return made(model, optimizer)


def h_no_gradient_zero():
    """A ReLU that never wakes: what is before it has gradients of exactly 0."""
    model = v.perceptron()
    with torch.no_grad():
        model[0].bias.fill_(-1e4)
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    trained(model, optimizer, None, 4)
    return made(model, optimizer)


def h_frozen_first():
    model = residual()
    model.first.weight.requires_grad_(False)
    return made(model, torch.optim.AdamW(named(model, lambda n, p: p.ndim > 1 and "table" not in n, 0.1), 1e-3))


def h_frozen_later():
    """Frozen after a while of training: torch goes on where a gradient is left."""
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    trained(model, optimizer, None, 5)
    model[0].requires_grad_(False)
    return made(model, optimizer)


def h_scale_invariant_1d():
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    return made(model, torch.optim.SGD(apart(model, 1e-3), 0.05, momentum=0.9))


def h_scale_invariant_group():
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    with torch.no_grad():
        model(torch.zeros(1, 1, 8, 8))
    return made(model, torch.optim.AdamW(apart(model, 0.1), 1e-3))


def h_lambda_large():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 10.0), 0.03)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 5000), horizon=5000)


def h_lambda_large_momentum():
    model = v.perceptron()
    optimizer = torch.optim.SGD(apart(model, 1.0), 0.3)
    return made(model, optimizer, lr_scheduler.MultiStepLR(optimizer, [3000, 4000]), horizon=5000)


def h_warm_up_all():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 1600)), horizon=2000)


def h_warm_up_cycle():
    model = v.perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    return made(
        model,
        optimizer,
        lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=500, pct_start=0.75, cycle_momentum=False),
        horizon=500,
    )


def h_short_cycle():
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, warm_cosine(optimizer, 100, 3500), horizon=12_000)


def h_short_poly():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.PolynomialLR(optimizer, 250, 1.0), horizon=1000)


def h_long_linear():
    model = v.perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    return made(model, optimizer, lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 3100), horizon=1300)


def h_long_lambda():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, warm_cosine(optimizer, 50, 3300), horizon=1000)


def h_rise():
    model = v.reader()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1, momentum=0.9)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 300, 1e-4), horizon=480)


def h_rise_middle():
    """Already on its way up again."""
    model = v.perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 40)
    trained(model, optimizer, scheduler, 60)
    return made(model, optimizer, scheduler, horizon=80)


def h_stepping_half():
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 300)
    trained(model, optimizer, scheduler, 25, ticks=2)
    return made(model, optimizer, scheduler, horizon=300, accumulation=2)


def h_stepping_epochs():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 100, 2000)
    trained(model, optimizer, scheduler, 120, each=40)
    return made(model, optimizer, scheduler, horizon=2000)


def h_resume_built_after():
    """The scheduler was built on an optimiser that was restored: it begins again."""
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 20, 200)
    trained(model, optimizer, scheduler, 90)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    optimizer.load_state_dict(saved)
    return made(model, optimizer, warm_cosine(optimizer, 20, 200), horizon=200)


def h_resume_two_checkpoints():
    """The optimiser of step 40 and the scheduler of step 100."""
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    trained(model, optimizer, scheduler, 40)
    early = copy.deepcopy(optimizer.state_dict())
    trained(model, optimizer, scheduler, 60)
    late = copy.deepcopy(scheduler.state_dict())
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    scheduler.load_state_dict(late)
    optimizer.load_state_dict(early)
    return made(model, optimizer, scheduler, horizon=200)


def h_duplicate():
    model = residual()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = torch.optim.SGD([model.first.weight, *model.parameters()], 0.1)
    return made(model, optimizer)


def h_duplicate_groups():
    model = v.pictures()
    optimizer = torch.optim.SGD(apart(model, 5e-4), 0.1)
    optimizer.param_groups[0]["params"] += optimizer.param_groups[0]["params"][-1:]
    return made(model, optimizer)


def h_tied():
    torch.manual_seed(8)
    model = nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 9, bias=False))
    model[1].weight = model[0].weight
    return made(model, torch.optim.SGD(model.parameters(), 0.1, weight_decay=1e-3))


def h_tied_module():
    torch.manual_seed(9)
    shared = nn.Linear(8, 8)
    model = nn.ModuleDict({"a": nn.Linear(8, 8), "b": shared, "c": shared, "d": nn.Linear(8, 2)})
    return made(model, torch.optim.AdamW(apart(model, 0.1), 1e-3))


def h_forgotten_norm():
    model = residual()
    rest = [p for n, p in model.named_parameters() if not n.startswith("norm")]
    groups = [{"params": [p for p in rest if p.ndim > 1 and p is not model.table.weight], "weight_decay": 0.1}]
    groups += [{"params": [p for p in rest if p.ndim <= 1] + [model.table.weight], "weight_decay": 0.0}]
    return made(model, torch.optim.AdamW(groups, 1e-3))


def h_forgotten_after_swap():
    """The head was replaced after the optimiser was built."""
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    model[2] = nn.Linear(16, 5)
    return made(model, optimizer)


def h_sound_lm():
    model = v.reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 6e-4, betas=(0.9, 0.95))
    scheduler = warm_cosine(optimizer, 100, 5000)
    trained(model, optimizer, scheduler, 30)
    return made(model, optimizer, scheduler, horizon=5000)


def h_sound_group_norm():
    model = residual()
    optimizer = torch.optim.AdamW(named(model, lambda n, p: p.ndim > 1 and "table" not in n, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 300, 1e-5), horizon=300)


def h_sound_sgd_zero():
    model = v.pictures()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    return made(model, optimizer, lr_scheduler.StepLR(optimizer, 30, 0.1))


def h_sound_finished():
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 5, 60)
    trained(model, optimizer, scheduler, 60)
    return made(model, optimizer, scheduler, horizon=60)


def h_sound_sequential():
    model = v.perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    parts = [lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 50), lr_scheduler.CosineAnnealingLR(optimizer, 950, 1e-5)]
    return made(model, optimizer, lr_scheduler.SequentialLR(optimizer, parts, [50]), horizon=1000)


def h_sound_restarts():
    model = v.perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    return made(model, optimizer, lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 100, 2), horizon=700)


def h_sound_attached():
    model = v.reader()
    plan = dw.Plan(3e-4, dw.warmup("5%").then(dw.cosine(end=0.1)), dw.decoupled(0.1))
    optimizer = torch.optim.AdamW(model.named_parameters())
    dw.torch.attach(optimizer, plan, 300, model=model)
    for _ in range(5):
        optimizer.zero_grad()
        v.loss_of(model).backward()
        optimizer.step()
    return {**made(model, optimizer), "plan": plan, "horizon": 300}


def h_sound_head_rates():
    """A pretrained body at a tenth of the head's rate."""
    model = v.perceptron()
    a, b = apart(model[0], 0.1), apart(model[2], 0.1)
    groups = [g | {"lr": 1e-4} for g in a] + [g | {"lr": 1e-3} for g in b]
    optimizer = torch.optim.AdamW(groups)
    return made(model, optimizer, warm_cosine(optimizer, 20, 400), horizon=400)


def h_sound_frozen_no_decay():
    model = v.perceptron()
    model[0].requires_grad_(False)
    return made(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))


def h_sound_double():
    model = v.perceptron(torch.float64)
    optimizer = torch.optim.AdamW(apart(model, 1e-3), 1e-5)
    return made(model, optimizer)
