"""A function of the step in somebody's source, read as a Formula: by its syntax tree, never by running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy

from dwindle.errors import DwindleError, NoExactMapError, ParseError, shown
from dwindle.foreign.source.literal import Scope
from dwindle.schedule import Formula

__all__ = ["formula_of"]

Function = ast.FunctionDef | ast.Lambda

_MODULES = ("math", "np", "numpy", "jnp", "jax.numpy", "torch", "tf", "tf.math", "ops", "keras.ops")
_SAME = {"minimum": "min", "maximum": "max", "fmin": "min", "fmax": "max"}
_AS_IT_IS = ("float", "asarray", "array", "cast", "convert_to_tensor", "float32", "float64")
_BATCHES = ("timestamp.batch", "timestamp.batch.value")  # of Composer's state
_MOST_NODES = 5000  # a small function can name a value again and again, and so grow without bound


def formula_of(function: Function, scope: Scope, at: ast.expr | None = None) -> Formula:
    r"""Return the formula that ``function`` is of its one argument, ``at`` an expression of the step, or the step itself.

    It may assign names, branch by ``if`` and return; calls of math, NumPy, JAX, torch and Keras that a formula has are
    read as such (``np.minimum``, ``jnp.where`` …). The argument may be Composer's state, whose timestamp.batch is the step.
    Names that it does not assign have their values in ``scope``. Raises NoExactMapError where it holds anything else.

    >>> tree = ast.parse("def f(t):\n    if t < w: return t / w\n    x = t - w\n    return math.cos(x) ** 2\nw = 10 // 2")
    >>> str(formula_of(tree.body[0], Scope.of(tree)))
    'formula "step / 5 if step < 5 else cos(step - 5) ** 2"'
    """
    name = getattr(function, "name", "a lambda")
    own = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args) if arg.arg != "self"]
    given = dict(zip(reversed(own), reversed(function.args.defaults), strict=False))
    for arg, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        given |= {} if default is None else {arg.arg: default}
    needed = [arg for arg in (*own, *(arg.arg for arg in function.args.kwonlyargs)) if arg not in given]
    if len(needed) > 1 or not own:
        raise NoExactMapError(f"{name} takes {', '.join(needed) or 'nothing'}; a schedule is a function of one step.")
    try:
        known = {arg: _plain(default, {}, scope) for arg, default in given.items()}
        known[own[0]] = ast.Name("step", ast.Load()) if at is None else at
        body = function.body if isinstance(function.body, list) else [ast.Return(function.body)]
        return Formula(ast.unparse(ast.fix_missing_locations(_value_of(body, known, scope))))
    except (DwindleError, RecursionError) as error:
        raise NoExactMapError(f"{name} cannot be read as a formula of the step: {error}") from error


def _value_of(body: Sequence[ast.stmt], known: dict[str, ast.expr], scope: Scope) -> ast.expr:
    """Return the value of the statements ``body``: assignments, ``if`` and ``return``."""
    for i, statement in enumerate(body):
        match statement:
            case ast.Return(value=ast.expr() as value):
                return _plain(value, known, scope)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                known = {**known, name: _plain(value, known, scope)}
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                known = {**known, name: _plain(ast.BinOp(ast.Name(name), op, value), known, scope)}
            case ast.If(test=test, body=yes, orelse=no):
                rest = body[i + 1 :]
                return ast.IfExp(
                    _plain(test, known, scope),
                    _value_of([*yes, *rest], known, scope),
                    _value_of([*no, *rest], known, scope),
                )
            case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.Pass():
                continue
            case _:
                raise ParseError(f"{shown(ast.unparse(statement))} is neither an assignment, an if nor a return.")
    raise ParseError("it comes to its end without a return.")


def _plain(node: ast.expr, known: Mapping[str, ast.expr], scope: Scope) -> ast.expr:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name) and part.id not in known]
    outside = {name.id: _outside(name, scope) for name in names}
    plain: ast.expr = _Plain({**known, **outside}).visit(deepcopy(node))
    if sum(1 for _ in ast.walk(plain)) > _MOST_NODES:
        raise ParseError(
            f"with its names replaced by their values it has more than {_MOST_NODES:,} parts; give its rates as a table."
        )
    return plain


def _outside(node: ast.Name, scope: Scope) -> ast.expr | DwindleError:
    """Return what a name stands for that the function does not assign, or why that cannot be told."""
    if id(node) in scope.arguments or node.id in scope.reasons:
        return ParseError(f"{scope.reason(node)}.")
    named = scope.looked_up(node)
    if named is node:
        return node
    try:
        value = scope.value(node)
    except DwindleError:
        value = None
    try:
        return ast.Constant(value) if isinstance(value, int | float) else _plain(named, {}, scope)
    except DwindleError as error:
        return error


class _Plain(ast.NodeTransformer):
    """Names become their values, and the calls of every library those of a formula."""

    def __init__(self, known: Mapping[str, ast.expr | DwindleError]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        named = self.known.get(node.id, node)
        if isinstance(named, DwindleError):
            raise named
        return deepcopy(named)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if node.attr == "pi" and ast.unparse(node.value) in _MODULES:
            return ast.Name("pi", ast.Load())
        if ast.unparse(node).partition(".")[2] in _BATCHES:
            return ast.Name("step", ast.Load())
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        by = node.right
        unchanged = isinstance(node.op, ast.Div) and isinstance(by, ast.Constant) and by.value == 1.0
        return node.left if unchanged else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("astype", "float", "double"):
            return _as_kind(self.visit(node.func.value), node.args, node.keywords)
        name = self._name(node.func)
        if name in _AS_IT_IS and node.args:
            return _as_kind(self.visit(node.args[0]), node.args[1:], node.keywords)
        args: list[ast.expr] = [self.visit(arg) for arg in node.args]
        if name == "int" and len(args) == 1:
            return _truncated(args[0])
        if name == "where" and len(args) == 3:
            return ast.IfExp(*args)
        if name == "clip" and len(args) == 3:
            return _call("min", _call("max", args[0], args[1]), args[2])
        if name in ("logical_and", "logical_or") and len(args) == 2:
            return ast.BoolOp(ast.And() if name == "logical_and" else ast.Or(), args)
        if name == "logical_not" and len(args) == 1:
            return ast.UnaryOp(ast.Not(), args[0])
        if name in ("power", "pow") and len(args) == 2:
            return ast.BinOp(args[0], ast.Pow(), args[1])
        if name == "square" and len(args) == 1:
            return ast.BinOp(args[0], ast.Pow(), ast.Constant(2))
        return ast.Call(ast.Name(_SAME.get(name, name), ast.Load()), args, node.keywords)

    def _name(self, func: ast.expr) -> str:
        if isinstance(func, ast.Attribute) and ast.unparse(func.value) in _MODULES:
            return func.attr
        return ast.unparse(func)


def _call(name: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _as_kind(node: ast.expr, kinds: Sequence[ast.expr], named: Sequence[ast.keyword]) -> ast.expr:
    """Return the value of a cast to one of ``kinds``: whole numbers are cut off, floats are what they are."""
    words = [ast.unparse(kind) for kind in (*kinds, *(word.value for word in named))]
    return _truncated(node) if any(re.search(r"\bu?int\d*\b", word) for word in words) else node


def _truncated(node: ast.expr) -> ast.expr:
    """Return the expression of int(x): floor(x) where x is not below 0, -floor(-x) elsewhere."""
    if ast.unparse(node) == "step":
        return node
    floor = _call("floor", node)
    if _is_never_negative(node):
        return floor
    below = ast.UnaryOp(ast.USub(), _call("floor", ast.UnaryOp(ast.USub(), deepcopy(node))))
    return ast.IfExp(ast.Compare(deepcopy(node), [ast.GtE()], [ast.Constant(0)]), floor, below)


def _is_never_negative(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="step" | "pi") | ast.Call(func=ast.Name(id="abs" | "exp" | "sqrt")):
            return True
        case ast.Constant(value=int() | float() as value):
            return value >= 0
        case ast.Call(func=ast.Name(id="max"), args=args):
            return any(map(_is_never_negative, args))
        case ast.Call(func=ast.Name(id="min" | "floor"), args=args):
            return all(map(_is_never_negative, args))
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Pow(), right=right):
            return _is_never_negative(left) and (_is_never_negative(right) or isinstance(node.op, ast.Pow))
        case ast.BinOp(op=ast.Mod(), right=right):
            return _is_never_negative(right)
    return False
