"""The cases of tests/clinic: each a training with one fault, or a sound one, and the tool that logged it."""

from __future__ import annotations

import math

from clinic import checks, rates
from clinic.case import LogCase, Said, lrs
from clinic.said import SAID
from clinic.training import Job, Resume
from clinic.writers import View

OVERFITTING = [
    LogCase(
        "overfitting-fashion", ("overfitting",), "500 images, no weight decay, 80 epochs of a wide perceptron",
        Job("fashion", "mlp", "adamw", 1e-3, rates.warm_cosine(0.05), steps=1200, examples=500, width=128),
        checks.overfits(), View("csv", 5, sparse=False),
    ),
    LogCase(
        "overfitting-digits-noise", ("overfitting",), "20 % of 400 labels drawn again, two hidden layers, constant rate",
        Job("digits", "mlp2", "adam", 1e-3, steps=720, examples=400, noise=0.2),
        checks.overfits(), View("keras", lr=False),
    ),
    LogCase(
        "overfitting-text", ("overfitting",), "a transformer on 8,000 characters for twenty epochs",
        Job("text", "transformer", "adamw", 3e-3, rates.warm_linear(0.05), steps=620, batch=8, examples=8000, evaluate=31),
        checks.overfits(), View("hf", 10, "mean"),
    ),
]  # fmt: skip

OSCILLATION = [
    LogCase(
        "oscillation-whole-batch", ("oscillation",), "softmax regression on all rows at once, the rate above 2/curvature",
        Job("wine", "linear", "sgd", 4.0, steps=300, batch=0, noise=0.3, evaluate=10),
        checks.rattles(), View("csv", 1), ("noise-floor",),
    ),
    LogCase(
        "oscillation-rmsprop", ("oscillation",), "RMSprop at 0.3 on softmax regression, all rows at once",
        Job("digits", "linear", "rmsprop", 0.3, steps=400, batch=0, noise=0.2, evaluate=20),
        checks.rattles(), View("jsonl", 1), ("noise-floor", "warmup-missing"),  # its first step is ten times as long
    ),
    LogCase(
        "oscillation-batches", ("oscillation",), "SGD at 8 on softmax regression in batches of 100: the loss jumps about",
        Job("digits", "linear", "sgd", 8.0, steps=480, batch=100, noise=0.3),
        checks.rattles(), View("tensorboard", 1), ("noise-floor",),
    ),
]  # fmt: skip

NOISE_FLOOR = [
    LogCase(
        "noise-floor-digits", ("noise-floor",), "softmax regression, 30 % label noise, batches of 8, rate 0.2 held for ever",
        Job("digits", "linear", "sgd", 0.2, steps=3000, batch=8, noise=0.3, evaluate=157),
        checks.noise_floor(), View("csv", 10, "mean"),
    ),
    LogCase(
        "noise-floor-diabetes", ("noise-floor",), "linear regression, batches of 4, rate 0.06 held for ever",
        Job("diabetes", "linear", "sgd", 0.06, steps=3000, batch=4, evaluate=77),
        checks.noise_floor(), View("tensorboard", 10, "mean", validation=False),
    ),
    LogCase(
        "noise-floor-bigram", ("noise-floor",), "a bigram model of text at AdamW 0.1 held for ever",
        Job("text", "bigram", "adamw", 0.1, steps=900, batch=4, width=32, evaluate=100),
        checks.noise_floor(0.95), View("hf", 10, "mean"),
    ),
]  # fmt: skip

PLATEAU = [
    LogCase(
        "plateau-sigmoid", ("plateau",), "six sigmoid layers, plain SGD: stuck at guessing",
        Job("digits", "deep-sigmoid", "sgd", 0.05, steps=1200, evaluate=39),
        checks.stuck(math.log(10)), View("csv", 5),
    ),
    LogCase(
        "plateau-dead", ("plateau",), "every ReLU asleep from the start",
        Job("fashion", "mlp2", "adamw", 1e-3, rates.warm_cosine(0.05), steps=900, start="dead 30"),
        checks.stuck(math.log(10)), View("keras"),
    ),
    LogCase(
        "plateau-tiny-rate", ("plateau",), "the peak written as 3e-8",
        Job("fashion", "mlp", "adamw", 3e-8, rates.warm_linear(0.05), steps=800),
        checks.stuck(), View("hf", 10, "mean"),
    ),
]  # fmt: skip

