"""Where the names of a source come from: a class that another module has is another one, whatever its name."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["ROOTS", "Origins"]

ROOTS: dict[str, tuple[str, ...]] = {
    "timm": ("timm",), "composer": ("composer",), "hf": ("transformers",), "optax": ("optax",),
    "keras": ("keras", "tensorflow", "tf_keras"), "sklearn": ("sklearn",), "torch": ("torch",),
}  # fmt: skip
"""peer -> the packages that are its own."""


@dataclass(frozen=True, slots=True)
class Origins:
    """``paths``: name -> what it is imported as; ``stars``: modules of which all names are; what is defined here itself."""

    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stars: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tree: ast.AST) -> Origins:
        """Return the origins of the names of a whole source.

        >>> Origins.of(ast.parse("import torch.optim as o; from timm.optim import Lion")).paths
        {'o': ('torch.optim',), 'Lion': ('timm.optim.Lion',)}
        """
        paths, stars = dict[str, tuple[str, ...]](), list[str]()
        for node in ast.walk(tree):
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                module = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
                if alias.name == "*":
                    stars.append(module)
                    continue
                whole = alias.asname is not None or isinstance(node, ast.ImportFrom)
                path = alias.name if whole else alias.name.partition(".")[0]
                path = f"{module}.{path}" if module else path
                name = alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else path)
                paths[name] = (*paths.get(name, ()), path)
        defined: dict[type[ast.AST], set[str]] = {ast.ClassDef: set(), ast.FunctionDef: set()}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined[type(node)].add(node.name)
        return cls(paths, tuple(stars), frozenset(defined[ast.ClassDef]), frozenset(defined[ast.FunctionDef]))

    def is_function(self, node: ast.Call) -> bool:
        """Return whether a function that stands in this source is called, by its name or as a method of ``self``."""
        func = node.func
        if isinstance(func, ast.Attribute):
            return isinstance(func.value, ast.Name) and func.value.id == "self" and func.attr in self.functions
        return isinstance(func, ast.Name) and func.id in self.functions

    def named(self, node: ast.Call) -> str:
        """Return the last name of what is called, by the name that it has where it is imported from."""
        func = node.func
        if isinstance(func, ast.Attribute):
            return func.attr
        return self.paths.get(func.id, (func.id,))[0].rpartition(".")[2] if isinstance(func, ast.Name) else ""

    def packages(self, node: ast.Call) -> tuple[str, ...]:
        """Return the packages that what is called may come from, "" for this source; none where that is not told."""
        func = node.func
        bare = isinstance(func, ast.Name)
        while isinstance(func, ast.Attribute):
            func = func.value
        if not isinstance(func, ast.Name):
            return ()
        if bare and func.id in self.classes:
            return ("",)
        paths = self.paths.get(func.id, self.stars if bare else ())
        roots = tuple(path.partition(".")[0] or path.rpartition(".")[0] or "." for path in paths)
        if roots or bare:
            return roots
        # an alias is written out as its path by now, and a part of a source has no imports
        known = {module.partition(".")[0] for of in self.paths.values() for module in of}
        known |= {root for own in ROOTS.values() for root in own}
        return (func.id,) if func.id in known else ()

    def is_foreign(self, node: ast.Call, peers: Collection[str]) -> bool:
        """Return whether what is called is told to be of none of ``peers``.

        >>> tree = ast.parse("import tensorflow_addons as tfa; tfa.optimizers.AdamW()")
        >>> Origins.of(tree).is_foreign(tree.body[1].value, ["keras"])
        True
        """
        packages, own = self.packages(node), [root for peer in peers for root in ROOTS.get(peer, ())]
        among = [package in own for package in packages]
        by_star = isinstance(node.func, ast.Name) and node.func.id not in self.paths
        return bool(among) and not (any(among) if by_star else all(among))
