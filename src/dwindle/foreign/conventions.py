"""What each peer does by itself, in words: what it counts, who decays the weights, what becomes of biases and norms."""

from __future__ import annotations

__all__ = ["BIASES", "BOUNDARY", "CLOCK", "DECAY", "EPOCHS", "IN_PART"]

# Sources: the peers' own code, and runs of it; the releases are those of the readers.
CLOCK = {
    "torch": "calls of scheduler.step(), by habit one an epoch; as written one an update",
    "optax": "updates of the optimiser",
    "keras": "optimizer.iterations, the updates",
    "timm": "epochs by default (t_in_epochs); as written updates, by step_update",
    "hf": "updates of the optimiser, not batches",
    "composer": "batches, epochs or shares of max_duration, as each time says",
    "sklearn": "samples in SGDClassifier and SGDRegressor, epochs in an MLP",
    "textbook": "epochs or steps, as the code counts; as written steps",
}
EPOCHS = (
    "a step is one call of the scheduler: where {} was told to step once an epoch, a step of this plan is an epoch."
)
IN_PART = "only some of the layers have a regulariser; in the plan all matrices decay: leave those without one out by its mask."
BOUNDARY = {
    "keras": (
        "PiecewiseConstantDecay",
        "PiecewiseConstantDecay keeps the old value at the boundary itself: boundary b falls in step b + 1",
    ),
    "timm": ("MultiStepLRScheduler", "MultiStepLRScheduler falls an index before the milestone"),
}
"""peer -> the schedule that has boundaries of its own, and where they lie."""
DECAY = {
    "torch": "weight_decay is l2 (in the gradient) in SGD and Adam, decoupled in AdamW, Muon and Adafactor",
    "optax": "add_decayed_weights: l2 before the scaling, decoupled after it as in adamw",
    "keras": "weight_decay of every optimiser but Ftrl is decoupled; l2 is kernel_regularizer, which has no ½",
    "timm": "its AdamW, SGDW and Lion are decoupled or corrected; its RMSpropTF, Lars and MADGRAD l2; torch's as torch has them",
    "hf": "the Trainer's AdamW: decoupled",
    "composer": "DecoupledAdamW and DecoupledSGDW are independent: lr/lr0·λ",
    "sklearn": "alpha is l2: of SGD λ itself, of an MLP λ times the batch",
    "textbook": "λ/n in the update, l2 of the cost C0 + λ/2n Σw²",
}
BIASES = {
    "torch": "decay with everything else unless they are in a group of their own",
    "optax": "decay with everything else unless a mask leaves them out",
    "keras": "decay with everything else unless exclude_from_weight_decay names them",
    "timm": "do not decay by its create_optimizer (one dimension, or .bias)",
    "hf": "do not decay: the Trainer leaves biases and LayerNorm out",
    "composer": "decay with everything else unless they are in a group of their own",
    "sklearn": "do not decay: intercept_ is left alone",
    "textbook": "do not decay",
}
