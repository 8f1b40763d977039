"""What a source sets of transformers' TrainingArguments after they are built: found, so that it is refused."""

from __future__ import annotations

import ast
from collections.abc import Collection

from dwindle.errors import NoExactMapError, shown
from dwindle.foreign.source.literal import at_line, callee
from dwindle.foreign.source.unread import assigned, copied

__all__ = ["check_arguments"]


def check_arguments(tree: ast.AST, call: ast.Call, read: Collection[str]) -> None:
    """Raise NoExactMapError if the TrainingArguments that ``call`` builds are given one of ``read`` afterwards.

    >>> tree = ast.parse("args = TrainingArguments('out'); args.learning_rate = 3e-4")
    >>> check_arguments(tree, tree.body[0].value, ["learning_rate"])
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: 'args.learning_rate = 0.0003' changes the arguments (line 1), which is not read; ...
    """
    pairs = [*assigned(tree)]
    names = {ast.unparse(to) for to, value in pairs if call in ast.walk(value)}
    copies = [(ast.unparse(to), ast.unparse(copied(value))) for to, value in pairs]
    while same := {to for to, value in copies if value in names} - names:
        names |= same

    def ours(node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method.startswith("set_"):
                return ours(owner)
            case ast.Attribute(attr="args" | "training_args"):
                return True
        return node is call or ast.unparse(node) in names

    def is_mapping(node: ast.expr) -> bool:
        """Return whether ``node`` is the mapping that holds the arguments."""
        match node:
            case ast.Attribute(value=owner, attr="__dict__") | ast.Call(func=ast.Name(id="vars"), args=[owner]):
                return ours(owner)
        return False

    mappings = {ast.unparse(to) for to, value in pairs if is_mapping(value)}

    def theirs(node: ast.expr) -> bool:
        return is_mapping(node) or ast.unparse(node) in mappings

    def may_be_read(key: ast.expr) -> bool:
        return not isinstance(key, ast.Constant) or key.value in read

    def is_set(target: ast.AST) -> bool:
        match target:
            case ast.Attribute(value=owner, attr=key):
                return key in read and ours(owner)
            case ast.Subscript(value=owner, slice=key):
                return may_be_read(key) and theirs(owner)
        return False

    for node in ast.walk(tree):
        match node:
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                changed = any(is_set(part) for target in targets for part in ast.walk(target))
            case ast.Call(func=ast.Attribute(value=owner, attr="set_training" | "set_optimizer" | "set_lr_scheduler")):
                changed = ours(owner)
            case ast.Call(func=ast.Attribute(value=owner, attr="update"), args=args, keywords=words) if theirs(owner):
                changed = bool(args) or any(word.arg is None or word.arg in read for word in words)
            case ast.Call(args=[first, key, _]) if callee(node) in ("setattr", "__setattr__"):
                changed = may_be_read(key) and ours(first)
            case ast.Call(args=[first], keywords=words) if callee(node) == "replace":
                changed = ours(first) and any(word.arg is None or word.arg in read for word in words)
            case _:
                continue
        if changed:
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} changes the arguments{at_line(node)}, which is not read; give {callee(call)} its "
                "values where it is built."
            )
