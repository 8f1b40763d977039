"""The loops of Lightning, Hugging Face and Accelerate: the plan's rates are used and logged, and resuming is continuing."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

import dwindle as dw
from dwindle.errors import InvalidValueError, ResumeError
from dwindle.torch import attach

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # theirs, about each other
    pytest.mark.filterwarnings("ignore:.*(num_workers|pin_memory|does not have many|dirpath|not empty).*"),  # advice
    pytest.mark.slow,
]

PLAN = dw.Plan(0.05, dw.warmup("1ep").then(dw.cosine(end=0.1)), dw.independent(0.02))
EXAMPLES, BATCH, EPOCHS = 40, 4, 6


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def examples():
    return torch.randn(EXAMPLES, 3, generator=torch.Generator().manual_seed(1))


def equal(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def by_hand(plan, steps, micro=1, steps_per_epoch=10, batch=BATCH):
    """Return the model of the plain loop over the same batches, and the lr of every step."""
    model, lrs = small(), []
    optimizer = torch.optim.AdamW(model.named_parameters())
    controller = attach(optimizer, plan, dw.Horizon(steps=steps, steps_per_epoch=steps_per_epoch), model=model)
    batches = examples().split(batch) * 100
    for step in range(steps):
        lrs.append(controller.lr)
        for x in batches[step * micro : (step + 1) * micro]:
            (model(x).square().mean() / micro).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, lrs


@pytest.mark.parametrize("package", ["lightning", "pytorch_lightning", "transformers", "accelerate"])
def test_importing_the_adapter_of_torch_imports_no_loop(package):
    code = f"import dwindle.torch, sys; print({package!r} in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


# Lightning


def lightning(package="lightning.pytorch"):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return pytest.importorskip(package)


def module(pl, configure=None):
    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = small()
            self.seen = []

        def training_step(self, batch, _):
            return self.net(batch).square().mean()

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.named_parameters())
            return optimizer if configure is None else configure(optimizer)

        def on_before_zero_grad(self, optimizer):
            self.seen.append(dict(self.trainer.callback_metrics))

    return Net()


def fit(pl, folder, epochs, follow, net=None, path=None, micro=1, **options):
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=folder, filename="{epoch}", save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[follow, checkpoint], accumulate_grad_batches=micro,
        log_every_n_steps=1, **options,
    )  # fmt: skip
    net = module(pl) if net is None else net
    trainer.fit(net, torch.utils.data.DataLoader(examples(), BATCH), ckpt_path=path)
    return net


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_six_epochs_are_three_and_a_resume(package, micro, tmp_path):
    pl = lightning(package)
    steps = EPOCHS * 10 // micro
    follow = dw.torch.lightning.FollowPlan(PLAN)
    whole = fit(pl, tmp_path / "whole", EPOCHS, follow, micro=micro)
    (controller,) = follow.controllers
    assert (controller.step, controller.horizon) == (steps, dw.Horizon(steps=steps, steps_per_epoch=10 // micro))
    model, lrs = by_hand(PLAN, steps, micro, 10 // micro)
    assert equal(whole.net, model)
    assert [float(metrics["lr"]) for metrics in whole.seen] == pytest.approx(lrs, rel=1e-6)  # Lightning logs float32

    half = dw.torch.lightning.FollowPlan(PLAN, dw.Horizon(steps=steps, steps_per_epoch=10 // micro))
    fit(pl, tmp_path / "half", 3, half, micro=micro)
    again = dw.torch.lightning.FollowPlan(PLAN)
    path = tmp_path / "half" / "epoch=2.ckpt"
    resumed = fit(pl, tmp_path / "rest", EPOCHS, again, micro=micro, path=path)
    assert again.controllers[0].step == steps
    assert equal(resumed.net, whole.net)
    assert float(resumed.seen[0]["lr"]) == pytest.approx(lrs[steps // 2], rel=1e-6)


class Started:
    """A Trainer as the callback sees it at fit's start."""

    lr_scheduler_configs = ()

    def __init__(self, *optimizers):
        self.optimizers = optimizers


def test_lightning_restores_before_and_after_fit_starts_and_before_and_after_the_optimiser(tmp_path):
    pl, follow = lightning(), dw.torch.lightning.FollowPlan
    plan = dw.Plan(0.05, dw.warmup(5).then(dw.cosine(end=0.1)), dw.decoupled(0.1))
    fit(pl, tmp_path, -1, follow(plan, 20), max_steps=13)  # in the middle of the second epoch
    saved = torch.load(max(tmp_path.glob("*.ckpt"), key=str), weights_only=True)
    mine = json.loads(json.dumps(saved["callbacks"]["FollowPlan"]))
    assert mine["controllers"][0]["step"] == 13
    whole = list(itertools.permutations(["start", "callback", "optimiser"]))
    for order in [*whole, ("start", "callback"), ("callback", "start"), ("start", "optimiser")]:
        net, late = module(pl), follow(plan, 20)
        optimizer = torch.optim.AdamW(net.named_parameters())
        for what in order:
            if what == "start":
                late.on_fit_start(Started(optimizer), net)
            elif what == "callback":
                late.load_state_dict(mine)
            else:
                optimizer.load_state_dict(copy.deepcopy(saved["optimizer_states"][0]))
        assert late.controllers[0].step == 13
        assert late.rates()["lr"] == plan.lrs(20)[13]


