"""Files that set up a run, read as set-ups: TrainingArguments, LightningCLI, hparams, timm's args; programs; plans."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnresolvedTimeError, real, shown
from dwindle.findings.config_files import mapping_of
from dwindle.findings.finding import SEVERITIES, Finding
from dwindle.findings.programs import assigned, program_of
from dwindle.findings.recognised import kind_of, text_of
from dwindle.findings.setups import of_setup
from dwindle.foreign import OPTIMIZERS, read, read_optimizer
from dwindle.foreign.optimizers.training_arguments import READ, from_training_arguments
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import constant
from dwindle.setup import Scheduler, Setup, sampled, setup_of_plan
from dwindle.text import load, parse
from dwindle.units import Horizon

__all__ = ["Config", "of_config", "read_config", "read_plan", "read_recipe"]

_LR = ("lr", "learning_rate", "base_lr", "max_lr", "peak_lr", "optimizer.lr", "optim.lr", "optimizer.learning_rate")
_LAM = ("weight_decay", "wd", "optimizer.weight_decay", "optim.weight_decay", "l2", "lambda_l2")
_EPOCHS = ("max_epochs", "epochs", "num_epochs", "n_epochs", "trainer.max_epochs")
_STEPS = ("max_steps", "total_steps", "num_training_steps", "max_iters", "trainer.max_steps")
_WARM = ("warmup_steps", "num_warmup_steps", "warmup_iters", "warmup")
_ACCUMULATE = (
    "accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum_steps", "trainer.accumulate_grad_batches",
)  # fmt: skip
_LENGTHS = ("T_max", "t_max", "lr_decay_iters", "lr_decay_steps")
_OPTIMIZER = ("optimizer", "opt", "optim", "optimizer_name", "optimizer.name")
_FAMILY = re.compile(r"adam|adan|lion|lamb|muon|rmsprop|adagrad|adadelta|adafactor|sophia|soap", re.IGNORECASE)
_APART = re.compile(r"(w|wschedulefree|w8bit)$|adan|lion|lamb|muon|adafactor|sophia|soap|adopt", re.IGNORECASE)
_DTYPES = {
    "bf16-true": "bfloat16",
    "16-true": "float16",
    "bf16": "float32",
    "16-mixed": "float32",
    "64-true": "float64",
}


_WEIGHTS_IN = ("torch_dtype", "model_dtype", "param_dtype", "params_dtype")


class Config(NamedTuple):
    """What a file sets up: ``kind``, the ``setups`` to look at, what was ``looked`` at, and what it does not say (``unread``)."""

    kind: str
    setups: tuple[Setup, ...]
    looked: tuple[str, ...]
    unread: tuple[str, ...]

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong, the worst first; one finding of each code and subject."""
        found: dict[tuple[str, str], Finding] = {}
        for setup in self.setups:
            for finding in of_setup(setup):
                found.setdefault((finding.code, finding.subject), finding)
        return tuple(sorted(found.values(), key=lambda finding: SEVERITIES.index(finding.severity)))


def of_config(path: str | PathLike[str], **run: Any) -> tuple[Finding, ...]:
    """Return what is wrong with the configuration in the file ``path``, the worst first.

    JSON: Hugging Face's TrainingArguments (training_args.json, args.json). YAML: LightningCLI's config.yaml, Lightning's
    hparams.yaml, timm's args.yaml; that needs ``dwindle[yaml]``. Python source (.py) and a recipe (.txt) are parsed and never
    run. A plan (.toml, .json) is looked at as by `of_plan`. ``run``: ``steps``, ``steps_per_epoch``, ``processes`` and
    ``accumulation`` where the file does not say them, and ``dtype`` of the weights.

    Raises ParseError for a file that is none of these, MissingExtraError for YAML without the extra.
    """
    return read_config(path, **run).findings()


