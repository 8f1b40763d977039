"""A peer's recipe in one line, ``torch:CosineAnnealingLR(T_max=100) lr=3e-4``, read from its syntax tree; nothing is run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnknownNameError, real, shown, suggestion
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.schedules.peers import ABSOLUTE, PEERS, multiplies_lr, peer_named, signature
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import ON_TORCH, Pair, lr_name, plan_from_pair
from dwindle.plan import Plan
from dwindle.schedule import Formula
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.formula import FUNCTIONS

__all__ = ["is_spec", "pair_of_spec", "read_spec"]

_LONGEST = 20_000
_PREFIX = re.compile(r"\s*([A-Za-z][\w-]*)\s*:(?!=)")
_PYTHON = ("else", "try", "finally", "lambda")
_SET_THEIR_OWN_LR = ("OneCycleLR", "CyclicLR")


def is_spec(text: str) -> bool:
    """Return whether ``text`` has the form of a spec, ``peer: ...`` in one line; the peer need not be a known one.

    >>> is_spec("torch: StepLR(30) lr=0.1"), is_spec("peak 0.1 | cosine"), is_spec("import torch")
    (True, False, False)
    """
    found = _PREFIX.match(text)
    if found is None or found.group(1) in _PYTHON:
        return False
    try:
        peer_named(found.group(1))
    except UnknownNameError:
        return "\n" not in text.strip()
    return True


def read_spec(text: str) -> Plan | FeedbackRule[Any]:
    """Return the plan of a peer's recipe in one line, or the rule of a scheduler that answers a metric.

    After the peer and a colon come, in any order, at most one schedule and one optimiser as calls, and ``lr=``. Values may
    stand without their names in the peer's own order (`signature`); numbers may be worked out (``1/3``).

    Raises ParseError, UnknownNameError or InvalidValueError, saying where in the text.

    >>> print(read_spec("torch:AdamW(lr=1e-3, weight_decay=0.1) StepLR(step_size=30)"))
    peak 1e-3 | step by 0.1 every 30st | decoupled 0.1 | mask name "*" decays
    >>> print(read_spec("keras: ExponentialDecay(0.1, 100, 0.96)"))
    peak 0.1 | exponential by 0.96 every 100st
    """
    return plan_from_pair(pair_of_spec(text))


def pair_of_spec(text: str) -> Pair:
    """Return the schedule and the optimiser that a spec names."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ParseError(f"a peer's recipe is one line of at most {_LONGEST} characters; got {shown(text)}.")
    found = _PREFIX.match(text)
    if found is None:
        raise ParseError(
            f"a peer's recipe begins with its name and a colon, such as torch:StepLR(30); got {shown(text)}."
        )
    spec = _Spec(text, peer_named(found.group(1)))
    for item in spec.items(found.end()):
        spec.take(item)
    return spec.pair()


@dataclass(slots=True)
class _Item:
    """One call or one ``name=value`` of a spec: its tree, and the character at which it begins."""

    tree: ast.Call
    start: int

    def at(self, node: ast.AST) -> int:
        """Return the character of the text at which ``node`` begins."""
        return self.start + getattr(node, "col_offset", 2) - 2  # of f(...), which the tree is


