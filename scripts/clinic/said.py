"""Plans, configs and live set-ups: what is wrong is there to read, and nothing needs to be trained."""

from __future__ import annotations

import json
from typing import Any

from clinic.case import Said

# What a plan or program that lets every parameter decay may be told besides.
ALL_DECAY = ("decay-on-bias", "decay-on-norm", "decay-on-embedding")
NORMALISED = ("decay-scale-invariant",)


def plan(
    name: str, must: tuple[str, ...], how: str, text: str, horizon: int | None = 10_000, may: tuple[str, ...] = ()
) -> Said:
    return Said(f"plan-{name}", "plan", must, how, text, may, horizon=horizon)


def live(function: str, must: tuple[str, ...] = (), how: str = "as it should be", may: tuple[str, ...] = ()) -> Said:
    return Said(f"live-{function.replace('_', '-')}", "live", must, how, function, may)


def config(name: str, must: tuple[str, ...], how: str, file: str, text: str, may: tuple[str, ...] = ()) -> Said:
    return Said(f"config-{name}", "config", must, how, text, may, file)


def arguments(**given: Any) -> str:
    """Return TrainingArguments as transformers saves them, in part."""
    usual = {
        "output_dir": "out", "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 5e-5,
        "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "num_train_epochs": 3, "max_steps": 10_000, "lr_scheduler_type": "linear", "warmup_steps": 0, "logging_steps": 50,
        "save_steps": 500, "seed": 42, "bf16": False, "fp16": False, "optim": "adamw_torch",
    }  # fmt: skip
    return json.dumps(usual | given, indent=2) + "\n"


_TORCH = """import torch
from torch.optim.lr_scheduler import {imported}

from project import loader, model

optimizer = {optimizer}
scheduler = {scheduler}
for epoch in range({epochs}):
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    scheduler.step()
"""


def program(optimizer: str, scheduler: str, epochs: int = 90) -> str:
    return _TORCH.format(imported=scheduler.partition("(")[0], optimizer=optimizer, scheduler=scheduler, epochs=epochs)


PLANS = [
    plan(
        "lambda-large",
        ("lr-lambda-large",),
        "half of every weight a step",
        "peak 0.1 | warmup 2%, cosine to 0 | decoupled 5",
    ),
    plan("lambda-large-l2", ("lr-lambda-large",), "a rate of 1 and L2 of 0.3", "peak 1 | linear to 0 | l2 0.3"),
    plan("warmup-long", ("warmup-long",), "60 % of the run", "peak 1e-3 | warmup 60%, cosine to 0 | decoupled 0.1"),
    plan(
        "warmup-long-steps",
        ("warmup-long",),
        "8,000 of 10,000 steps",
        "peak 1e-3 | warmup 8000st, linear to 0 over 2000st | decoupled 0.1",
    ),
    plan(
        "short",
        ("schedule-short",),
        "the cosine ends at 30 %",
        "peak 1e-3 | warmup 200st, cosine to 0 over 2800st | decoupled 0.1",
    ),
    plan(
        "short-linear",
        ("schedule-short",),
        "the linear decay ends at a fifth",
        "peak 0.1 | linear to 0 over 2000st",
        may=("cut-early",),
    ),
    plan(
        "long",
        ("schedule-long",),
        "the cosine is made for three times the run",
        "peak 1e-3 | warmup 200st, cosine to 0 over 29800st | decoupled 0.1",
    ),
    plan(
        "long-linear",
        ("schedule-long",),
        "the linear decay is made for twice the run",
        "peak 1e-3 | linear to 0 over 21000st | decoupled 0.1",
    ),
    plan(
        "rounds-away",
        ("decay-rounds-away",),
        "lr·λ of 1e-9, below half an ulp of float32",
        "peak 1e-5 | warmup 2%, cosine to 10% | decoupled 1e-4",
    ),
    plan(
        "all-decay",
        ("decay-on-bias",),
        "a mask that lets everything decay",
        "peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1 | mask everything",
        may=ALL_DECAY,
    ),
    plan(
        "rises",
        ("lr-rise",),
        "the cosine turns at half of the run",
        "peak 0.1 | (cosine to 0 over 5000st) mirror every 5000st",
        may=("schedule-short", "schedule-long"),
    ),
    plan("sound-cosine", (), "the plan of the README", "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"),
    plan(
        "sound-wsd",
        (),
        "warm-up, stable, decay",
        "peak 1e-3 | warmup 200st, constant for 7800st, linear to 0 over 2000st | decoupled 0.1",
    ),
    plan(
        "sound-steps",
        (),
        "two cuts, late",
        "peak 0.1 | constant for 5000st, constant at 0.1 for 2500st, constant at 0.01 | l2 5e-4",
    ),
    plan("sound-constant", (), "a constant rate after a warm-up, no decay", "peak 1e-3 | warmup 5%, constant"),
    plan(
        "sound-restarts",
        (),
        "cosines that start anew",
        "peak 0.1 | (cosine to 0 over 2500st) repeat every 2500st | l2 1e-4",
    ),
    plan("sound-exponential", (), "exponential to 1 %", "peak 0.01 | exponential to 1% | decoupled 0.05"),
]