def read_config(path: str | PathLike[str], **run: Any) -> Config:
    """Return what the file ``path`` sets up; see `of_config`."""
    known_too, where = _Run(**run), Path(path)
    kind = kind_of(where)
    if kind == "plan":
        return _of_plan(load(where), known_too, "a plan")
    if kind == "recipe":
        return _of_recipe(text_of(where), known_too)
    given = mapping_of(path)
    try:
        for is_one, reader in _KINDS:
            if is_one(given):
                return reader(given, known_too)
    except (TypeError, AttributeError) as error:
        raise ParseError(f"{path}: a value is not of the kind its key takes: {error}.") from error
    raise ParseError(
        f"{path}: no configuration that is known: it has none of learning_rate, lr, optimizer, weight_decay; its keys begin "
        f"{shown(list(given)[:4])}. TrainingArguments, LightningCLI, hparams.yaml and timm's args.yaml are."
    )


def read_plan(plan: Plan, **run: Any) -> Config:
    """Return what ``plan`` sets up; ``run`` as in `of_config`."""
    return _of_plan(plan, _Run(**run), "a plan")


def read_recipe(text: str, **run: Any) -> Config:
    """Return what a recipe in one line, or Python source, sets up; ``run`` as in `of_config`."""
    return _of_recipe(text, _Run(**run))


class _Run(NamedTuple):
    """What the caller knows of the run beside the file."""

    steps: int | None = None
    steps_per_epoch: int | None = None
    processes: int = 1
    accumulation: int = 1
    dtype: str | None = None

    def horizon(self, steps: Any, epochs: Any) -> Horizon | None:
        """Return the run by the caller's steps, else the file's, else its epochs if those are worth something in steps."""
        known_steps = self.steps or (int(steps) if _is_number(steps) and steps > 0 else None)
        if known_steps is not None:
            return Horizon(steps=known_steps, steps_per_epoch=self.steps_per_epoch)
        if self.steps_per_epoch is not None and _is_number(epochs) and epochs > 0:
            return Horizon(epochs=epochs, steps_per_epoch=self.steps_per_epoch)
        return None

    def fields(self, **own: Any) -> dict[str, Any]:
        counts = {key: own.pop(key) for key in ("processes", "accumulation") if key in own}
        whole = {
            "framework": "config",
            "processes": _count(counts.get("processes"), self.processes),
            "accumulation": _count(counts.get("accumulation"), self.accumulation),
        }
        return {**whole, **own, "dtype": self.dtype or own.get("dtype") or "float32"}


# --- plans and programs


def _of_plan(plan: Plan, run: _Run, kind: str, **own: Any) -> Config:
    horizon = run.horizon(None, None)
    setup = setup_of_plan(plan, horizon, **run.fields(framework="plan", **own))
    unread = [] if horizon else ["its length, times in epochs or %, and what depends on them: say --steps"]
    looked = ("peak", "schedule", "decay", "mask", *(() if horizon is None else (f"{horizon.steps:,} steps",)))
    return Config(kind, (setup,), looked, (*unread, "the model: a plan has none"))


def _of_recipe(text: str, run: _Run) -> Config:
    if re.match(r"\s*peak\s", text):
        return _of_plan(parse(text), run, "a plan")
    horizon = run.horizon(None, None)
    try:
        found = program_of(text, horizon)
    except DwindleError:
        given = assigned(text)  # a configuration in Python, such as nanoGPT's
        if _first(_flat(given), _LR) is None:
            raise
        return _plain(given, run)
    plan, name, kind = found.plan, found.optimizer, f"a recipe of {found.peer}"
    own = {"optimizer": name, "adaptive": bool(_FAMILY.search(name)) if name else None, "dtype": found.dtype}
    if found.epochs is None and found.schedule_known:
        return _of_plan(plan, run, kind, **own)
    fields = run.fields(framework="plan", **own)
    setups = [replace(setup_of_plan(plan, None, **fields, schedule_known=False), horizon=horizon)]
    looked = ["the optimiser"]
    if found.epochs is not None and found.schedule_known:  # its schedule counts epochs
        setups.append(_by_epochs(replace(plan, decay=None), found.epochs, fields))
        looked.append(f"the schedule over {found.epochs:,} epochs, at whose end it is stepped")
    return Config(kind, tuple(setups), tuple(looked), (*found.unread, "the model: it is not built"))