DIVERGENCE = [
    LogCase(
        "divergence-linear", ("divergence",), "linear regression, the rate beyond 2/curvature, from the first step",
        Job("diabetes", "linear", "sgd", 0.55, steps=200, batch=64, evaluate=20, stop_on=1e30),
        checks.diverges, View("csv", 1, sparse=False), ("warmup-missing", "oscillation"),
    ),
    LogCase(
        "divergence-warm", ("divergence",), "momentum 0.9 warmed up to a rate beyond what it can bear",
        Job("diabetes", "linear", "momentum", 1.0, rates.warm_constant(0.6), steps=400, batch=64, evaluate=20, stop_on=1e20),
        checks.diverges, View("hf", 2), ("oscillation", "warmup-long"),
    ),
    LogCase(
        "divergence-transformer", ("divergence",), "AdamW warmed up to 1: the loss climbs far above guessing",
        Job("text", "transformer", "adamw", 1.0, rates.warm_constant(0.4), steps=300, batch=8, evaluate=60),
        checks.diverges, View("lightning", 5), ("oscillation", "warmup-long", "noise-floor"),
    ),
]  # fmt: skip

WARMUP_MISSING = [
    LogCase(
        "warmup-missing-bigram", ("warmup-missing",), "a bigram model, RMSprop at full rate from step one",
        Job("text", "bigram", "rmsprop", 0.05, rates.warm_cosine(0.0), steps=500, batch=16, evaluate=50),
        checks.blows_up_at_the_start, View("csv", 1),
    ),
    LogCase(
        "warmup-missing-fashion", ("warmup-missing",), "two wide layers, RMSprop at full rate from step one",
        Job("fashion", "mlp2", "rmsprop", 3e-3, rates.warm_cosine(0.0), steps=620, width=256),
        checks.blows_up_at_the_start, View("lightning", 2), ("overfitting",),
    ),
    LogCase(
        "warmup-missing-diabetes", ("warmup-missing",), "a wide perceptron, Adam at 0.03 from step one",
        Job("diabetes", "mlp2", "adam", 0.03, rates.warm_cosine(0.0), steps=300, width=256, evaluate=20),
        checks.blows_up_at_the_start, View("tensorboard", 1), ("overfitting",),
    ),
]  # fmt: skip

WARMUP_LONG = [
    LogCase(
        "warmup-long-fashion", ("warmup-long",), "70 % of the run is warm-up, then a cosine",
        Job("fashion", "mlp", "adamw", 1e-3, rates.warm_cosine(0.7), steps=400, decay=0.1),
        checks.warms_too_long(rates.warm_cosine(0.04), 1.03), View("csv", 5),
    ),
    LogCase(
        "warmup-long-text", ("warmup-long",), "75 % of the run is warm-up, then held, a fall in the last tenth",
        Job("text", "transformer", "adamw", 1e-3, rates.wsd(0.75, 0.1), steps=400, batch=8, decay=0.1, evaluate=40),
        checks.warms_too_long(rates.wsd(0.04, 0.1), 0.97), View("hf", 5, "mean"),
    ),
    LogCase(
        "warmup-long-digits", ("warmup-long",), "the warm-up, counted in the steps of a run four times as long, is 80 %",
        Job("digits", "mlp", "sgd", 0.03, rates.warm_constant(0.8), steps=39 * 16),
        checks.warms_too_long(rates.warm_constant(0.04)), View("keras"), ("schedule-long",),
    ),
]  # fmt: skip

SCHEDULE_SHORT = [
    LogCase(
        "schedule-short-cosine", ("schedule-short",), "the cosine was given 40 % of the steps",
        Job("fashion", "mlp", "sgd", 0.1, rates.warm_cosine(0.03, 0.4), steps=1200),
        checks.ends_early(rates.warm_cosine(0.03)), View("csv", 5), ("plateau", "cut-early"),
    ),
    LogCase(
        "schedule-short-linear", ("schedule-short",), "the linear decay was given a third of the steps",
        Job("text", "transformer", "adamw", 3e-3, rates.warm_linear(0.05, 0.33), steps=500, batch=8, evaluate=50),
        checks.ends_early(rates.warm_linear(0.05)), View("lightning", 5), ("plateau", "cut-early"),
    ),
    LogCase(
        "schedule-short-keras", ("schedule-short",), "the cosine was given 25 of 60 epochs, and 1 % of the peak at its end",
        Job("digits", "mlp", "momentum", 0.01, rates.warm_cosine(0.0, 25 / 60, 0.01), steps=39 * 60),
        checks.ends_early(rates.warm_cosine(0.0)), View("keras"), ("plateau", "cut-early"),
    ),
]  # fmt: skip

