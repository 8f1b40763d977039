"""Files that set up a run, read as set-ups: one reader for each format, chosen by what the file holds."""

from __future__ import annotations

from os import PathLike
from typing import Any

from dwindle.errors import DwindleError, ParseError, a_path, shown
from dwindle.finding import Finding
from dwindle.findings.config_files import mapping_of
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.lightning import is_lightning, of_lightning
from dwindle.findings.configs.plan_file import of_plan
from dwindle.findings.configs.program import of_recipe
from dwindle.findings.configs.run import Run
from dwindle.findings.configs.timm_arguments import is_timm, of_timm
from dwindle.findings.configs.training_arguments import is_training_arguments, of_training_arguments
from dwindle.findings.configs.usual_names import RATES, has_usual_names, of_usual_names, several_rates
from dwindle.findings.configs.values import without_envelopes
from dwindle.findings.recognised import kind_of, text_of
from dwindle.plan import Plan
from dwindle.text import load

__all__ = ["Config", "of_config", "read_config", "read_plan", "read_recipe"]

_KINDS = (
    (is_lightning, of_lightning),
    (is_timm, of_timm),
    (is_training_arguments, of_training_arguments),
    (has_usual_names, of_usual_names),
)
"""Who knows a mapping for its own, and its reader; the first that does reads it."""


def of_config(path: str | PathLike[str], **run: Any) -> tuple[Finding, ...]:
    """Return what is wrong with the configuration in the file ``path``, the worst first.

    JSON: Hugging Face's TrainingArguments (training_args.json, args.json). YAML: LightningCLI's config.yaml, Lightning's
    hparams.yaml, timm's args.yaml; that needs ``dwindle[yaml]``. Python source (.py) and a recipe (.txt) are parsed and never
    run. A plan (.toml, .json) is looked at as by `of_plan`. ``run``: ``steps``, ``processes`` and ``accumulation`` where the
    file does not say them, ``steps_per_epoch``, ``batch_size`` and ``tokens_per_step`` for its times, ``dtype`` of the weights.

    Raises ParseError for a file that is none of these, MissingExtraError for YAML without the extra.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "training_args.json")
    ...     said = '{"learning_rate": 5e-5, "optim": "adamw_torch", "max_steps": 1000, "warmup_steps": 900}'
    ...     _ = path.write_text(said)
    ...     [(finding.code, finding.severity) for finding in of_config(path)]
    [('warmup-long', 'warning')]
    """
    return read_config(path, **run).findings()


def read_config(path: str | PathLike[str], **run: Any) -> Config:
    """Return what the file ``path`` sets up; see `of_config`."""
    known_too, where = Run(**run), a_path("path", path)
    kind = kind_of(where)
    if kind == "plan":
        return of_plan(load(where), known_too, "a plan")
    if kind == "recipe":
        return of_recipe(text_of(where), known_too)
    given = without_envelopes(mapping_of(path))
    try:
        for is_one, reader in _KINDS:
            if is_one(given):
                return reader(given, known_too)
    except DwindleError:
        raise
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ParseError(f"{path}: a value is not of the kind its key takes: {error}.") from error
    if several := several_rates(given):
        raise ParseError(
            f"{path}: it has several learning rates that differ: {', '.join(map(shown, several))}. A configuration is looked "
            "at by one; check the live optimiser by module:function."
        )
    raise ParseError(
        f"{path}: no configuration that is known: it has no number under {RATES}, nor one of them one level deeper; its keys "
        f"begin {shown(list(given)[:4])}. TrainingArguments, LightningCLI, hparams.yaml and timm's args.yaml are known."
    )


def read_plan(plan: Plan, **run: Any) -> Config:
    """Return what ``plan`` sets up; ``run`` as in `of_config`."""
    return of_plan(plan, Run(**run), "a plan")


def read_recipe(text: str, **run: Any) -> Config:
    """Return what a recipe in one line, or Python source, sets up; ``run`` as in `of_config`."""
    return of_recipe(text, Run(**run))