# --- Hugging Face


def _is_training(given: Mapping[str, Any]) -> bool:
    return "learning_rate" in given and bool(
        {"output_dir", "per_device_train_batch_size", "lr_scheduler_type", "optim", "num_train_epochs"} & set(given)
    )


def _training(given: Mapping[str, Any], run: _Run) -> Config:
    horizon = run.horizon(given.get("max_steps"), given.get("num_train_epochs", 3.0))
    optim = str(given.get("optim") or "adamw_torch")
    if "adamw" in optim:  # 8-bit, paged and fused ones decay as AdamW does
        given = {**given, "optim": "adamw_torch"}
    unread = []
    try:
        plan, known = from_training_arguments(given, horizon), horizon is not None
    except UnresolvedTimeError:
        plan, known = from_training_arguments(given, Horizon(steps=10**4)), False
    if not known:
        unread.append("the length of the run: max_steps is not set; say --steps, or --steps-per-epoch")
    fields = run.fields(
        optimizer="AdamW" if "adam" in optim else optim,
        adaptive=bool(_FAMILY.search(optim)),
        accumulation=given.get("gradient_accumulation_steps"),
        dtype=_weights_dtype(_flat(given)),
        attends=True,
    )
    looked = (*(key for key in READ if given.get(key) is not None), "optim")
    setup = setup_of_plan(plan, horizon if known else None, **fields)
    return Config("Hugging Face TrainingArguments", (setup,), tuple(dict.fromkeys(looked)), tuple(unread))


# --- timm


def _is_timm(given: Mapping[str, Any]) -> bool:
    return "opt" in given and "sched" in given and ("lr" in given or "lr_base" in given)


def _timm(given: Mapping[str, Any], run: _Run) -> Config:
    opt = str(given["opt"])
    unread: list[str] = []
    lr = _timm_lr(given, opt, unread)
    lam = real("weight_decay", float(given.get("weight_decay") or 0.0), low=0.0)
    apart = bool(_APART.search(opt)) or opt.endswith("dw")
    decay: Decay | None = None if not lam else Decoupled(lam) if apart else L2(lam)
    epochs = given.get("epochs")
    filtered = given.get("filter_bias_and_bn", True)
    whole = Plan(lr, constant(), decay, Mask() if filtered else Mask.everything())
    fields = run.fields(
        optimizer=opt, adaptive=bool(_FAMILY.search(opt)), accumulation=given.get("grad_accum_steps"),
        processes=given.get("world_size"), attends=bool(re.search("vit|swin|deit|beit|eva|former", str(given.get("model")))),
    )  # fmt: skip
    shape = _timm_schedule(given, lr, 1, unread)
    if shape is None or not _is_number(epochs):
        horizon = run.horizon(None, epochs)
        setups = [setup_of_plan(whole, None if shape is None else horizon, **fields, schedule_known=False)]
    elif run.steps_per_epoch is None:
        unread.append("lr·λ against the run: say --steps-per-epoch")
        setups = [
            setup_of_plan(whole, None, **fields, schedule_known=False),
            _by_epochs(replace(shape, decay=None), _timm_epochs(given), fields),
        ]
    else:
        each = _timm_schedule(given, lr, run.steps_per_epoch, [])
        horizon = Horizon(epochs=_timm_epochs(given), steps_per_epoch=run.steps_per_epoch)
        setups = [setup_of_plan(replace(whole, schedule=(each or shape).schedule), horizon, **fields)]
    looked = ("opt", "lr", "weight_decay", "sched", "epochs", "warmup_epochs", "min_lr")
    return Config("timm arguments", tuple(setups), tuple(key for key in looked if key in given), tuple(unread))


