"""A function of the step in somebody's source, read as a Formula: by its syntax tree, never by running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from copy import deepcopy

from dwindle.errors import DwindleError, NoExactMapError, ParseError, shown
from dwindle.schedule import Formula

__all__ = ["formula_of"]

Function = ast.FunctionDef | ast.Lambda

_MODULES = ("math", "np", "numpy", "jnp", "jax.numpy", "torch", "tf", "tf.math", "ops", "keras.ops")
_SAME = {"minimum": "min", "maximum": "max", "fmin": "min", "fmax": "max", "int": "floor"}
_AS_IT_IS = ("float", "asarray", "array", "cast", "convert_to_tensor", "float32", "float64")
_BATCHES = ("timestamp.batch", "timestamp.batch.value")  # of Composer's state
_MOST_NODES = 5000  # a small function can name a value again and again, and so grow without bound


def formula_of(function: Function, names: Mapping[str, ast.expr]) -> Formula:
    r"""Return the formula that ``function`` is of its one argument, the step; ``names`` are values known outside it.

    It may assign names, branch by ``if`` and return; calls of math, NumPy, JAX, torch and Keras that a formula has are
    read as such (``np.minimum``, ``jnp.where`` …). The argument may be Composer's state, whose timestamp.batch is the step.
    Raises NoExactMapError where it holds anything else.

    >>> tree = ast.parse("def f(t):\n    if t < 5: return t / w\n    x = t - 5\n    return math.cos(x) ** 2").body[0]
    >>> str(formula_of(tree, {"w": ast.Constant(5)}))
    'formula "step / 5 if step < 5 else cos(step - 5) ** 2"'
    """
    name = getattr(function, "name", "a lambda")
    own = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args) if arg.arg != "self"]
    if len(own) - len(function.args.defaults) > 1 or not own:
        raise NoExactMapError(f"{name} takes {', '.join(own) or 'nothing'}; a schedule is a function of one step.")
    known = dict(names)
    for arg, default in zip(reversed(own), reversed(function.args.defaults), strict=False):
        known[arg] = default
    known[own[0]] = ast.Name("step", ast.Load())
    try:
        body = function.body if isinstance(function.body, list) else [ast.Return(function.body)]
        return Formula(ast.unparse(ast.fix_missing_locations(_value_of(body, known))))
    except (DwindleError, RecursionError) as error:
        raise NoExactMapError(f"{name} cannot be read as a formula of the step: {error}") from error


def _value_of(body: Sequence[ast.stmt], known: dict[str, ast.expr]) -> ast.expr:
    """Return the value of the statements ``body``: assignments, ``if`` and ``return``."""
    for i, statement in enumerate(body):
        match statement:
            case ast.Return(value=ast.expr() as value):
                return _plain(value, known)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                known = {**known, name: _plain(value, known)}
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                known = {**known, name: _plain(ast.BinOp(ast.Name(name), op, value), known)}
            case ast.If(test=test, body=yes, orelse=no):
                rest = body[i + 1 :]
                return ast.IfExp(_plain(test, known), _value_of([*yes, *rest], known), _value_of([*no, *rest], known))
            case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.Pass():
                continue
            case _:
                raise ParseError(f"{shown(ast.unparse(statement))} is neither an assignment, an if nor a return.")
    raise ParseError("it comes to its end without a return.")


def _plain(node: ast.expr, known: Mapping[str, ast.expr]) -> ast.expr:
    plain: ast.expr = _Plain(known).visit(deepcopy(node))
    if sum(1 for _ in ast.walk(plain)) > _MOST_NODES:
        raise ParseError(
            f"with its names replaced by their values it has more than {_MOST_NODES:,} parts; give its rates as a table."
        )
    return plain


class _Plain(ast.NodeTransformer):
    """Names become their values, and the calls of every library those of a formula."""

    def __init__(self, known: Mapping[str, ast.expr]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self.known[node.id]) if node.id in self.known else node

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
            value: ast.expr = self.visit(node.func.value)
            return value
        name = self._name(node.func)
        args: list[ast.expr] = [self.visit(arg) for arg in node.args]
        if args and (name in _AS_IT_IS or (name == "int" and ast.unparse(args[0]) == "step")):
            return args[0]
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
