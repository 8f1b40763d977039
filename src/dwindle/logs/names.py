"""What columns are called: the usual names of a step, a learning rate, a loss and so on, in one place for every reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from dwindle.errors import a_kind

__all__ = [
    "EPOCH",
    "LR",
    "ROLE_NAMES",
    "RUN",
    "SPLITS",
    "STEP",
    "SUMMARY",
    "TRAINING",
    "VALIDATION",
    "is_set_or_counted",
    "is_step_of_validation",
    "kind",
    "matches",
    "plain",
]

_TRAIN = r"(?:train(?:ing|er)?|fit)"
_HELD = r"(?:val|valid|validation|eval|evaluation|dev|holdout)"
_OPTIM = r"(?:train(?:ing|er)?_)?(?:optim(?:izer)?_|opt_|current_|epoch_)?"
_GROUP = r"(?:param_)?(?:group|pg)?_?\d+"
_KIND = r"(?:nll|ce|xent|cross_entropy|mse|lm|mlm|total|global_avg|avg|mean)"
_LOSS = rf"(?:(?:epoch|batch)_)?(?:{_KIND}_)?loss(?:_(?:total|avg|mean))?"
_ACCURACY = (
    r"(?:(?:epoch|batch)_)?(?:(?:sparse|categorical|binary|multiclass|top_?1|mean|token)_)*"
    r"(?:acc|accuracy|(?:acc_?|top_?|prec_?)1|multiclassaccuracy|binaryaccuracy)"
)


def _of(metric: str, split: str, *, bare: bool) -> str:
    """Return the pattern of a metric with the split before or after it, or of the bare metric too."""
    before = rf"(?:(?:{split}|metrics_{split}|loss_metrics)_)" + ("?" if bare else "")
    return rf"{before}{metric}|{metric}_{split}(?:_total)?"


def _levels(metric: str, split: str, ends: Sequence[str], *, bare: bool) -> tuple[str, ...]:
    return tuple(f"(?:{_of(metric, split, bare=bare)}){end}" for end in ends)


_BESIDE = (
    r"\w+_(?:momentum|weight_decay)(?:_\d+)?$"  # what Lightning's LearningRateMonitor writes after the rate's own name
)

# Best first, as ``plain`` writes them; two of one line cannot be told apart.
STEP = (
    r"(?:train(?:er)?_)?global_step",
    r"(?:train(?:er)?_)?(?:steps?|iter(?:ation)?s?)",
    r"(?:train_)?num_updates|updates|current_steps?|opt(?:imizer)?_steps?|(?:num|n)_(?:steps?|iters?)|(?:step|iter)_num(?:ber)?|time_batch",
    r"valid_num_updates",
)
EPOCH = (r"(?:train(?:er)?_)?epochs?(?:_num(?:ber)?)?|time_epoch",)
RUN = (r"run(?:_?(?:id|uuid|name|number))?|seed|trial(?:_?(?:id|name|number))?",)
LR = (
    rf"{_OPTIM}(?:lr|learning_?rate)",
    rf"{_OPTIM}(?:lr|learning_?rate)_(?!{_BESIDE})(?:\w*(?:ada|sgd|lion|muon|lamb|rms)\w*|{_GROUP})",
)
# One value a step says more of training than one an epoch; of validation the epoch's is the whole.
VALIDATION = _levels(r"loss", _HELD, ("", "_epoch", "_step"), bare=False)
TRAINING = _levels(r"loss", _TRAIN, ("", "_step", "_epoch"), bare=True)
SUMMARY = "train_runtime"  # the row of the Hugging Face Trainer that sums up a run has it
SPLITS = re.compile(rf"{_TRAIN}|{_HELD}|test(?:ing)?|train_val", re.IGNORECASE)

ROLE_NAMES: Mapping[str, tuple[str, ...]] = {
    "lr": LR,
    "training loss": (*TRAINING, *_levels(_LOSS, _TRAIN, ("", "_step", "_epoch"), bare=True)),
    "validation loss": (
        *VALIDATION,
        *_levels(_LOSS, _HELD, ("", "_epoch", "_step"), bare=False),
        rf"{_LOSS}_vs_iterations",
        *_levels(_LOSS, "test", ("", "_epoch", "_step"), bare=False),
    ),
    "training accuracy": _levels(_ACCURACY, _TRAIN, ("", "_step", "_epoch"), bare=True),
    "validation accuracy": (
        *_levels(_ACCURACY, _HELD, ("", "_epoch", "_step"), bare=False),
        *_levels(_ACCURACY, "test", ("", "_epoch", "_step"), bare=False),
    ),
    "gradient norm": (
        rf"{_OPTIM}(?:(?:total|global|l2)_)?(?:grad(?:ient)?s?_?norm|gnorm|norm_grads?)(?:_(?:total|global|all|l2|step))?"
        r"|grad_2(?:_0)?_norm_total|l2_norm_grad_global",
    ),
    "weight norm": (
        rf"{_OPTIM}(?:(?:total|global|l2)_)?(?:weights?|params?|parameters?|model)_?norm(?:_(?:total|global|all|l2))?",
    ),
    "weight decay": (
        rf"{_OPTIM}(?:weight_?decay|wd)",
        rf"{_OPTIM}(?:weight_?decay|wd)_(?:\w*(?:ada|sgd|lion)\w*|{_GROUP})|lr_\w+_weight_decay",
    ),
    "epoch": EPOCH,
    "batch size": (r"(?:train_)?global_batch_?size|total_batch_?size", r"(?:train(?:ing)?_)?batch_?size|bs"),
    "tokens": (
        r"(?:train(?:ing)?_)?(?:total_|num_|n_|consumed_|input_)*tokens?(?:_(?:seen|processed|consumed|so_far|total|trained))?"
        r"|time_token",
    ),
}  # fmt: skip


def plain(name: str) -> str:
    """Return the name in lower case with _ between words, without the run's name that W&B writes before it.

    >>> plain("sunny-2 - trainer/global_step"), plain("Learning Rate"), plain("lr-AdamW")
    ('trainer_global_step', 'learning_rate', 'lr_adamw')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.rpartition(" - ")[2].lower()).strip("_")


def matches(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that the first pattern to match any matches.

    >>> matches(["step", "trainer/global_step"], STEP)
    ['trainer/global_step']
    """
    plains = [(name, plain(name)) for name in names]
    for pattern in patterns:
        found = [name for name, written in plains if re.fullmatch(pattern, written)]
        if found:
            return found
    return []


def is_step_of_validation(name: str) -> bool:
    """Say whether a column is the steps of the rows of validation alone.

    >>> is_step_of_validation("val/step"), is_step_of_validation("step")
    (True, False)
    """
    found = re.fullmatch(rf"(?:{_HELD}|test)_(.+)", plain(name))
    return found is not None and bool(matches([found[1]], STEP))


def is_set_or_counted(name: str) -> bool:
    """Say whether a column is of steps, epochs or learning rates: the same whatever else a row holds, and not to be averaged.

    >>> is_set_or_counted("global_step"), is_set_or_counted("loss")
    (True, False)
    """
    return bool(matches([name], STEP) or matches([name], EPOCH) or matches([name], LR))


def kind(column: str) -> str:
    """Return "validation" or "training" for a column of losses, by its name; "" where that does not tell.

    >>> kind("eval/loss"), kind("loss"), kind("perplexity")
    ('validation', 'training', '')
    """
    column = a_kind("column", column, str)
    return "validation" if matches([column], VALIDATION) else "training" if matches([column], TRAINING) else ""