SCHEDULE_LONG = [
    LogCase(
        "schedule-long-cosine", ("schedule-long",), "the cosine was made for 2.5 times the steps",
        Job("digits", "linear", "sgd", 0.2, rates.warm_cosine(0.03, 2.5), steps=1500, batch=8, noise=0.3, evaluate=157),
        checks.ends_high(rates.warm_cosine(0.03)), View("csv", 5, "mean"), ("noise-floor",),
    ),
    LogCase(
        "schedule-long-linear", ("schedule-long",), "the linear decay was made for twice the steps",
        Job("text", "bigram", "adamw", 0.1, rates.warm_linear(0.05, 2.0), steps=700, batch=4, width=32, evaluate=70),
        checks.ends_high(rates.warm_linear(0.05)), View("hf", 5, "mean"), ("noise-floor",),
    ),
    LogCase(
        "schedule-long-keras", ("schedule-long",), "stopped after 13 of 39 epochs of a cosine",
        Job("diabetes", "linear", "sgd", 0.05, rates.warm_cosine(0.0, 3), steps=77 * 13, batch=4),
        checks.ends_high(rates.warm_cosine(0.0)), View("keras"), ("noise-floor",),
    ),
]  # fmt: skip

CUT_EARLY = [
    LogCase(
        "cut-early-fashion", ("cut-early",), "the rate cut to a tenth at 8 % of the run",
        Job("fashion", "mlp", "sgd", 0.05, rates.cuts(0.08), steps=1200),
        checks.cut_too_early(rates.cuts(0.7)), View("csv", 5), ("schedule-short", "plateau"),
    ),
    LogCase(
        "cut-early-text", ("cut-early",), "the rate cut to a hundredth at a tenth of the run",
        Job("text", "transformer", "adamw", 3e-3, rates.cuts(0.1, by=0.01), steps=450, batch=8, evaluate=45),
        checks.cut_too_early(rates.cuts(0.7)), View("lightning", 5), ("schedule-short", "plateau"),
    ),
    LogCase(
        "cut-early-plateau", ("cut-early",), "milestones of 12 and 16 % of the epochs, meant for percent of 1,000",
        Job("digits", "mlp", "momentum", 0.005, rates.cuts(0.06, 0.12), steps=39 * 50),
        checks.cut_too_early(rates.cuts(0.6, 0.8)), View("keras"), ("schedule-short", "plateau"),
    ),
]  # fmt: skip

CUT_LATE = [
    LogCase(
        "cut-late-digits", ("cut-late",), "flat for more than half of the run before the one cut at 92 %",
        Job("digits", "linear", "sgd", 0.2, rates.cuts(0.92), steps=3000, batch=8, noise=0.3, evaluate=157),
        checks.cut_too_late(), View("csv", 10, "mean"), ("noise-floor",),
    ),
    LogCase(
        "cut-late-diabetes", ("cut-late",), "flat from a tenth of the run on, cut at 90 %",
        Job("diabetes", "linear", "sgd", 0.08, rates.cuts(0.9), steps=3000, batch=4, evaluate=77),
        checks.cut_too_late(), View("tensorboard", 10, "mean"), ("noise-floor",),
    ),
    LogCase(
        "cut-late-keras", ("cut-late",), "45 of 50 epochs at full rate, flat from the fifth on",
        Job("wine", "linear", "sgd", 0.5, rates.cuts(0.9), steps=31 * 50, batch=4, noise=0.4),
        checks.cut_too_late(), View("keras"), ("noise-floor", "oscillation", "overfitting"),
    ),
]  # fmt: skip

LR_RISE = [
    LogCase(
        "lr-rise-fashion", ("lr-rise",), "torch's CosineAnnealingLR with T_max at half of the run",
        Job("fashion", "mlp", "momentum", 0.05, rates.annealing(0.5), steps=1500, batch=16, noise=0.4),
        checks.rises_again, View("csv", 5, "mean"), ("schedule-short", "schedule-long", "wrong-stepping", "overfitting"),
    ),
    LogCase(
        "lr-rise-text", ("lr-rise",), "T_max at 60 % of the run",
        Job("text", "bigram", "adamw", 0.1, rates.annealing(0.6), steps=700, batch=4, width=32, evaluate=70),
        checks.rises_again, View("lightning", 5), ("schedule-short", "schedule-long", "wrong-stepping"),
    ),
    LogCase(
        "lr-rise-keras", ("lr-rise",), "T_max of 20 for 32 epochs",
        Job("diabetes", "linear", "sgd", 0.06, rates.annealing(20 / 32), steps=77 * 32, batch=4),
        checks.rises_again, View("keras"), ("schedule-short", "schedule-long", "wrong-stepping"),
    ),
]  # fmt: skip

