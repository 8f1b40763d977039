"""The mask in somebody's source: a function ``decays(name, ndim, kind)`` read rule by rule."""

from __future__ import annotations

import ast
import re
from copy import deepcopy

from dwindle.errors import DwindleError, NoExactMapError, shown
from dwindle.foreign.source.literal import Scope
from dwindle.mask import Mask, Rule

__all__ = ["mask_given", "mask_of", "mask_told", "names_picked"]


def mask_of(scope: Scope) -> Mask:
    """Return the mask of the function ``decays`` in the source; the usual one where there is none or it cannot be read.

    >>> tree = ast.parse('''
    ... def decays(name, ndim):
    ...     if fnmatch.fnmatchcase(name, "embed/*"):
    ...         return False
    ...     return ndim >= 2
    ... ''')
    >>> print(mask_of(Scope.of(tree)))
    name "embed/*" does not, ndim "2" decays
    """
    return mask_told(scope) or Mask()


def mask_told(scope: Scope) -> Mask | None:
    """Return the mask of the function ``decays`` in the source; None where there is none or it cannot be read."""
    function = scope.functions.get("decays")
    rules = None if function is None else _rules(function.body)
    if rules is None:
        return None
    standard = [rule for rule in Mask().rules if rule.subject != "kind"]  # a tree of parameters has no kinds
    if rules[-len(standard) :] == standard:
        return Mask.of(*rules[: -len(standard)])
    return Mask(tuple(rules))


def mask_given(node: ast.expr, scope: Scope) -> Mask:
    """Return the mask of a function over a tree of parameters: one that asks ``decays``, or only whether ndim > 1.

    Raises NoExactMapError for any other.

    >>> print(mask_given(ast.parse("lambda p: jax.tree.map(lambda w: w.ndim > 1, p)", mode="eval").body, Scope()) == Mask())
    True
    """
    function = scope.function(node)
    asked = [] if function is None else list(ast.walk(function))
    decays = scope.functions.get("decays")
    if decays is not None and any(isinstance(part, ast.Name) and part.id == "decays" for part in asked):
        if _rules(decays.body) is not None:
            return mask_of(scope)
    elif any(_is_usual(part) for part in asked) and sum(isinstance(part, ast.Compare) for part in asked) == 1:
        return Mask()
    raise NoExactMapError(
        f"which parameters decay is told by {shown(ast.unparse(node))}, which cannot be read; leave the mask out and give "
        "the plan a Mask."
    )


def _is_usual(node: ast.AST) -> bool:
    """Return whether ``node`` is a function that asks for two dimensions or more."""
    if not isinstance(node, ast.Lambda) or not isinstance(node.body, ast.Compare):
        return False
    return (
        re.fullmatch(r"(\w+\.ndim|len\((\w+\.)?shape\)|\w+\.ndim\(\)) (> 1|>= 2)", ast.unparse(node.body)) is not None
    )


def _rules(body: list[ast.stmt]) -> list[Rule] | None:
    rules: list[Rule] = []
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.If(test=test, body=[ast.Return(value=ast.Constant(value=bool() as answer))], orelse=[]):
                rule = _rule(test, answer)
            case ast.Return(value=ast.Constant(value=bool() as answer)):
                return [*rules, *([Rule("name", "*", True)] if answer else [])]
            case ast.Return(value=ast.expr() as test):
                rule = _rule(test, True)
            case _:
                return None
        if rule is None:
            return None
        rules.append(rule)
        if isinstance(statement, ast.Return):
            return rules
    return rules


def _rule(test: ast.expr, answer: bool) -> Rule | None:
    match test:
        case ast.Compare(
            left=ast.Call(
                func=ast.Attribute(attr="search"), args=[ast.Constant(value=str() as pattern), ast.Name(id="name")]
            ),
            ops=[ast.IsNot()],
        ):
            return Rule("regex", pattern, answer)
        case ast.Call(
            func=ast.Attribute(attr="fnmatchcase" | "fnmatch"), args=[subject, ast.Constant(value=str() as pattern)]
        ):
            return Rule("kind" if ast.unparse(subject).startswith("kind") else "name", pattern, answer)
        case ast.Compare(left=ast.Name(id="ndim"), ops=[ast.GtE()], comparators=[ast.Constant(value=int() as ndim)]):
            return Rule("ndim", str(ndim), answer)
    return None


def names_picked(params: ast.expr, scope: Scope) -> tuple[list[str], bool] | None:
    """Return the regular expressions by which a list of parameters picks names, and whether it takes those that match.

    None where it goes by anything but names.

    >>> text = "[p for n, p in m.named_parameters() if p.requires_grad and not n.endswith('weight')]"
    >>> names_picked(ast.parse(text, mode="eval").body, Scope())
    (['weight$'], False)
    """
    node = scope.looked_up(params)
    match node:
        case ast.ListComp(generators=[each]) | ast.GeneratorExp(generators=[each]) if each.ifs and isinstance(
            each.target, ast.Tuple
        ):
            name = ast.unparse(each.target.elts[0])
            return _picked(ast.BoolOp(ast.And(), each.ifs), name, scope)
    return None


def _picked(test: ast.expr, name: str, scope: Scope) -> tuple[list[str], bool] | None:
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            found = _picked(inner, name, scope)
            return None if found is None else (found[0], not found[1])
        case ast.BoolOp(op=ast.And(), values=values):
            values = [value for value in values if not ast.unparse(value).endswith(".requires_grad")]
            return _picked(values[0], name, scope) if len(values) == 1 else None
        case ast.BoolOp(op=ast.Or(), values=values):
            each = [_picked(value, name, scope) for value in values]
            known = [found[0] for found in each if found is not None and found[1]]
            return ([word for words in known for word in words], True) if len(known) == len(each) else None
        case ast.Call(func=ast.Attribute(attr="endswith", value=ast.Name(id=of)), args=[ends]) if of == name:
            return _words(ends, "$", scope)
        case ast.Compare(left=part, ops=[ast.In() | ast.NotIn() as op], comparators=[ast.Name(id=of)]) if of == name:
            found = _words(part, "", scope)
            return None if found is None else (found[0], isinstance(op, ast.In))
        case ast.Call(func=ast.Name(id="any"), args=[ast.GeneratorExp(elt=inner, generators=[each])]) if not each.ifs:
            return _picked(_Named(ast.unparse(each.target), each.iter).visit(deepcopy(inner)), name, scope)
    return None


class _Named(ast.NodeTransformer):
    """A name becomes the list it goes through."""

    def __init__(self, name: str, value: ast.expr) -> None:
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.value if node.id == self.name else node


def _words(node: ast.expr, end: str, scope: Scope) -> tuple[list[str], bool] | None:
    try:
        value = scope.value(node)
    except DwindleError:
        return None
    words = value if isinstance(value, list) else [value]
    return ([re.escape(word) + end for word in words], True) if all(isinstance(word, str) for word in words) else None
