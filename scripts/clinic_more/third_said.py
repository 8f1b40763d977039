"""Plans, configs and the list of live set-ups of the third set."""

from clinic.said import ALL_DECAY, NORMALISED, arguments, config, live, plan

import dwindle as dw
from dwindle import text

PLANS = [
    plan("t-lambda-large", ("lr-lambda-large",), "lr·λ of 0.25", "peak 0.05 | warmup 3%, linear to 0 | decoupled 5", 6000),
    plan("t-lambda-large-l2", ("lr-lambda-large",), "a rate of 2 and L2 of 0.2", "peak 2 | constant for 4000st, linear to 0 over 2000st | l2 0.2", 6000),
    plan("t-lambda-large-rated", ("lr-lambda-large",), "a fifth of every weight a step, apart from the rate", "peak 3e-4 | warmup 2%, linear to 0 | independent 0.2", 6000),
    plan("t-warmup-long", ("warmup-long",), "65 %", "peak 2e-3 | warmup 65%, cosine to 0 | decoupled 0.02", 7000),
    plan("t-warmup-long-held", ("warmup-long",), "6,000 of 9,000 steps, then held and let down", "peak 5e-4 | warmup 6000st, constant for 2000st, linear to 0 over 1000st | decoupled 0.05", 9000),
    plan("t-short", ("schedule-short",), "a cosine over a quarter", "peak 2e-3 | warmup 100st, cosine to 0 over 1400st | decoupled 0.05", 6000, ("cut-early",)),
    plan("t-short-exponential", ("schedule-short",), "an exponential to a ten-thousandth over a third", "peak 0.01 | exponential to 0.01% over 2000st", 6000, ("cut-early",)),
    plan("t-short-one-percent", ("schedule-short",), "linear to 1 % at 35 % of the run", "peak 0.05 | linear to 1% over 2800st | l2 1e-4", 8000, ("cut-early",)),
    plan("t-long", ("schedule-long",), "linear, made for 2.5 times the run", "peak 4e-4 | warmup 100st, linear to 0 over 7400st | decoupled 0.1", 3000),
    plan("t-long-cosine", ("schedule-long",), "a cosine made for four times the run", "peak 0.1 | cosine to 0 over 8000st | l2 1e-4", 2000),
    plan("t-rounds-away", ("decay-rounds-away",), "lr·λ of 2e-9 at best", "peak 2e-5 | warmup 5%, linear to 20% | decoupled 1e-4", 5000),
    plan("t-rounds-away-l2", (), "lr·c of 1e-9, rounded together with the gradient", "peak 1e-3 | cosine to 10% | l2 1e-6", 5000, ("decay-rounds-away",)),
    plan("t-rises", ("lr-rise",), "turns at 55 %", "peak 0.05 | (linear to 0 over 2750st) mirror every 2750st | l2 1e-4", 5000, ("schedule-short", "schedule-long")),
    plan("t-rises-late", ("lr-rise",), "from a tenth back to the peak at 60 %", "peak 1e-3 | constant for 2000st, constant at 0.1 for 1000st, constant | decoupled 0.05", 5000, ("schedule-long",)),
    plan("t-norm-decays", ("decay-on-norm",), "a rule that lets gains decay", 'peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1 | mask kind "LayerNorm" decays, standard', 5000, ("decay-on-bias",)),
    plan("t-table-decays", ("decay-on-embedding",), "a rule that lets tables decay", 'peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1 | mask kind "Embedding" decays, standard', 5000),
    plan("t-sound-wsd", (), "warm-up, stable, down", "peak 6e-4 | warmup 3%, constant for 77%, linear to 0 | decoupled 0.1", 20_000),
    plan("t-sound-poly", (), "power 2 to the end", "peak 0.2 | polynomial to 0 power 2 | l2 1e-4", 4000),
    plan("t-sound-exponential", (), "exponential over what is left of the warm-up", "peak 3e-3 | warmup 200st, exponential to 2% over 3800st | decoupled 0.02", 4000),
    plan("t-sound-restarts", (), "three cosines of one length", "peak 0.05 | (cosine to 0 over 1000st) repeat every 1000st | l2 5e-4", 3000),
    plan("t-sound-finetune", (), "a small rate, linear", "peak 3e-5 | warmup 6%, linear to 0 | decoupled 0.05", 1500),
    plan("t-sound-independent", (), "decay apart from the rate, small", "peak 1e-3 | warmup 2%, cosine to 10% | independent 1e-4", 10_000),
    plan("t-sound-steps", (), "a tenth at 60 and at 85 %", "peak 0.1 | constant for 60%, constant at 0.1 for 25%, constant at 0.01 | l2 1e-4", 9000),
    plan("t-sound-bare", (), "no decay, a cosine to 5 %", "peak 2e-3 | warmup 1%, cosine to 5%", 2500),
]  # fmt: skip

