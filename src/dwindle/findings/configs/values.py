"""What a mapping says under the names that many configurations use: a number, the type of the weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["PRECISIONS", "first_number", "flattened", "is_number", "weights_dtype", "without_envelopes"]

PRECISIONS = {
    "bf16-true": "bfloat16",
    "16-true": "float16",
    "bf16": "float32",
    "16-mixed": "float32",
    "64-true": "float64",
}
"""The type of the weights by Lightning's precision."""
_WEIGHTS_IN = ("torch_dtype", "model_dtype", "param_dtype", "params_dtype")


def flattened(given: Mapping[str, Any], depth: int = 3) -> dict[str, Any]:
    """Return the values by their keys, those of inner mappings as outer.inner."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping) and depth:
            found |= {f"{key}.{inner}": v for inner, v in flattened(value, depth - 1).items()}
        else:
            found[str(key)] = value
    return found


def without_envelopes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that W&B's config.yaml has as {value: ...}, with a description, and all others as they are.

    >>> without_envelopes({"lr": {"desc": None, "value": 0.1}, "seed": 1})
    {'lr': 0.1, 'seed': 1}
    """
    return {
        key: value["value"] if isinstance(value, Mapping) and {"value"} <= set(value) <= {"value", "desc"} else value
        for key, value in given.items()
    }


def weights_dtype(flat: Mapping[str, Any]) -> str:
    """Return the type that the weights themselves are kept in: ``bf16: true`` is autocast, and adapters stay in float32."""
    if any(key.startswith(("lora_", "peft")) and value for key, value in flat.items()) or flat.get("use_peft"):
        return "float32"
    said = {str(v).removeprefix("torch.") for k, v in flat.items() if k.rpartition(".")[2] in _WEIGHTS_IN}
    said |= {name for key, name in (("pure_bf16", "bfloat16"), ("pure_fp16", "float16")) if flat.get(key) is True}
    return next((each for each in ("bfloat16", "float16") if each in said), "float32")


def first_number(flat: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    """Return the first of the values under ``keys`` that is a number, also one in text; None if there is none."""
    for key in keys:
        value: Any = flat.get(key)
        if isinstance(value, str):  # YAML takes 1e-3 for text
            try:
                value = float(value)
            except ValueError:
                continue
        if is_number(value):
            return float(value)
    return None


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