LIVE = [
    live("bias_in_adamw", ("decay-on-bias",), "all parameters in one decaying group"),
    live("bias_in_sgd", ("decay-on-bias",), "all parameters in one decaying group of SGD"),
    live("norm_by_name", ("decay-on-norm",), "only what is called bias was taken out"),
    live("norm_of_batches", ("decay-on-norm",), "only what is called bias was taken out", NORMALISED),
    live("embedding_by_rank", ("decay-on-embedding",), "everything of rank 2 decays, the embedding too"),
    live("embedding_and_all", ("decay-on-embedding", "decay-on-norm", "decay-on-bias"), "model.parameters() in AdamW"),
    live("adam_with_l2", ("adam-l2",), "weight_decay in torch.optim.Adam"),
    live("amsgrad_with_l2", ("adam-l2",), "weight_decay in torch.optim.Adam with amsgrad"),
    live("rounds_away_bfloat16", ("decay-rounds-away",), "lr·λ of 3e-5 on bfloat16 weights"),
    live("rounds_away_float32", ("decay-rounds-away",), "lr·λ of 1e-9 on float32 weights"),
    live("no_gradient_none", ("decay-without-gradient",), "a head that is never called decays", ("decay-on-frozen",)),
    live("no_gradient_zero", ("decay-without-gradient",), "a branch times 0 decays"),
    live("frozen_layer", ("decay-on-frozen",), "a frozen layer in a decaying group", ("decay-without-gradient",)),
    live(
        "frozen_backbone",
        ("decay-on-frozen",),
        "all but the head frozen, all handed over",
        (*NORMALISED, "decay-without-gradient"),
    ),
    live("scale_invariant_sgd", ("decay-scale-invariant",), "filters before BatchNorm decay"),
    live("scale_invariant_adamw", ("decay-scale-invariant",), "layers before BatchNorm decay"),
    live("lambda_large_adamw", ("lr-lambda-large",), "lr·λ of 0.5"),
    live("lambda_large_sgd", ("lr-lambda-large",), "lr·c of 0.5"),
    live("warm_up_long", ("warmup-long",), "700 of 1,000 steps"),
    live("warm_up_long_linear", ("warmup-long",), "600 of 1,000 steps, SequentialLR"),
    live("schedule_short_lambda", ("schedule-short",), "a LambdaLR at 0 from 40 % on"),
    live("schedule_short_linear", ("schedule-short",), "a LinearLR at 0 from 30 % on"),
    live("schedule_long_cosine", ("schedule-long",), "T_max of 2,700 for 1,000 steps", ("wrong-stepping",)),
    live("schedule_long_poly", ("schedule-long",), "total_iters of 2,300 for 1,000 steps", ("wrong-stepping",)),
    live("rises_again", ("lr-rise",), "T_max of 550 for 1,000 steps", ("schedule-short", "schedule-long")),
    live(
        "rises_again_after_warm_up",
        ("lr-rise",),
        "T_max of 500 after 50 for 1,000 steps",
        ("schedule-short", "schedule-long"),
    ),
    live(
        "stepped_per_micro_batch",
        ("wrong-stepping",),
        "four scheduler steps for one of the optimiser",
        ("schedule-short", "wrong-resume", "lr-rise"),
    ),
    live(
        "stepped_per_epoch",
        ("wrong-stepping",),
        "one scheduler step for fifty of the optimiser",
        ("schedule-long", "wrong-resume"),
    ),
    live(
        "stepped_per_process",
        ("wrong-stepping",),
        "eight scheduler steps for one of the optimiser",
        ("schedule-short", "wrong-resume", "lr-rise"),
    ),
    live(
        "optimizer_restored_alone",
        ("wrong-resume",),
        "the scheduler was not restored",
        ("wrong-stepping", "schedule-long"),
    ),
    live(
        "scheduler_restored_alone",
        ("wrong-resume",),
        "the optimiser was not restored",
        ("wrong-stepping", "schedule-short"),
    ),
    live("twice_in_a_group", ("duplicate-parameters",), "one weight twice in a group"),
    live("twice_across_groups", ("duplicate-parameters",), "one weight in two groups"),
    live("tied_head", ("tied-parameters",), "head and embedding are one tensor", ("decay-on-embedding",)),
    live("tied_layers", ("tied-parameters",), "two layers share a weight"),
    live("head_forgotten", ("unoptimised-parameters",), "the optimiser was given the first layer alone"),
    live("added_afterwards", ("unoptimised-parameters",), "a layer was added after the optimiser was built"),
    live("sound_fresh"),
    live("sound_in_the_middle"),
    live("sound_resumed"),
    live("sound_sgd_in_epochs", may=NORMALISED),
    live("sound_no_decay_at_all"),
    live("sound_one_cycle"),
    live("sound_accumulating"),
    live("sound_attached_bfloat16"),
    live("sound_frozen_left_out"),
    live("sound_plateau"),
]

