"""Which parameters decay and at what rate, as Python source for torch-like models: names, dimensions and module kinds."""

from __future__ import annotations

import inspect
import json

from dwindle.depths import BEFORE, BEHIND, BLOCK, CALLED, blocks_of
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan

__all__ = [
    "DEPTHS_BY_NAME",
    "asks_kind",
    "blocks_source",
    "decays_source",
    "everything",
    "imports_of_mask",
    "imports_of_split",
    "split_source",
]


def split_source(plan: Plan) -> list[str]:
    """Return the source of ``split(model)`` and of the functions it asks; empty where all parameters are alike.

    It gives (decayed, rest); with groups or layer_decay the parameters by (factor on the learning rate, decays or not).
    """
    if plan.decay is None and not plan.groups and plan.layer_decay is None:
        return []
    mask = plan.mask if plan.decay is not None else Mask(())
    if not plan.groups and plan.layer_decay is None:
        return [decays_source(mask), _SPLIT]
    scales = [
        f"    if fnmatch.fnmatchcase(name, {_text(g.match)}):\n        return {g.lr_scale!r}" for g in plan.groups
    ]
    functions = [decays_source(mask), "\n".join(["def lr_scale(name):", *scales, "    return 1.0"])]
    if plan.layer_decay is None:
        return [*functions, _SPLIT_SCALED.replace("LAYER", "")]
    functions += [blocks_source(), _DEPTHS]
    layer = f" * {plan.layer_decay!r} ** (max(depth.values()) - depth[name])"
    return [*functions, _SPLIT_SCALED.replace("LAYER", layer).replace("    cells", f"{_NAMES}    cells", 1)]


def imports_of_split(plan: Plan) -> list[str]:
    """Return the modules that `split_source` needs."""
    found = imports_of_mask(plan.mask) if plan.decay is not None else []
    return sorted({*found, *(["fnmatch"] if plan.groups else []), *(["re"] if plan.layer_decay is not None else [])})


def blocks_source() -> str:
    """Return the source of ``blocks_of(names)``: the very function that a plan asks, for its rule has one home."""
    head, about, body = inspect.getsource(blocks_of).split('"""')
    for name, rule in {"BLOCK": BLOCK, "CALLED": CALLED, "BEFORE": BEFORE, "BEHIND": BEHIND}.items():
        body = body.replace(name, f'r"{rule}"')
    return f'{head}"""{about.splitlines()[0]}"""{body.rstrip()}'


def everything(mask: Mask) -> bool:
    """Return whether the mask lets every parameter decay."""
    first = mask.rules[0] if mask.rules else None
    return first is not None and first.decays and first.subject in ("name", "kind") and first.pattern == "*"


def asks_kind(mask: Mask) -> bool:
    """Return whether the mask asks for the kind of a module."""
    return any(rule.subject == "kind" for rule in mask.rules)


def decays_source(mask: Mask, *, kind: bool = True) -> str:
    """Return the source of ``decays(name, ndim, kind)``, which answers as ``mask`` does; ``kind`` False leaves it out.

    >>> print(decays_source(Mask()))
    def decays(name, ndim, kind=""):
        if re.search("(^|[./])bias$", name) is not None:
            return False
        if fnmatch.fnmatchcase(kind.lower(), "*norm*"):
            return False
        return ndim >= 2
    """
    lines = ['def decays(name, ndim, kind=""):' if kind else "def decays(name, ndim):"]
    rules = list(mask.rules)
    last = rules.pop() if rules and rules[-1].decays else None
    for rule in rules:
        lines += [f"    if {_test(rule)}:", f"        return {rule.decays}"]
    everything = last is not None and (last.subject, last.pattern) == ("name", "*")
    answer = "False" if last is None else "True" if everything else _test(last)
    return "\n".join([*lines, f"    return {answer}"])


def imports_of_mask(mask: Mask) -> list[str]:
    """Return the modules that `decays_source` needs.

    >>> imports_of_mask(Mask())
    ['fnmatch', 're']
    """
    globs = any(rule.subject in ("name", "kind") and rule.pattern != "*" for rule in mask.rules)
    return ["fnmatch"] * globs + ["re"] * any(rule.subject == "regex" for rule in mask.rules)


def _text(pattern: str) -> str:
    """Return a pattern as a Python literal: raw where it has backslashes and can be."""
    if "\\" in pattern and '"' not in pattern and not pattern.endswith("\\") and pattern.isprintable():
        return f'r"{pattern}"'
    return json.dumps(pattern, ensure_ascii=not pattern.isprintable())


def _test(rule: Rule) -> str:
    if rule.subject == "name":
        return f"fnmatch.fnmatchcase(name, {_text(rule.pattern)})"
    if rule.subject == "kind":
        return f"fnmatch.fnmatchcase(kind.lower(), {_text(rule.pattern.lower())})"
    if rule.subject == "regex":
        return f"re.search({_text(rule.pattern)}, name) is not None"
    return f"ndim >= {int(rule.pattern)}"


_SPLIT = '''def split(model):
    """Return the parameters that decay and the rest."""
    kinds = {path: type(module).__name__ for path, module in model.named_modules()}
    decayed, rest = [], []
    for name, p in model.named_parameters():
        (decayed if decays(name, p.ndim, kinds[name.rpartition(".")[0]]) else rest).append(p)
    return decayed, rest'''

_SPLIT_SCALED = '''def split(model):
    """Return the parameters by (factor on the learning rate, whether they decay)."""
    kinds = {path: type(module).__name__ for path, module in model.named_modules()}
    cells = {}
    for name, p in model.named_parameters():
        scale = lr_scale(name)LAYER
        key = scale, decays(name, p.ndim, kinds[name.rpartition(".")[0]])
        cells.setdefault(key, []).append(p)
    return cells'''

_NAMES = "    depth = depths([name for name, _ in model.named_parameters()])\n"

_DEPTHS_HEAD = '''def depths(names):
    """Return the depth of each parameter: 0 before the first numbered block, i + 1 in block i, one more after the last."""
    blocks = blocks_of(names)
'''
_DEPTH = "depth[name] = blocks[name] + 1 if name in blocks else max(blocks.values(), default=-1) + 2 if last else 0"

_DEPTHS = f"""{_DEPTHS_HEAD}    depth, last = {{}}, False
    for name in names:
        last = last or name in blocks
        {_DEPTH}
    return depth"""

DEPTHS_BY_NAME = f'''{_DEPTHS_HEAD}    depth = {{}}
    for name in names:  # a tree sorts its names: what has no number must tell by its name where it lies
        before = re.search(r"{BEFORE}", name)
        behind = re.search(r"{BEHIND}", name)
        if name not in blocks and not before and not behind:
            raise ValueError(f"does {{name}} lie before the blocks or behind them?")
        last = not before or (behind and behind.start() < before.start())
        {_DEPTH}
    return depth'''