LR_LAMBDA_LARGE = [
    LogCase(
        "lr-lambda-large-plan", ("lr-lambda-large",), "λ = 30 at a peak of 0.01: a third of every weight a step",
        Job("fashion", "mlp", "adamw", 1e-2, rates.warm_cosine(0.05), steps=800, decay=30.0),
        checks.decays_too_much(), View("csv", 5), ("plateau", "decay-on-bias"),
        "peak 0.01 | warmup 40st, cosine to 0 | decoupled 30", 800,
    ),
    LogCase(
        "lr-lambda-large-columns", ("lr-lambda-large",), "λ = 20 at 0.01, and the log says so and the norm of the weights",
        Job("digits", "mlp2", "adamw", 1e-2, steps=800, decay=20.0),
        checks.decays_too_much(), View("csv", 5, norms=True, decay=True), ("plateau", "noise-floor"),
    ),
    LogCase(
        "lr-lambda-large-sgd", ("lr-lambda-large",), "L2 of 1 at a rate of 0.1 in SGD",
        Job("digits", "mlp2", "sgd", 0.1, rates.warm_linear(0.05), steps=800, decay=1.0),
        checks.decays_too_much(), View("jsonl", 5), ("plateau",),
        "peak 0.1 | warmup 40st, linear to 0 | l2 1", 800,
    ),
]  # fmt: skip

_COSINE = "peak 0.1 | warmup 60st, cosine to 0"
WRONG_STEPPING = [
    LogCase(
        "wrong-stepping-processes", ("wrong-stepping",), "four processes each step the one scheduler",
        Job("fashion", "mlp", "sgd", 0.1, rates.warm_cosine(0.05), ticks=4, steps=1200),
        checks.follows_not(lrs(_COSINE, 1200)), View("csv", 5), ("schedule-short", "cut-early", "plateau", "lr-rise"),
        _COSINE, 1200,
    ),
    LogCase(
        "wrong-stepping-epochs", ("wrong-stepping",), "a schedule of 500 steps stepped once an epoch",
        Job("text", "transformer", "adamw", 3e-3, rates.warm_cosine(0.04), ticks="epoch", steps=500, batch=32, evaluate=50),
        checks.follows_not(lrs("peak 3e-3 | warmup 20st, cosine to 0", 500)), View("hf", 10, "mean"),
        ("schedule-long", "warmup-long", "plateau"), "peak 3e-3 | warmup 20st, cosine to 0", 500,
    ),
    LogCase(
        "wrong-stepping-batches", ("wrong-stepping",), "StepLR(30), meant for epochs, stepped every batch; no plan told",
        Job("fashion", "mlp", "momentum", 0.05, rates.every(30, 0.1), steps=62 * 15),
        checks.follows_not(lrs("peak 0.05", 930)), View("csv", 5), ("schedule-short", "cut-early", "plateau"),
    ),
    LogCase(
        "wrong-stepping-micro", ("wrong-stepping",), "stepped for each of eight micro-batches of a step",
        Job("digits", "mlp", "adamw", 3e-3, rates.warm_linear(0.05), ticks=8, steps=800),
        checks.follows_not(lrs("peak 3e-3 | warmup 40st, linear to 0", 800)), View("lightning", 5),
        ("schedule-short", "cut-early", "plateau"), "peak 3e-3 | warmup 40st, linear to 0", 800,
    ),
]  # fmt: skip