def test_lightning_names_the_rates_of_groups_and_of_several_optimisers():
    pl, follow = lightning(), dw.torch.lightning.FollowPlan
    net, plan = module(pl), dw.Plan(0.1, decay=dw.decoupled(0.5), groups=(dw.Group("head", "net.2.*", 3.0),))
    one = follow(plan, 10)
    one.on_fit_start(Started(torch.optim.AdamW(net.named_parameters())), net)
    assert one.rates() == pytest.approx({"lr": 0.1, "decay": 0.05, "lr/head": 0.3})
    two = follow([dw.Plan(0.1), dw.Plan(0.2, decay=dw.l2(0.5))], 10)
    two.on_fit_start(
        Started(torch.optim.AdamW(net.net[:2].parameters()), torch.optim.SGD(net.net[2].parameters())), net
    )
    assert two.rates() == pytest.approx({"lr": 0.1, "decay": 0.0, "1/lr": 0.2, "1/decay": 0.1})


def test_lightning_fits_again_with_the_same_callback_and_optimiser(tmp_path):
    pl, follow = lightning(), dw.torch.lightning.FollowPlan(dw.Plan(0.1), 100, step=0)
    net = module(pl)
    optimizer = torch.optim.AdamW(net.named_parameters())
    net.configure_optimizers = lambda: optimizer
    for again in (1, 2):
        fit(pl, tmp_path / str(again), 1, follow, net)
    assert follow.controllers[0].step == 10  # a new fit is a new run, as it is for Lightning's own schedulers


def test_a_further_fit_of_the_same_lightning_trainer_goes_on(tmp_path):
    pl, follow = lightning(), dw.torch.lightning.FollowPlan(dw.Plan(0.1, dw.linear()))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=[follow],
    )  # fmt: skip
    net, data = module(pl), torch.utils.data.DataLoader(examples(), BATCH)
    trainer.fit(net, data)
    assert (follow.controllers[0].step, follow.controllers[0].lr) == (20, 0.0)
    trainer.fit_loop.max_epochs = 4
    lrs = []
    net.on_train_batch_end = lambda *_: lrs.append(follow.controllers[0].lr)
    trainer.fit(net, data)
    assert (follow.controllers[0].step, follow.controllers[0].horizon.steps) == (40, 40)
    assert lrs == pytest.approx([0.1 * (1 - t / 40) for t in range(21, 41)])


def with_scheduler(optimizer):
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 5)]


def test_lightning_refusals(tmp_path):
    pl, follow = lightning(), dw.torch.lightning.FollowPlan
    with pytest.raises(InvalidValueError, match="StepLR too"):
        fit(pl, tmp_path, 2, follow(PLAN), module(pl, with_scheduler))
    with pytest.raises(InvalidValueError, match="2 plans were given and configure_optimizers returned 1"):
        fit(pl, tmp_path, 2, follow([PLAN, PLAN]))
    with pytest.raises(InvalidValueError, match="does not know how many steps"):
        fit(pl, tmp_path, -1, follow(PLAN))
    with pytest.raises(InvalidValueError, match="plan must be a Plan"):
        follow("peak 0.1")
    with pytest.raises(ResumeError, match="not the state of FollowPlan"):
        follow(PLAN).load_state_dict({})
    fit(pl, tmp_path, 2, follow(PLAN))
    with pytest.raises(ResumeError, match="steps=20, this one 40"):
        fit(pl, tmp_path, 4, follow(PLAN), path=tmp_path / "epoch=1.ckpt")
    longer = follow(PLAN, on_change="keep")
    fit(pl, tmp_path, 4, longer, path=tmp_path / "epoch=1.ckpt")
    assert longer.controllers[0].step == 40


# Hugging Face


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x, labels=None):
        out = self.net(x)
        return {"loss": out.square().mean(), "logits": out}


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return EXAMPLES

    def __getitem__(self, i):
        return {"x": examples()[i], "labels": torch.zeros(1)}


