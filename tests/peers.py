"""The schedulers and optimisers of timm and Composer, loaded without the packages that the rest of those libraries needs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["load_composer", "load_timm"]


def _hollow(name: str, path: Path, **names: Any) -> ModuleType:
    """Put a package into sys.modules whose own __init__ does not run, but whose modules can be imported."""
    module = ModuleType(name)
    module.__path__ = [str(path)]
    module.__spec__ = ModuleSpec(
        name, None, origin=str(path / "__init__.py"), is_package=True
    )  # found by find_spec again
    vars(module).update(names)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _home(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed; see constraints.txt"
    return Path(str(spec.origin)).parent


def load_timm() -> None:
    """Make timm.scheduler and timm.optim importable as they are; timm.models, which needs torchvision, stays empty."""
    if "timm" not in sys.modules:
        home = _home("timm")
        _hollow("timm", home)
        _hollow("timm.models", home / "models", group_parameters=None)
    importlib.import_module("timm.scheduler")
    importlib.import_module("timm.optim")


def load_composer() -> SimpleNamespace:
    """Make composer.optim's schedulers and optimisers and Callback importable; return Time, Timestamp and compile."""
    if "composer" not in sys.modules:
        home = _home("composer")
        _hollow("composer", home)
        utils = _hollow("composer.utils", home / "utils", dist=None)
        vars(utils)["StringEnum"] = importlib.import_module("composer.utils.string_enum").StringEnum
        core = _hollow("composer.core", home / "core", State=object)
        time = importlib.import_module("composer.core.time")
        vars(core).update(Time=time.Time, TimeUnit=time.TimeUnit, Timestamp=time.Timestamp)
        vars(sys.modules["composer"])["Callback"] = importlib.import_module("composer.core.callback").Callback
        optim = _hollow("composer.optim", home / "optim")
        for name in ("scheduler", "decoupled_weight_decay"):
            module = importlib.import_module(f"composer.optim.{name}")
            vars(optim).update({public: getattr(module, public) for public in module.__all__})
    core, optim = sys.modules["composer.core"], sys.modules["composer.optim"]
    return SimpleNamespace(Time=core.Time, Timestamp=core.Timestamp, compile=optim.compile_composer_scheduler)