WRONG_RESUME = [
    LogCase(
        "wrong-resume-schedule", ("wrong-resume",), "killed at 60 %; the schedule began again, with its warm-up",
        Job("fashion", "mlp", "sgd", 0.1, rates.warm_cosine(0.05), steps=1200, resume=Resume(0.6, 0.62, ("schedule",))),
        checks.resumes_wrong(0.5), View("csv", 5), ("schedule-long", "lr-rise"),
    ),
    LogCase(
        "wrong-resume-counter", ("wrong-resume",), "killed at 55 %; the step counted from 0 again, and the schedule with it",
        Job("digits", "mlp", "adamw", 2e-3, rates.warm_linear(0.05), steps=1000,
            resume=Resume(0.5, 0.55, ("schedule", "counter"))),
        checks.resumes_wrong(0.5), View("jsonl", 5), ("schedule-long", "lr-rise", "overfitting"),
    ),
    LogCase(
        "wrong-resume-moments", ("wrong-resume",), "killed at half; Adam's moments were not in the checkpoint",
        Job("digits", "mlp", "adam", 0.01, rates.warm_cosine(0.05), steps=1000, resume=Resume(0.5, 0.55, ("optimizer",))),
        checks.resumes_wrong(1.5), View("csv", 1), ("overfitting",),
    ),
]  # fmt: skip


def healthy(
    name: str, how: str, job: Job, view: View, gap: float = 0.35, falls: bool = False, **more: object
) -> LogCase:
    return LogCase(f"sound-{name}", (), how, job, checks.sound(gap, falls=falls), view, **more)  # type: ignore[arg-type]