def hf_train(folder, plan, steps, resume=None, stop=None, micro=2, subclass=False):
    transformers = pytest.importorskip("transformers")
    model = Squares()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=BATCH, gradient_accumulation_steps=micro, max_steps=steps,
        learning_rate=0.123, lr_scheduler_type="linear", warmup_steps=3, logging_steps=1, save_steps=7, report_to=[],
        use_cpu=True, disable_tqdm=True, max_grad_norm=0.0, average_tokens_across_devices=False, seed=3,
    )  # fmt: skip
    run = dw.Horizon(steps=steps, steps_per_epoch=EXAMPLES // BATCH // micro)

    class Planned(transformers.Trainer):
        def create_optimizer(self, *args):
            if self.optimizer is None:
                self.optimizer = torch.optim.AdamW(self.model.named_parameters())
            return self.optimizer

        def create_scheduler(self, num_training_steps, optimizer=None):
            if self.lr_scheduler is None:
                assert num_training_steps == steps
                _, self.lr_scheduler = dw.torch.trainer.pair(self.optimizer, plan, run, model=self.model)
            return self.lr_scheduler

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == stop

    if subclass:
        options, kind = {}, Planned
    else:
        optimizer = torch.optim.AdamW(model.named_parameters())
        options = {"optimizers": dw.torch.trainer.pair(optimizer, plan, run, model=model)}
        kind = transformers.Trainer
    trainer = kind(model=model, args=arguments, train_dataset=Rows(), callbacks=[Stop()], **options)
    trainer.train(resume_from_checkpoint=resume)
    logged = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    return model, logged, trainer.lr_scheduler


@pytest.mark.parametrize("subclass", [False, True], ids=["pair", "subclass"])
def test_trainer_logs_the_plan_and_resumes_bit_for_bit(subclass, tmp_path):
    plan, steps = dw.Plan(0.05, dw.warmup("1ep").then(dw.cosine(end=0.1)), dw.independent(0.02)), 20
    whole, logged, scheduler = hf_train(tmp_path / "whole", plan, steps, subclass=subclass)
    expected = plan.lrs(dw.Horizon(steps=steps, steps_per_epoch=5))
    assert logged == pytest.approx(list(expected), rel=1e-12)
    assert (scheduler.controller.step, scheduler.last_epoch) == (steps, steps)

    hf_train(tmp_path / "half", plan, steps, stop=9, subclass=subclass)
    path = str(tmp_path / "half/checkpoint-7")
    assert json.loads(json.dumps(torch.load(f"{path}/scheduler.pt", weights_only=True)))["step"] == 7
    again, rest, scheduler = hf_train(tmp_path / "rest", plan, steps, resume=path, subclass=subclass)
    assert scheduler.controller.step == steps
    assert rest == pytest.approx([*expected[:7], *expected[7:]], rel=1e-12)  # the log of the first part is kept
    assert equal(whole, again)

    other = dw.Plan(0.04, plan.schedule, plan.decay)
    with pytest.raises(ResumeError, match=r"peak 0\.05"):
        hf_train(tmp_path / "other", other, steps, resume=path, subclass=subclass)


# Accelerate


def accelerator(micro=2):
    accelerate = pytest.importorskip("accelerate")
    return accelerate.Accelerator(cpu=True, gradient_accumulation_steps=micro)


def accelerated(acc, when, steps=20):
    model = small()
    optimizer = torch.optim.AdamW(model.named_parameters())
    loader = torch.utils.data.DataLoader(examples(), BATCH)
    run = dw.Horizon(steps=steps, steps_per_epoch=5)
    controller = attach(optimizer, PLAN, run, model=model) if when == "before" else None
    prepared, optimizer, loader = acc.prepare(model, optimizer, loader)
    if when == "after":
        controller = attach(optimizer, PLAN, run, model=prepared)
    return model, prepared, optimizer, loader, controller


def go_on(acc, prepared, optimizer, loader, controller, until):
    while controller.step < until:
        for x in loader:
            with acc.accumulate(prepared):
                acc.backward(prepared(x).square().mean())
                optimizer.step()
                optimizer.zero_grad()
            if controller.step == until:
                break


@pytest.mark.parametrize("when", ["before", "after"])
def test_accelerate_counts_updates_whether_attached_before_or_after_prepare(when, tmp_path):
    acc = accelerator()
    expected, _ = by_hand(PLAN, 20, micro=2, steps_per_epoch=5)
    model, *rest = accelerated(acc, when)
    controller = rest[-1]
    go_on(acc, *rest, until=10)
    acc.save_state(str(tmp_path))
    go_on(acc, *rest, until=20)
    assert controller.step == 20
    assert equal(model, expected)

    fresh = accelerator()
    model, *rest = accelerated(fresh, when)
    fresh.load_state(str(tmp_path))
    assert rest[-1].step == 10
    go_on(fresh, *rest, until=20)
    assert equal(model, expected)


def test_accelerate_an_optimiser_is_attached_once_whichever_way_it_is_given():
    acc = accelerator()
    _, _, optimizer, _, controller = accelerated(acc, "before")
    with pytest.raises(InvalidValueError, match="already follows a plan"):
        attach(optimizer, PLAN, 10)
    controller.detach()
    assert attach(optimizer, dw.Plan(0.1), 10).step == 0