CONFIGS = [
    config(
        "adam-l2",
        ("adam-l2",),
        "weight_decay in torch.optim.Adam",
        "train.py",
        program(
            "torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)", "CosineAnnealingLR(optimizer, T_max=90)"
        ),
        ALL_DECAY,
    ),
    config(
        "all-decay",
        ("decay-on-bias",),
        "model.parameters() in AdamW",
        "train.py",
        program(
            "torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)", "CosineAnnealingLR(optimizer, T_max=90)"
        ),
        ALL_DECAY,
    ),
    config(
        "warmup-long",
        ("warmup-long",),
        "7,000 of 10,000 steps",
        "training_args.json",
        arguments(weight_decay=0.1, warmup_steps=7000, lr_scheduler_type="cosine"),
    ),
    config(
        "lambda-large",
        ("lr-lambda-large",),
        "learning_rate 0.5, weight_decay 1",
        "training_args.json",
        arguments(learning_rate=0.5, weight_decay=1.0, warmup_steps=500),
    ),
    config(
        "rounds-away",
        ("decay-rounds-away",),
        "lr·λ of 1e-9 on float32",
        "training_args.json",
        arguments(learning_rate=1e-6, weight_decay=1e-3, warmup_steps=500),
    ),
    config(
        "sound-arguments",
        (),
        "Hugging Face as usual",
        "training_args.json",
        arguments(weight_decay=0.01, warmup_steps=500),
    ),
    config(
        "sound-bf16",
        (),
        "bf16 here is autocast: the weights are float32",
        "training_args.json",
        arguments(learning_rate=3e-4, weight_decay=0.1, warmup_steps=300, lr_scheduler_type="cosine", bf16=True),
    ),
    config(
        "sound-program",
        (),
        "groups apart",
        "train.py",
        program(
            "torch.optim.AdamW([{'params': [p for p in model.parameters() if p.ndim >= 2], 'weight_decay': 0.1}, "
            "{'params': [p for p in model.parameters() if p.ndim < 2], 'weight_decay': 0.0}], lr=1e-3)",
            "CosineAnnealingLR(optimizer, T_max=90)",
        ),
        ("decay-on-embedding",),
    ),
    config(
        "sound-momentum",
        (),
        "SGD, no decay",
        "train.py",
        program(
            "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
            "MultiStepLR(optimizer, milestones=[45, 70], gamma=0.1)",
        ),
    ),
    config(
        "sound-plan",
        (),
        "a plan of one's own",
        "plan.toml",
        'format = "dwindle-plan/1"\npeak = 3e-4\nschedule = "warmup 2%, cosine to 10%"\ndecay = "decoupled 0.1"\n',
    ),
]

SAID = [*PLANS, *LIVE, *CONFIGS]