SOUND = [
    healthy(
        "cosine",
        "a completed cosine, its end flat",
        Job("fashion", "mlp", "adamw", 5e-4, rates.warm_cosine(0.05), steps=500, decay=0.3),
        View("csv", 5),
    ),
    healthy(
        "noisy-small-batch",
        "batches of 4, a loss that is all noise and falls",
        Job("fashion", "linear", "sgd", 0.003, rates.warm_linear(0.05), steps=1500, batch=4, evaluate=250),
        View("csv", 1),
    ),
    healthy(
        "constant-stopped",
        "a constant rate, stopped while it fell",
        Job("fashion", "mlp", "sgd", 0.02, steps=620),
        View("csv", 5),
        falls=True,
    ),
    healthy(
        "keras-epochs",
        "ten epochs of Keras, no rate logged",
        Job("fashion", "linear", "adam", 1e-3, steps=620),
        View("keras", lr=False),
        falls=True,
    ),
    healthy(
        "wsd",
        "warm-up, stable, decay in the last fifth",
        Job("text", "transformer", "adamw", 3e-3, rates.wsd(0.05, 0.2), steps=500, batch=8, decay=0.1, evaluate=50),
        View("hf", 10, "mean"),
    ),
    healthy(
        "restarts",
        "two warm restarts, by torch's scheduler, sharp jumps",
        Job("text", "transformer", "adamw", 4e-3, rates.restarts(1 / 7, 2), steps=700, batch=8, decay=0.1, evaluate=50),
        View("csv", 2),
    ),
    healthy(
        "resumed",
        "killed at 60 % and resumed as it should, rows repeated",
        Job("fashion", "mlp", "sgd", 0.03, rates.warm_cosine(0.05), steps=800, resume=Resume(0.55, 0.6)),
        View("csv", 2),
    ),
    healthy(
        "resumed-adam",
        "killed at 50 % and resumed as it should, rows repeated, moments kept",
        Job(
            "text",
            "transformer",
            "adamw",
            3e-3,
            rates.warm_cosine(0.05),
            steps=500,
            batch=8,
            evaluate=50,
            resume=Resume(0.4, 0.5),
        ),
        View("jsonl", 2),
    ),
    healthy(
        "gap",
        "validation a constant little above training",
        Job("digits", "linear", "momentum", 0.005, rates.warm_cosine(0.03), steps=700, decay=0.01),
        View("lightning", 5),
        gap=0.6,
    ),
    healthy(
        "short",
        "twenty rows",
        Job("fashion", "mlp", "adamw", 5e-4, rates.warm_linear(0.1), steps=200),
        View("csv", 10, sparse=False),
    ),
    healthy(
        "dropout",
        "dropout: training above validation",
        Job("fashion", "mlp", "adamw", 7e-4, rates.warm_cosine(0.05), steps=620, dropout=0.5, width=128),
        View("keras"),
    ),
    healthy(
        "smoothing",
        "label smoothing: a floor far above 0",
        Job("fashion", "mlp", "adamw", 5e-4, rates.warm_cosine(0.05), steps=560, smoothing=0.2, decay=0.3),
        View("hf", 10, "mean", accuracy=True),
    ),
    healthy(
        "sparse",
        "Lightning's sparse rows",
        Job("fashion", "cnn", "adamw", 2e-3, rates.warm_linear(0.05), steps=500, decay=0.1),
        View("lightning", 10),
    ),
    healthy(
        "one-cycle",
        "one cycle, 30 % up",
        Job("fashion", "mlp", "momentum", 0.005, rates.one_cycle(), steps=400, decay=5e-4),
        View("tensorboard", 5),
    ),
    healthy(
        "exponential",
        "exponential to 2 %",
        Job("digits", "mlp", "adamw", 1e-3, rates.exponential(0.02), steps=500, decay=0.3),
        View("csv", 5),
        gap=0.9,
    ),
    healthy(
        "inverse-sqrt",
        "warm-up and inverse square root, stopped while it fell",
        Job("text", "transformer", "adamw", 3e-3, rates.inverse_sqrt(0.1), steps=400, batch=8, decay=0.1, evaluate=40),
        View("jsonl", 4),
    ),
    healthy(
        "steps",
        "two cuts, each when the loss had gone flat",
        Job(
            "digits",
            "linear",
            "sgd",
            0.1,
            rates.cuts(0.45, 0.75),
            steps=1500,
            batch=8,
            noise=0.3,
            decay=0.02,
            evaluate=157,
        ),
        View("csv", 5, "mean"),
        gap=0.6,
    ),
    healthy(
        "plateau-schedule",
        "ReduceLROnPlateau answered twice, in time",
        Job("diabetes", "linear", "sgd", 0.04, rates.plateau(0.1, 1), steps=77 * 12, batch=4, decay=0.02),
        View("keras"),
    ),
    healthy(
        "regression",
        "a regression whose floor is far from 0",
        Job("diabetes", "linear", "sgd", 0.01, rates.warm_cosine(0.05), steps=300, batch=16, decay=0.05, evaluate=19),
        View("csv", 5),
        gap=0.6,
    ),
    healthy(
        "training-only",
        "training loss alone, a completed linear decay",
        Job("text", "bigram", "adamw", 1e-2, rates.warm_linear(0.02), steps=500, batch=16, evaluate=50),
        View("tensorboard", 5, validation=False),
    ),
    healthy(
        "batch-norm",
        "a CNN with BatchNorm, cosine",
        Job("fashion", "cnn-bn", "momentum", 0.01, rates.warm_cosine(0.05), steps=150, decay=5e-4, evaluate=30),
        View("csv", 2),
    ),
    healthy(
        "norms",
        "norms of gradients and weights beside the loss",
        Job("fashion", "mlp", "adamw", 5e-4, rates.warm_cosine(0.05), steps=500, decay=0.1, clip=1.0),
        View("jsonl", 5, norms=True, decay=True),
    ),
    healthy(
        "planned",
        "the plan that was meant, followed",
        Job("fashion", "mlp", "sgd", 0.03, rates.warm_cosine(0.05), steps=800),
        View("csv", 5),
        plan="peak 0.03 | warmup 40st, cosine to 0",
        horizon=800,
    ),
    healthy(
        "planned-late",
        "the plan followed; the rate logged is that of the next step, as in older Trainers",
        Job("fashion", "mlp", "adamw", 5e-4, rates.warm_cosine(0.1), steps=500, decay=0.1),
        View("hf", 5, "mean", late=1),
        plan="peak 5e-4 | warmup 50st, cosine to 0 | decoupled 0.1",
        horizon=500,
    ),
    healthy(
        "planned-keras",
        "the plan followed, in shares, the log in epochs",
        Job("fashion", "linear", "adamw", 1e-3, rates.warm_linear(0.0), steps=620, decay=0.1),
        View("keras"),
        plan="peak 1e-3 | linear to 0 | decoupled 0.1",
        horizon=620,
    ),
    healthy(
        "to-ten-percent",
        "a cosine to 10 %",
        Job(
            "text",
            "transformer",
            "adamw",
            3e-3,
            rates.warm_cosine(0.05, end=0.1),
            steps=500,
            batch=8,
            decay=0.1,
            evaluate=50,
        ),
        View("hf", 5, "mean"),
    ),
]

CASES = [
    *OVERFITTING, *OSCILLATION, *NOISE_FLOOR, *PLATEAU, *DIVERGENCE, *WARMUP_MISSING, *WARMUP_LONG, *SCHEDULE_SHORT,
    *SCHEDULE_LONG, *CUT_EARLY, *CUT_LATE, *LR_RISE, *LR_LAMBDA_LARGE, *WRONG_STEPPING, *WRONG_RESUME, *SOUND, *SAID,
]  # fmt: skip
__all__ = ["CASES", "Said"]
