"""Source with its spelling made plain: imported and assigned aliases followed, branches that never run left out."""

from __future__ import annotations

import ast

__all__ = ["tidied"]


def tidied(tree: ast.Module) -> ast.Module:
    r"""Return ``tree`` (changed in place) with every alias replaced by the name it stands for, and no ``if False:``.

    >>> text = "from torch.optim.lr_scheduler import StepLR as S\nif False:\n    S(o, 1)\nelse:\n    S(o, 2)"
    >>> print(ast.unparse(tidied(ast.parse(text))))
    from torch.optim.lr_scheduler import StepLR as S
    torch.optim.lr_scheduler.StepLR(o, 2)
    """
    plain: ast.Module = _Tidied(_aliases(tree)).visit(tree)
    return plain


def _aliases(tree: ast.AST) -> dict[str, ast.expr]:
    """Return what imports rename, and names that are assigned once, to a class or function by its path.

    What is imported from the project of the source itself keeps its alias: it is no peer's, whatever its name.
    """
    found: dict[str, ast.expr] = {}
    imported: set[str] = set()
    assigned: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            renamed = [alias for alias in node.names if alias.asname and alias.asname != alias.name]
            found |= {str(a.asname): ast.parse(f"{node.module}.{a.name}", mode="eval").body for a in renamed}
            imported |= {str(alias.asname) for alias in renamed}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assigned[node.id] = assigned.get(node.id, 0) + 1
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and assigned[target.id] == 1 and target.id not in imported:
                found[target.id] = node.value
    return {name: value for name, value in found.items() if assigned.get(name, 0) == (name not in imported)}


class _Tidied(ast.NodeTransformer):
    def __init__(self, aliases: dict[str, ast.expr]) -> None:
        self.aliases = aliases

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.aliases:
            node.func = self.aliases[node.func.id]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return node
        return (node.body if node.test.value else node.orelse) or ast.Pass()

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return (node.body if node.test.value else node.orelse) if isinstance(node.test, ast.Constant) else node