LIVE = [
    live("t_bias_nadamw", ("decay-on-bias",), "NAdamW on all parameters"),
    live("t_bias_conv_sgd", ("decay-on-bias",), "SGD with decay on a CNN's biases"),
    live("t_bias_optax", ("decay-on-bias",), "optax.adamw without a mask"),
    live("t_bias_keras", ("decay-on-bias",), "Keras' AdamW without exclusions"),
    live("t_norm_in_blocks", ("decay-on-norm",), "gains of the norms in the decaying group"),
    live("t_norm_optax", ("decay-on-norm",), "a mask that leaves out biases alone", NORMALISED),
    live("t_norm_keras", ("decay-on-norm",), "gamma was not excluded", NORMALISED),
    live("t_table_by_rank", ("decay-on-embedding",), "groups by rank"),
    live("t_table_optax", ("decay-on-embedding",), "a mask that has the table too", NORMALISED),
    live("t_table_adagrad", ("decay-on-embedding",), "the table named among what decays"),
    live("t_l2_nadam", ("adam-l2",), "NAdam with weight_decay, not decoupled"),
    live("t_l2_radam", ("adam-l2",), "RAdam with weight_decay, not decoupled"),
    live("t_l2_optax", ("adam-l2",), "decayed weights before scale_by_adam"),
    live("t_rounds_half", ("decay-rounds-away",), "bfloat16, lr·λ of 1e-5"),
    live("t_rounds_single", ("decay-rounds-away",), "float32, lr·λ of 1e-9"),
    live("t_rounds_optax", ("decay-rounds-away",), "bfloat16 in JAX, lr·λ of 1e-5"),
    live("t_aux_of_no_weight", ("decay-without-gradient",), "an auxiliary head whose loss weighs nothing"),
    live("t_expert_never_chosen", ("decay-without-gradient",), "an expert that the gate never takes"),
    live("t_asleep", ("decay-without-gradient",), "filters behind ReLUs that sleep"),
    live("t_frozen_table", ("decay-on-frozen",), "a frozen table in a decaying group", ("decay-on-embedding", "decay-without-gradient")),
    live("t_frozen_blocks", ("decay-on-frozen",), "frozen blocks handed over", ("decay-without-gradient",)),
    live("t_invariant_conv", ("decay-scale-invariant",), "filters before BatchNorm decay"),
    live("t_invariant_linear", ("decay-scale-invariant",), "a layer before BatchNorm decays"),
    live("t_large_adamw", ("lr-lambda-large",), "lr·λ of 0.3"),
    live("t_large_sgd", ("lr-lambda-large",), "lr·c of 0.32"),
    live("t_large_optax", ("lr-lambda-large",), "lr·c of 0.3"),
    live("t_warm_lambda", ("warmup-long",), "1,300 of 2,000 steps"),
    live("t_warm_optax", ("warmup-long",), "650 of 1,000 steps"),
    live("t_warm_keras", ("warmup-long",), "700 of 1,000 steps"),
    live("t_short_polynomial", ("schedule-short",), "made for 700 of 2,500 steps"),
    live("t_short_optax", ("schedule-short",), "made for 350 of 1,000 steps"),
    live("t_short_keras", ("schedule-short",), "made for 300 of 1,200 steps"),
    live("t_long_cosine", ("schedule-long",), "made for 3,100 steps, run for 1,250", ("wrong-stepping",)),
    live("t_long_optax", ("schedule-long",), "made for 5,300 steps, run for 2,000"),
    live("t_long_cycle", ("schedule-long",), "one cycle of 2,700 steps, run for 1,100", ("wrong-stepping", "warmup-long")),
    live("t_rise_cosine", ("lr-rise",), "T_max of 420 for 700 steps", ("schedule-short", "schedule-long")),
    live("t_rise_joined", ("lr-rise",), "a second schedule that climbs", ("schedule-short", "schedule-long")),
    live("t_rise_jump", ("lr-rise",), "from a twentieth to 70 % at 650 of 1,000", ("schedule-short", "schedule-long")),
    live("t_ticks_processes", ("wrong-stepping",), "four processes step it", ("schedule-short", "wrong-resume")),
    live("t_ticks_epochs", ("wrong-stepping",), "stepped once in thirty", ("schedule-long", "wrong-resume")),
    live("t_ticks_micro", ("wrong-stepping",), "stepped for each of eight micro-batches", ("schedule-short", "wrong-resume")),
    live("t_resume_without_scheduler", ("wrong-resume",), "the scheduler begins anew", ("wrong-stepping", "schedule-long")),
    live("t_resume_without_moments", ("wrong-resume",), "the optimiser begins anew", ("wrong-stepping", "schedule-short")),
    live("t_resume_of_another_hour", ("wrong-resume",), "a scheduler of step 50 with an optimiser of step 130", ("wrong-stepping", "schedule-long")),
    live("t_twice_across", ("duplicate-parameters",), "one weight in two groups"),
    live("t_twice_inside", ("duplicate-parameters",), "one bias twice in a list"),
    live("t_tied_table", ("tied-parameters",), "table and head are one"),
    live("t_tied_blocks", ("tied-parameters",), "two blocks share a weight"),
    live("t_left_out_table", ("unoptimised-parameters",), "the table is in no group"),
    live("t_left_out_biases", ("unoptimised-parameters",), "weights alone were handed over"),
    live("t_left_out_block", ("unoptimised-parameters",), "a block put in later"),
    live("t_sound_net"), live("t_sound_net_half_way"), live("t_sound_resumed"), live("t_sound_conv"), live("t_sound_nadam_bare"),
    live("t_sound_adagrad"), live("t_sound_nadamw"), live("t_sound_rmsprop_cycle"), live("t_sound_cyclic"), live("t_sound_restarts"),
    live("t_sound_plateau"), live("t_sound_wsd"), live("t_sound_accumulating"), live("t_sound_frozen_left_out"), live("t_sound_layerwise"),
    live("t_sound_hf"), live("t_sound_sequential"), live("t_sound_double"), live("t_sound_optax", may=NORMALISED),
    live("t_sound_optax_clipped"), live("t_sound_optax_state", ("decay-on-bias", "decay-on-norm"), "optax.lion decays all by default", ("decay-on-embedding",)), live("t_sound_keras", may=NORMALISED), live("t_sound_keras_sgd"),
    live("t_sound_keras_l2"),
]  # fmt: skip