@dataclass(slots=True)
class _Spec:
    """A spec while it is read."""

    text: str
    peer: str
    schedule: Mapping[str, Any] | Formula | None = None
    name: str = ""
    optimizer: Mapping[str, Any] | None = None
    owner: str = ""
    lr: float | None = None
    scope: Scope = field(default_factory=Scope)

    def fail(self, said: str, at: int, error: type[DwindleError] = ParseError) -> NoReturn:
        here = f"at character {at + 1}: {shown(self.text[at : at + 40])}"
        raise error(f"{said} ({here if at < len(self.text) else 'at the end of the text'})")

    def items(self, start: int) -> list[_Item]:
        """Return the items of the text from ``start`` on: a new one begins where two values stand side by side."""
        spans: list[list[int]] = []
        depth, ended = 0, True
        for token in self._tokens(start):
            begin, end = start + token.start[1], start + token.end[1]
            if depth == 0 and token.string in (",", ";", "|"):
                ended = True
                continue
            beside = bool(spans) and self._is_value(token.type) and self._is_value(spans[-1][2])
            if not spans or (depth == 0 and (ended or beside)):
                spans.append([begin, end, token.type])
            ended = False
            depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
            spans[-1][1:] = [end, tokenize.NAME if token.string in (")", "]", "}") else token.type]
        if not spans:
            self.fail(f"a schedule or an optimiser of {self.peer} was expected", len(self.text))
        return [self._parsed(begin, end) for begin, end, _ in spans]

    @staticmethod
    def _is_value(kind: int) -> bool:
        return kind in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)

    def _tokens(self, start: int) -> list[tokenize.TokenInfo]:
        line = re.sub(r"\s", " ", self.text[start:])
        skipped = len(line) - len(line.lstrip())
        found = []
        try:
            for token in tokenize.generate_tokens(io.StringIO(line.strip()).readline):
                if token.string.strip() and token.type != tokenize.COMMENT:
                    at = [(row, column + skipped) for row, column in (token.start, token.end)]
                    found.append(token._replace(start=at[0], end=at[1]))
        except (tokenize.TokenError, SyntaxError) as error:
            self.fail(f"a bracket or a quote is not closed: {error.args[0]}", len(self.text))
        return found

    def _parsed(self, begin: int, end: int) -> _Item:
        line = re.sub(r"\s", " ", self.text[begin:end])
        try:
            tree = ast.parse(f"f({line})", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            offset = getattr(error, "offset", None) or 3
            self.fail(f"this cannot be read: {getattr(error, 'msg', error)}", min(begin + offset - 3, end))
        if not isinstance(tree, ast.Call) or len(tree.args) + len(tree.keywords) != 1:
            self.fail("a schedule, an optimiser or lr= was expected", begin)
        return _Item(tree, begin)

    def take(self, item: _Item) -> None:
        """Put one item in its place."""
        for keyword in item.tree.keywords:
            if keyword.arg not in ("lr", "base_lr", lr_name(self.peer, "")):
                said = f"{keyword.arg!r} is no value of the whole recipe, as lr= is; put it inside a call"
                self.fail(said, item.start, UnknownNameError)
            if self.lr is not None:
                self.fail("lr is given twice", item.start)
            self.lr = self._rate(keyword.value, item)
            return
        node = item.tree.args[0]
        call = ast.Call(node, [], []) if isinstance(node, ast.Name | ast.Attribute) else node
        name = callee(call) if isinstance(call, ast.Call) else ""
        if not isinstance(call, ast.Call) or not name:
            self.fail("a schedule, an optimiser or lr= was expected", item.start)
        owner = next((o for o in self._owners() if name in OPTIMIZERS[o]), None)
        if name in PEERS[self.peer] or name == "LambdaLR":
            if self.schedule is not None:
                self.fail(f"{name} is a second schedule beside {self.name}; a recipe has one", item.start)
            self.name, self.schedule = name, self._schedule(name, call, item)
        elif owner is None:
            hint = suggestion(name, [*PEERS[self.peer], *OPTIMIZERS[self.peer]])
            self.fail(f"{name!r} is no schedule and no optimiser of {self.peer}; {hint}", item.start, UnknownNameError)
        elif self.optimizer is not None:
            self.fail(f"{name} is a second optimiser; a recipe has one", item.start)
        else:
            self.owner, self.optimizer = owner, {"name": name, "params": self._optimizer(name, owner, call, item)}

    def _rate(self, node: ast.expr, item: _Item) -> float:
        if self.peer in ABSOLUTE and isinstance(node, ast.Call) and callee(node) in PEERS[self.peer]:
            self.fail(f"leave lr= out: {callee(node)} of {self.peer} holds the learning rates itself", item.start)
        try:
            return real("lr", self.value(node, item), above=0.0)
        except InvalidValueError as error:
            self.fail(str(error).removesuffix("."), item.start, InvalidValueError)

    def _owners(self) -> list[str]:
        return [self.peer, "torch"] if self.peer in ON_TORCH else [self.peer]

    def _schedule(self, name: str, call: ast.Call, item: _Item) -> Mapping[str, Any] | Formula:
        args, named = self._arguments(call, item)
        if self.peer in ("torch", *ON_TORCH):
            named.pop("optimizer", None)
            args = args[1:] if args and _is_reference(args[0]) else args
        if name == "LambdaLR":
            node = args[0] if args else named.get("lr_lambda")
            if not isinstance(node, ast.Lambda):
                self.fail("LambdaLR needs its function here, such as LambdaLR(lambda t: 0.95 ** t)", item.start)
            return formula_of(node, Scope())
        keys = signature(self.peer, name)
        if len(args) > len(keys):
            most = f"at most {len(keys)} values" if keys else "only named values"
            self.fail(f"{name} of {self.peer} takes {most} without their names; got {len(args)}", item.at(call))
        given = dict(zip(keys, args, strict=False))
        for key in given.keys() & named.keys():
            self.fail(f"{key} of {name} is given twice", item.at(named[key]))
        params = {key: self.value(value, item) for key, value in {**given, **named}.items()}
        return {"name": name, "params": params}

    def _optimizer(self, name: str, owner: str, call: ast.Call, item: _Item) -> dict[str, Any]:
        args, named = self._arguments(call, item)
        if owner in ("torch", "timm", "composer"):
            named.pop("params", None)
            args = args[1:] if args and _is_reference(args[0]) else args
        if len(args) > 1:
            self.fail(f"name the values of {name}, such as weight_decay=0.1", item.at(args[1]))
        key = lr_name(owner, name)
        params = {keyword: self.value(value, item) for keyword, value in named.items()}
        return {**({key: self.value(args[0], item)} if args else {}), **params}

    def _arguments(self, call: ast.Call, item: _Item) -> tuple[list[ast.expr], dict[str, ast.expr]]:
        starred = [arg for arg in call.args if isinstance(arg, ast.Starred)]
        starred += [keyword.value for keyword in call.keywords if keyword.arg is None]  # type: ignore[misc]
        if starred:
            self.fail("write the values out; * and ** have nothing to unpack here", item.at(starred[0]))
        named: dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg in named:
                self.fail(f"{keyword.arg} of {callee(call)} is given twice", item.at(keyword))
            named[str(keyword.arg)] = keyword.value
        return list(call.args), named

    def value(self, node: ast.expr, item: _Item) -> Any:
        """Return a parameter's value: a literal, a schedule {"name", "params"} of the same peer, or a list of them."""
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(part, item) for part in node.elts]
        if isinstance(node, ast.Call) and callee(node) in PEERS[self.peer]:
            inner = self._schedule(callee(node), node, item)
            if isinstance(inner, Formula):
                self.fail("a function inside another schedule has no recipe; write it as one function", item.at(node))
            return inner
        if isinstance(node, ast.Call) and callee(node) not in (*FUNCTIONS, "dict"):
            hint = suggestion(callee(node), PEERS[self.peer])
            said = f"{callee(node)!r} is no schedule of {self.peer}; {hint}"
            self.fail(said, item.at(node), UnknownNameError)
        try:
            return self.scope.value(node)
        except DwindleError as error:
            self.fail(str(error).removesuffix("."), item.at(node), type(error))

    def pair(self) -> Pair:
        """Return what was read; a schedule that multiplies an lr needs one."""
        multiplies = self.peer not in ABSOLUTE and self.name not in _SET_THEIR_OWN_LR
        if self.schedule is not None and self.optimizer is None and self.lr is None and multiplies:
            self.fail(
                f"{self.name} of {self.peer} multiplies the optimiser's learning rate; add lr=3e-4", len(self.text)
            )
        if not multiplies_lr(self.peer, self.name) and self.optimizer is None and self.lr is not None:
            said = f"{self.name or 'a schedule'} of {self.peer} holds the learning rates itself; leave lr= out"
            self.fail(said, len(self.text), InvalidValueError)
        if self.schedule is None and self.optimizer is None:
            self.fail(f"a schedule or an optimiser of {self.peer} was expected beside lr", len(self.text))
        return Pair(self.peer, self.schedule, self.optimizer, self.owner, self.lr)


def _is_reference(node: ast.expr) -> bool:
    """Return whether ``node`` stands for an optimiser or parameters: ``optimizer``, ``model.parameters()``."""
    return isinstance(node, ast.Name | ast.Attribute) or (
        isinstance(node, ast.Call) and callee(node) in ("parameters", "named_parameters")
    )