def _timm_lr(given: Mapping[str, Any], opt: str, unread: list[str]) -> float:
    if _is_number(given.get("lr")):
        return real("lr", float(given["lr"]), above=0.0)
    base: Any = given.get("lr_base")
    size = given.get("lr_base_size") or 256
    if not _is_number(base) or not _is_number(given.get("batch_size")):
        raise InvalidValueError("lr is not set, and lr_base with batch_size does not say it; give one of them.")
    batch = float(given["batch_size"]) * float(given.get("world_size") or 1) * float(given.get("grad_accum_steps") or 1)
    scale = given.get("lr_base_scale") or ("sqrt" if _FAMILY.search(opt) else "linear")
    unread.append(f"lr is worked out from lr_base={base} by the batch of {batch:g} ({scale})")
    return float(base) * (math.sqrt(batch / size) if scale == "sqrt" else batch / size)


def _timm_epochs(given: Mapping[str, Any]) -> float:
    """Return all epochs of a run of timm's: the schedule's, its cooldown, and a warm-up that comes before."""
    before = given.get("warmup_epochs") if given.get("warmup_prefix") else 0
    return float(given["epochs"]) + float(given.get("cooldown_epochs") or 0) + float(before or 0)


def _timm_schedule(given: Mapping[str, Any], lr: float, epoch: int, unread: list[str]) -> Plan | None:
    """Return timm's schedule with an epoch of ``epoch`` steps, None for one that is not read."""
    if given.get("sched") != "cosine" or not _is_number(given.get("epochs")):
        unread.append(f"the schedule {shown(given.get('sched'))}: only cosine is read")
        return None
    settings = {
        "t_initial": int(given["epochs"]) * epoch, "lr_min": float(given.get("min_lr") or 0.0),
        "warmup_t": int(given.get("warmup_epochs") or 0) * epoch, "warmup_prefix": bool(given.get("warmup_prefix", False)),
        "warmup_lr_init": float(given.get("warmup_lr") or 0.0),
    }  # fmt: skip
    try:
        found = read("timm", "CosineLRScheduler", settings, base_lr=lr)
    except DwindleError as error:
        unread.append(f"the schedule: {error}")
        return None
    return found if isinstance(found, Plan) else None


# --- Lightning


def _is_cli(given: Mapping[str, Any]) -> bool:
    return any(
        isinstance(part.get("optimizer"), Mapping) and "class_path" in part["optimizer"] for part in _parts(given)
    )