_YAML = """seed_everything: 7
trainer:
  max_epochs: {epochs}
  accelerator: auto
  precision: {precision}
model:
  class_path: project.Classifier
  init_args:
    width: 256
data:
  class_path: project.Images
  init_args:
    batch_size: 64
optimizer:
  class_path: torch.optim.{optimizer}
  init_args:
{optimizer_args}
lr_scheduler:
  class_path: torch.optim.lr_scheduler.{scheduler}
  init_args:
{scheduler_args}
"""


def yaml(optimizer, optimizer_args, scheduler, scheduler_args, epochs=100, precision="32-true"):
    lines = lambda d: "\n".join(f"    {k}: {v}" for k, v in d.items())
    return _YAML.format(
        epochs=epochs,
        precision=precision,
        optimizer=optimizer,
        optimizer_args=lines(optimizer_args),
        scheduler=scheduler,
        scheduler_args=lines(scheduler_args),
    )


_PROGRAM = """import torch
from torch import nn
from torch.optim.lr_scheduler import {name}

from data import batches, validation

EPOCHS = {epochs}
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 10))
{groups}
opt = {optimizer}
sched = {scheduler}

for epoch in range(EPOCHS):
    net.train()
    for images, labels in batches():
        loss = nn.functional.cross_entropy(net(images), labels)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    sched.step()
    print(epoch, validation(net), sched.get_last_lr())
"""
_GROUPS = """decay = [p for n, p in net.named_parameters() if n.endswith("weight")]
rest = [p for n, p in net.named_parameters() if not n.endswith("weight")]
groups = [{"params": decay, "weight_decay": %s}, {"params": rest, "weight_decay": 0.0}]"""


def program(optimizer, scheduler, epochs=60, decay=None):
    return _PROGRAM.format(
        name=scheduler.partition("(")[0],
        epochs=epochs,
        groups="" if decay is None else _GROUPS % decay,
        optimizer=optimizer,
        scheduler=scheduler,
    )


