"""Whose schedule or optimiser a call builds, and with it which peer a source is for: by its name and where that comes from."""

from __future__ import annotations

import ast

from dwindle.errors import InvalidValueError, UnknownNameError
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.schedules.peers import PEERS
from dwindle.foreign.source.chains import name_of
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.origins import ROOTS, Origins
from dwindle.foreign.source.pair import ON_TORCH

__all__ = ["BUILD", "GET", "check_origins", "home_of", "is_schedule", "peer_of"]

BUILD = ("torch", *ON_TORCH)
"""The peers whose schedulers take torch's optimisers, or stand beside them."""

_HOMES = {"torch": ("torch", "hf"), "hf": ("hf", "torch"), "timm": ("timm", "hf")}
"""peer -> the peers whose schedules are read in its source, beside its own: they drive the same optimisers."""

GET = {
    "get_constant_schedule": "constant",
    "get_constant_schedule_with_warmup": "constant_with_warmup",
    "get_linear_schedule_with_warmup": "linear",
    "get_cosine_schedule_with_warmup": "cosine",
    "get_cosine_with_hard_restarts_schedule_with_warmup": "cosine_with_restarts",
    "get_polynomial_decay_schedule_with_warmup": "polynomial",
    "get_inverse_sqrt_schedule": "inverse_sqrt",
    "get_cosine_with_min_lr_schedule_with_warmup": "cosine_with_min_lr",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": "cosine_warmup_with_min_lr",
    "get_wsd_schedule": "warmup_stable_decay",
    "get_reduce_on_plateau_schedule": "reduce_lr_on_plateau",
    "get_greedy_schedule": "greedy",
}
"""The functions of transformers that build a scheduler -> its name."""


def check_origins(tree: ast.AST, scope: Scope, peer: str) -> None:
    """Raise UnknownNameError for a schedule or an optimiser that has a peer's name and is told to be another's."""
    if peer == "textbook":
        return
    owners = ("torch", peer) if peer in ON_TORCH else (peer,)
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        names, origins = (callee(node), name_of(node)), scope.origins
        peers = [home for home in _HOMES.get(peer, (peer,)) if is_schedule(node, home, scope)]
        peers += [owner for owner in owners if any(name in OPTIMIZERS[owner] for name in names)]
        if not peers or (origins.is_function(node) and peer != "optax"):  # a function that stands here is read as it is
            continue
        own = {root for peer in peers for root in ROOTS[peer]}
        package, root = ", ".join(sorted({*origins.packages(node)} - own - {""})), ROOTS[peers[0]][0]
        if origins.is_function(node) or origins.is_foreign(node, peers):
            whose = f"comes from {package} here" if package else "is defined in this source"
            raise UnknownNameError(
                f"{callee(node)} {whose}{at_line(node)} and is not that of {root}, so what it does where nothing is given "
                f"cannot be told; put that of {root} in its place."
            )


def peer_of(tree: ast.AST) -> str:
    """Return the peer that a source is for: of those that it imports the one it builds with; the textbook's without any.

    Raises InvalidValueError where it builds with several that have no optimisers in common.
    """
    origins, calls = Origins.of(tree), [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    modules = [path for paths in origins.paths.values() for path in paths] + [*origins.stars]
    roots = {module.partition(".")[0] for module in modules}
    if roots.isdisjoint(root for own in ROOTS.values() for root in own):  # a part of a source: torch.optim.SGD(...)
        roots = {ast.unparse(node.func).partition(".")[0] for node in calls if isinstance(node.func, ast.Attribute)}
    imported = [peer for peer, own in ROOTS.items() if roots & {*own}]
    used = [peer for peer in imported if any(_is_own(node, peer, origins) for node in calls)]
    apart = dict.fromkeys("torch" if peer in BUILD else peer for peer in used)
    if len(apart) > 1:
        raise InvalidValueError(f"this source builds with {' and '.join(apart)}; give the source of one run.")
    if apart and "torch" not in apart:
        return used[0]
    on_torch = [peer for peer in imported if peer in BUILD] if used else []
    own = next((peer for peer in used if peer != "torch"), next(iter(on_torch or imported), "textbook"))
    if own in ("timm", "hf") and own not in used and "torch" in imported:
        return "torch" if any(origins.named(node) in PEERS["torch"] for node in calls) else own
    return own


def _is_own(node: ast.Call, peer: str, origins: Origins) -> bool:
    name = origins.named(node)
    factory = peer == "timm" and name == "create_optimizer_v2"
    known = factory or (_is_named(name, peer) and name != "LambdaLR") or name in OPTIMIZERS[peer]
    return known and not origins.is_function(node) and not origins.is_foreign(node, [peer])


def home_of(node: ast.Call, peer: str, scope: Scope) -> str | None:
    """Return the peer whose schedule a call builds in source for ``peer``; None where it builds none."""
    homes = () if scope.origins.is_function(node) else _HOMES.get(peer, (peer,))
    return next((home for home in homes if is_schedule(node, home, scope)), None)


def is_schedule(node: ast.Call, peer: str, scope: Scope) -> bool:
    """Return whether a call has the name of a schedule of ``peer``; one of transformers' names is no method's."""
    name = callee(node)
    if peer == "hf":
        by_name = isinstance(node.func, ast.Name) or bool(scope.origins.packages(node))
        return (_is_named(name, peer) and by_name) or name == "LambdaLR"
    return _is_named(name, peer) or (name == "LambdaLR" and peer in ("torch", "timm", "composer"))


def _is_named(name: str, peer: str) -> bool:
    return name in GET or name == "get_scheduler" if peer == "hf" else name in PEERS[peer]
