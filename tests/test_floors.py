"""The floors of the house: imports go down only, siblings do not import each other, `import dwindle` loads no framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "dwindle"
FLOORS = {
    "errors": 0, "arrays": 0, "durable": 0,
    "checksum": 0, "namespace": 0, "elementary": 0, "units": 0, "separated": 0, "plain": 0, "inert": 0,
    "schedule": 1, "decay": 1, "mask": 1, "depths": 1,
    "plan": 2, "replan": 2, "text": 2, "setup": 2, "finding": 2,
    "reference": 3, "torch": 3, "jax": 3, "keras": 3, "foreign": 3, "population": 3, "report": 3, "laws": 3, "logs": 3,
    "explain": 3, "ridge": 3, "findings": 4,
    "studies": 5, "cluster": 6, "tracking": 6,
    "cli": 7, "lab": 7, "__main__": 7,
}  # fmt: skip
# On floors 0-2 the files form a short stack of their own; these are the only edges between siblings, and no circle.
STACKED = {
    ("units", "errors"), ("arrays", "errors"),
    ("elementary", "namespace"), ("namespace", "errors"), ("elementary", "errors"), ("separated", "errors"),
    ("decay", "schedule"), ("text", "plan"), ("replan", "plan"), ("setup", "plan"), ("__main__", "cli"), ("cli", "lab"),
}  # fmt: skip
# Where frameworks may be imported; Keras runs on one of three.
ADAPTERS = {
    "torch": {"torch"}, "jax": {"jax", "optax"}, "keras": {"keras", "jax", "torch", "tensorflow"},
    "namespace.py": {"torch", "jax"}, "population/modules": {"torch"}, "studies/modules.py": {"torch"},
}  # fmt: skip
FRAMEWORKS = {"torch", "jax", "optax", "keras", "tensorflow", "sklearn"}


def modules() -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "dwindle"}
    return found


def own(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "dwindle" and len(parts) > 1 and parts[1] in FLOORS else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_imports_only_from_below(path: Path) -> None:
    here = room(path)
    assert here in FLOORS, f"{here} stands on no floor"
    for name in imports(path):
        there = own(name)
        if there is None or there == here:
            continue
        allowed = FLOORS[there] < FLOORS[here] or (here, there) in STACKED
        assert allowed, f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_framework_is_imported_only_in_its_adapter(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
    allowed = next((names for place, names in ADAPTERS.items() if path.is_relative_to(ROOT / place)), set())
    assert used <= allowed


def test_no_circle_inside_a_package() -> None:
    edges: dict[str, set[str]] = {}
    for path in modules():
        name = "dwindle." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        edges[name.removesuffix(".__init__")] = {
            i for i in imports(path) if i.startswith("dwindle.") and i != name.removesuffix(".__init__")
        }
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import circle: {' -> '.join((*trail, name))}"
        if name in state or name not in edges:
            return
        state[name] = 1
        for other in edges[name]:
            visit(other, (*trail, name))
        state[name] = 2

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize(
    "statement", ["import dwindle", "import dwindle.cli", "import dwindle as dw; dw.Plan; dw.cosine"]
)
def test_no_framework_is_loaded(statement: str) -> None:
    heavy = FRAMEWORKS | {"scipy", "pandas"}
    code = f"{statement}\nimport sys; print(sorted({heavy!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