_COSINE = {"T_max": 100}
CONFIGS = [
    config("t-yaml-adam-l2", ("adam-l2",), "Lightning's yaml: Adam with weight_decay", "config.yaml", yaml("Adam", {"lr": 0.001, "weight_decay": 0.0005}, "CosineAnnealingLR", _COSINE), ALL_DECAY),
    config("t-program-nadam-l2", ("adam-l2",), "NAdam with weight_decay, groups apart", "train.py", program("torch.optim.NAdam(groups, lr=2e-3)", "CosineAnnealingLR(opt, T_max=EPOCHS)", 60, "1e-3")),
    config("t-yaml-all-decay", ("decay-on-bias",), "AdamW on all parameters", "config.yaml", yaml("AdamW", {"lr": 0.0005, "weight_decay": 0.05}, "CosineAnnealingLR", {"T_max": 40}, 40), ALL_DECAY),
    config("t-program-all-decay", ("decay-on-bias",), "SGD with decay for all", "train.py", program("torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)", "MultiStepLR(opt, milestones=[30, 50], gamma=0.1)"), ALL_DECAY),
    config("t-args-warmup", ("warmup-long",), "warmup_ratio 0.7", "training_args.json", arguments(learning_rate=2e-4, weight_decay=0.0, warmup_ratio=0.7, max_steps=6000, lr_scheduler_type="cosine")),
    config("t-args-warmup-steps", ("warmup-long",), "5,200 of 6,000", "training_args.json", arguments(learning_rate=1e-4, weight_decay=0.0, warmup_steps=5200, max_steps=6000, lr_scheduler_type="linear")),
    config("t-args-lambda", ("lr-lambda-large",), "learning_rate 0.2, weight_decay 2", "training_args.json", arguments(learning_rate=0.2, weight_decay=2.0, warmup_steps=200, max_steps=5000, lr_scheduler_type="cosine"), ("decay-on-embedding",)),
    config("t-toml-lambda", ("lr-lambda-large",), "a plan with lr·λ of 0.4", "plan.toml", text.to_toml(dw.parse("peak 0.02 | warmup 4%, linear to 0 | decoupled 20"))),
    config("t-args-rounds", ("decay-rounds-away",), "lr·λ of 5e-10", "training_args.json", arguments(learning_rate=5e-6, weight_decay=1e-4, warmup_steps=100, max_steps=4000), ("decay-on-embedding",)),
    config("t-toml-rounds", ("decay-rounds-away",), "a plan with lr·λ of 1e-9", "plan.toml", text.to_toml(dw.parse("peak 1e-5 | warmup 4%, cosine to 10% | decoupled 1e-4"))),
    config("t-json-warmup", ("warmup-long",), "a plan in JSON with 80 % of warm-up", "plan.json", text.to_json(dw.parse("peak 3e-4 | warmup 80%, linear to 0 | decoupled 0.1"))),
    config("t-program-long", ("schedule-long",), "T_max of 150 for 60 epochs", "train.py", program("torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)", "CosineAnnealingLR(opt, T_max=150)", 60)),
    config("t-yaml-short", ("schedule-short",), "a polynomial over 30 of 100 epochs", "config.yaml", yaml("SGD", {"lr": 0.1, "momentum": 0.9}, "PolynomialLR", {"total_iters": 30, "power": 1.0}), ("cut-early",)),
    config("t-program-rise", ("lr-rise",), "T_max of 35 for 60 epochs", "train.py", program("torch.optim.Adam(net.parameters(), lr=1e-3)", "CosineAnnealingLR(opt, T_max=35)", 60), ("schedule-short", "schedule-long")),
    config("t-sound-yaml", (), "Lightning's yaml: Adam, no decay", "config.yaml", yaml("Adam", {"lr": 0.002}, "CosineAnnealingLR", _COSINE)),
    config("t-sound-yaml-sgd", (), "Lightning's yaml: SGD, cuts at 60 and 80", "config.yaml", yaml("SGD", {"lr": 0.05, "momentum": 0.9}, "MultiStepLR", {"milestones": "[60, 80]", "gamma": 0.1}, precision="16-mixed")),
    config("t-sound-args", (), "fine-tuning as usual", "training_args.json", arguments(learning_rate=3e-5, weight_decay=0.01, warmup_ratio=0.06, max_steps=3000, num_train_epochs=3), ("decay-on-embedding",)),
    config("t-sound-args-constant", (), "constant with a short warm-up, no decay", "training_args.json", arguments(learning_rate=1e-4, warmup_steps=100, max_steps=8000, lr_scheduler_type="constant_with_warmup")),
    config("t-sound-args-bf16", (), "bf16 autocast, cosine", "training_args.json", arguments(learning_rate=6e-4, weight_decay=0.1, warmup_steps=400, max_steps=12_000, lr_scheduler_type="cosine", bf16=True, adam_beta2=0.95), ("decay-on-embedding",)),
    config("t-sound-program", (), "groups apart, AdamW", "train.py", program("torch.optim.AdamW(groups, lr=1e-3)", "CosineAnnealingLR(opt, T_max=EPOCHS)", 60, "0.05")),
    config("t-sound-program-rms", (), "RMSprop, no decay, exponential", "train.py", program("torch.optim.RMSprop(net.parameters(), lr=5e-4)", "ExponentialLR(opt, gamma=0.93)", 50)),
    config("t-sound-toml", (), "a plan of one's own", "plan.toml", text.to_toml(dw.parse("peak 1e-3 | warmup 3%, constant for 72%, linear to 0 | decoupled 0.05"))),
    config("t-sound-json", (), "a plan in JSON", "plan.json", text.to_json(dw.parse("peak 0.1 | warmup 2%, cosine to 1% | l2 5e-4"))),
]  # fmt: skip
SAID = [*PLANS, *LIVE, *CONFIGS]