def _parts(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield given
    for key in ("fit", "model"):
        if isinstance(given.get(key), Mapping):
            yield given[key]


def _cli(given: Mapping[str, Any], run: _Run) -> Config:
    part = next(p for p in _parts(given) if isinstance(p.get("optimizer"), Mapping) and "class_path" in p["optimizer"])
    path, arguments = _called(part["optimizer"])
    name = path.rpartition(".")[2]
    unread: list[str] = []
    if name not in OPTIMIZERS["torch"]:
        raise InvalidValueError(
            f"optimizer {shown(path)} is none of torch's; those that are read: {', '.join(OPTIMIZERS['torch'])}."
        )
    plan = read_optimizer("torch", name, arguments)
    trainer: Mapping[str, Any] = next(
        (p["trainer"] for p in _parts(given) if isinstance(p.get("trainer"), Mapping)), {}
    )
    horizon = run.horizon(trainer.get("max_steps"), trainer.get("max_epochs"))
    devices = trainer.get("devices")
    nodes = trainer.get("num_nodes") or 1
    fields = run.fields(
        optimizer=name, adaptive=bool(_FAMILY.search(name)), accumulation=trainer.get("accumulate_grad_batches"),
        processes=devices * nodes if isinstance(devices, int) and devices > 0 else None,
        dtype=_DTYPES.get(str(trainer.get("precision")), "float32"),
    )  # fmt: skip
    setups = [setup_of_plan(plan, None, **fields, schedule_known=False)]
    scheduler = part.get("lr_scheduler") or next(
        (p["lr_scheduler"] for p in _parts(given) if p.get("lr_scheduler")), None
    )
    looked = ["optimizer"]
    if isinstance(scheduler, Mapping) and "class_path" in scheduler:
        looked.append("lr_scheduler")
        setups += _cli_schedule(plan, scheduler, trainer.get("max_epochs"), horizon, fields, unread)
    elif horizon is not None:
        setups = [setup_of_plan(plan, horizon, **fields)]
    if horizon is None:
        unread.append("the steps of the run: say --steps-per-epoch, or --steps")
    looked += [f"trainer.{key}" for key in ("max_epochs", "max_steps", "precision", "devices") if key in trainer]
    return Config("LightningCLI config", tuple(setups), tuple(looked), tuple(unread))


def _cli_schedule(
    plan: Plan,
    given: Mapping[str, Any],
    epochs: Any,
    horizon: Horizon | None,
    fields: dict[str, Any],
    unread: list[str],
) -> Iterator[Setup]:
    """Yield the set-up of the CLI's scheduler, which Lightning steps once an epoch; in epochs where no step is known."""
    path, arguments = _called(given)
    name = path.rpartition(".")[2]
    try:
        found = read("torch", name, arguments, base_lr=plan.peak)
    except DwindleError as error:
        unread.append(f"the scheduler {name}: {error}")
        return
    if not isinstance(found, Plan):
        return
    key = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps", "PolynomialLR": "total_iters"}.get(name, "")
    length = arguments.get(key) if isinstance(arguments.get(key), int) else None
    by_epochs = horizon is None or horizon.steps_per_epoch is None
    run = (
        Horizon(steps=max(1, round(epochs)), steps_per_epoch=1)
        if by_epochs and _is_number(epochs) and epochs > 0
        else horizon
    )
    if run is None:
        return
    epoch = run.steps_per_epoch or 1
    counts = sampled(max(1, -(-run.steps // epoch)))
    lr = found.peak * found.schedule.resolve(run)(counts.astype("int64"))
    scheduler = Scheduler(
        name, counts, [lr, lr], length=length, said=f"{key}={length}" if length else "", per_update=1.0 / epoch,
        why="Lightning's interval 'epoch'", by_design=name in ("CosineAnnealingWarmRestarts", "CyclicLR"),
    )  # fmt: skip
    shape = setup_of_plan(plan if not by_epochs else replace(plan, decay=None), None, **fields)
    yield replace(shape, scheduler=scheduler, horizon=run, plan=None, schedule_known=True)


def _called(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    path, arguments = given["class_path"], given.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, Mapping):
        raise ParseError(f"class_path must be text and init_args a mapping; got {shown(path)}, {shown(arguments)}.")
    return path, {key: value for key, value in arguments.items() if key not in ("params", "optimizer")}


# --- anything with the usual names


def _is_plain(given: Mapping[str, Any]) -> bool:
    return _first(_flat(given), _LR) is not None


def _plain(given: Mapping[str, Any], run: _Run) -> Config:
    flat = _flat(given)
    lr = real("the learning rate", _first(flat, _LR), above=0.0)
    lam = real("the weight decay", _first(flat, _LAM) or 0.0, low=0.0)
    name = next((str(flat[key]) for key in _OPTIMIZER if isinstance(flat.get(key), str)), "").rpartition(".")[2]
    decay: Decay | None = None if not lam else Decoupled(lam) if not name or _APART.search(name) else L2(lam)
    unread = ["what decays, and the schedule: the file has no word for them that is known"]
    if not name:
        unread.append("the optimiser")
    horizon = run.horizon(_first(flat, _STEPS), _first(flat, _EPOCHS))
    fields = run.fields(
        optimizer=name, adaptive=bool(_FAMILY.search(name)) if name else None, accumulation=_first(flat, _ACCUMULATE),
        dtype=_DTYPES.get(str(flat.get("precision", flat.get("trainer.precision")))) or _weights_dtype(flat),
    )  # fmt: skip
    plan = Plan(lr, constant(), decay)
    known = setup_of_plan(plan, None, **fields, schedule_known=False)
    setups = [replace(known, horizon=horizon)]
    setups += _lengths(flat, plan, horizon, _first(flat, _EPOCHS), fields)
    if horizon is None:
        unread.append("the steps of the run: say --steps, or --steps-per-epoch")
    keys = (*_LR, *_LAM, *_OPTIMIZER, *_EPOCHS, *_STEPS, *_WARM, *_ACCUMULATE, "T_max", "precision")
    return Config("hparams", tuple(setups), tuple(key for key in keys if key in flat), tuple(unread))


def _lengths(
    flat: Mapping[str, Any], plan: Plan, horizon: Horizon | None, epochs: Any, fields: dict[str, Any]
) -> Iterator[Setup]:
    """Yield what T_max and the warm-up say of the length of a schedule, against the run."""
    key, length = next(
        ((k, v) for k, v in flat.items() if k.rpartition(".")[2] in _LENGTHS and _is_number(v) and v >= 1), (None, None)
    )
    run = (
        horizon if horizon is not None else Horizon(steps=round(epochs)) if _is_number(epochs) and epochs >= 1 else None
    )
    bare = replace(setup_of_plan(replace(plan, decay=None), None, **fields), horizon=run, schedule_known=False)
    if length is not None and run is not None:
        at = sampled(run.steps)
        ends = length if "decay" in str(key) else np.inf  # T_max's cosine is periodic
        lr = plan.peak * 0.5 * (1.0 + np.cos(np.pi * at.clip(max=ends) / length))
        yield replace(
            bare,
            plan=None,
            scheduler=Scheduler("the cosine", at, [lr, lr], length=int(length), said=f"{key}={int(length)}"),
        )
    warm = _first(flat, _WARM)
    if warm is not None and horizon is not None and warm >= 1.0:
        at = sampled(horizon.steps)
        lr = plan.peak * (at / warm).clip(0.0, 1.0)
        yield replace(bare, scheduler=Scheduler("the warm-up", at, [lr, lr], per_update=1.0), horizon=horizon)


def _flat(given: Mapping[str, Any], depth: int = 3) -> dict[str, Any]:
    """Return the values by their keys, those of inner mappings as outer.inner."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping) and depth:
            found |= {f"{key}.{inner}": v for inner, v in _flat(value, depth - 1).items()}
        else:
            found[str(key)] = value
    return found


def _weights_dtype(flat: Mapping[str, Any]) -> str:
    """Return the type that the weights themselves are kept in: ``bf16: true`` is autocast, and adapters stay in float32."""
    if any(key.startswith(("lora_", "peft")) and value for key, value in flat.items()) or flat.get("use_peft"):
        return "float32"
    said = {str(v).removeprefix("torch.") for k, v in flat.items() if k.rpartition(".")[2] in _WEIGHTS_IN}
    said |= {name for key, name in (("pure_bf16", "bfloat16"), ("pure_fp16", "float16")) if flat.get(key) is True}
    return next((each for each in ("bfloat16", "float16") if each in said), "float32")


def _first(flat: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value: Any = flat.get(key)
        if isinstance(value, str):  # YAML takes 1e-3 for text
            try:
                value = float(value)
            except ValueError:
                continue
        if _is_number(value):
            return float(value)
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any, given: int) -> int:
    """Return the caller's count if it says something, else the file's."""
    own = int(value) if _is_number(value) and value >= 1 else 1
    return given if given != 1 else own


_KINDS = ((_is_cli, _cli), (_is_timm, _timm), (_is_training, _training), (_is_plain, _plain))


def _by_epochs(plan: Plan, epochs: float, fields: dict[str, Any]) -> Setup:
    """Return the set-up of a plan whose steps are epochs, as far as its shape goes."""
    return setup_of_plan(plan, Horizon(steps=max(1, round(epochs))), **fields)
