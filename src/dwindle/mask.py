"""Which parameters decay, and which rule said so: matrices and filters do; biases, norms and other vectors do not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from dwindle.errors import (
    InvalidValueError,
    UnknownNameError,
    all_of,
    characters,
    count,
    flag,
    has_members,
    known,
    shown,
)

__all__ = ["SUBJECTS", "Decision", "Mask", "Param", "Rule", "has_norms_name", "report"]


SUBJECTS = ("name", "regex", "kind", "ndim")


class Param(NamedTuple):
    """What a rule may look at: the parameter's name, shape, the class name of its module, and its identity.

    Two names with the same ``key`` are one tensor under two names (tied weights).

    >>> params = [Param("fc.weight", (10, 4), "Linear"), Param("fc.bias", (10,), "Linear")]
    >>> [(decision.name, decision.decays) for decision in Mask().decide(params)]
    [('fc.weight', True), ('fc.bias', False)]
    """

    name: str
    shape: tuple[int, ...]
    kind: str = ""
    key: int | None = None


class Decision(NamedTuple):
    """Whether a parameter decays, the rule that decided, and the name that owns the tensor if it is tied to another."""

    name: str
    decays: bool
    rule: str
    tied_to: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """If ``subject`` of a parameter matches ``pattern``, it decays or not.

    Subjects: ``name`` (glob), ``regex`` (searched in the name), ``kind`` (glob on the module's class name, case ignored),
    ``ndim`` (at least that many dimensions).

    >>> Rule("name", "head.*", False).matches(Param("head.weight", (10, 5)))
    True
    """

    subject: str
    pattern: str
    decays: bool

    def __post_init__(self) -> None:
        known("subject", self.subject, SUBJECTS)
        if self.subject == "ndim" and isinstance(self.pattern, int):
            object.__setattr__(self, "pattern", str(self.pattern))
        if not isinstance(self.pattern, str):
            raise InvalidValueError(f"the pattern of a {self.subject} rule must be text; got {shown(self.pattern)}.")
        flag("decays", self.decays)
        if not self.pattern:
            raise InvalidValueError(f"the pattern of a {self.subject} rule must not be empty.")
        characters(f"the pattern of a {self.subject} rule", self.pattern)
        if self.subject == "ndim":
            count("ndim", int(self.pattern) if re.fullmatch("[0-9]{1,9}", self.pattern) else self.pattern, low=0)
        if self.subject == "regex":
            try:
                re.compile(self.pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise InvalidValueError(f"{shown(self.pattern)} is not a regular expression: {error}.") from error

    def matches(self, param: Param) -> bool:
        """Return whether this rule speaks about ``param``."""
        if self.subject == "name":
            return fnmatchcase(param.name, self.pattern)
        if self.subject == "regex":
            return re.search(self.pattern, param.name) is not None
        if self.subject == "kind":
            return fnmatchcase(param.kind.lower(), self.pattern.lower())
        return len(param.shape) >= int(self.pattern)

    def __str__(self) -> str:
        return f"{self.subject} {json.dumps(self.pattern)} {'decays' if self.decays else 'does not'}"


_STANDARD = (
    Rule("regex", r"(^|[./])bias$", False),
    Rule("kind", "*norm*", False),
    Rule("ndim", "2", True),
)
_NORM = re.compile("norm(?!al(?!i))", re.IGNORECASE)  # a norm or normalisation, but not a normal, as of a surface


@dataclass(frozen=True, slots=True)
class Mask:
    """A list of rules, the first that matches decides; a parameter that none matches does not decay.

    ``Mask()`` is the default: biases and the parameters of normalisation layers do not decay, other matrices and
    filters do. Rules of your own come first: ``Mask.of(Rule("kind", "Embedding*", False))``. A bias is what is named
    ``bias``: a table such as T5's relative_attention_bias.weight decays, as embeddings do, unless a rule of yours says no.

    >>> Mask().decide([Param("fc.weight", (10, 5), "Linear"), Param("fc.bias", (10,), "Linear")])
    (Decision(name='fc.weight', decays=True, rule='ndim "2" decays', tied_to=None),
     Decision(name='fc.bias', decays=False, rule='regex "(^|[./])bias$" does not', tied_to=None))
    """

    rules: tuple[Rule, ...] = _STANDARD

    def __post_init__(self) -> None:
        whole = has_members(self.rules)
        rules = tuple(self.rules) if whole else (self.rules,)
        for rule in rules:
            if not isinstance(rule, Rule) or not whole:
                raise InvalidValueError(
                    f"a mask is made of Rule(subject, pattern, decays) in a tuple; got {shown(rule)}."
                )
        object.__setattr__(self, "rules", rules)

    @classmethod
    def of(cls, *rules: Rule) -> Mask:
        """Return the mask that asks ``rules`` first and the default rules after them."""
        return cls((*rules, *_STANDARD))

    @classmethod
    def everything(cls) -> Mask:
        """Return the mask under which every parameter decays, as torch and Keras do unless told otherwise."""
        return cls((Rule("name", "*", True),))

    def __str__(self) -> str:
        """Return the rules in order; the default ones at the end as ``standard``, none as ``nothing``."""
        if not self.rules:
            return "nothing"
        own = len(self.rules) - len(_STANDARD)
        if self.rules[max(own, 0) :] != _STANDARD:
            return ", ".join(str(rule) for rule in self.rules)
        return ", ".join([*(str(rule) for rule in self.rules[:own]), "standard"])

    def decide(self, params: Iterable[Param]) -> tuple[Decision, ...]:
        """Return the decision for each parameter; a tensor under several names is decided once, under its first name.

        Raises UnknownNameError if a name or regex rule of the user's own matches nothing: it is probably mistyped.
        """
        owners: dict[int, Decision] = {}
        decisions: list[Decision] = []
        used: set[Rule] = set()
        for param in all_of("params", params, Param):
            rule = next((rule for rule in self.rules if rule.matches(param)), None)
            used.update(rule for rule in self.rules if rule.matches(param))
            decision = Decision(param.name, rule is not None and rule.decays, str(rule) if rule else "no rule matched")
            if param.key is not None:
                owner = owners.setdefault(param.key, decision)
                if owner is not decision:
                    decision = Decision(param.name, owner.decays, owner.rule, owner.name)
            decisions.append(decision)
        for rule in self.rules:
            if rule not in used and rule not in _STANDARD and rule.subject in ("name", "regex") and rule.pattern != "*":
                names = ", ".join(d.name for d in decisions[:4])
                raise UnknownNameError(f"mask rule '{rule}' matches no parameter; the names begin {names} ...")
        return tuple(decisions)


def has_norms_name(name: str, rule: str) -> bool:
    """Return whether a parameter was decided about by its dimensions though it is named as a norm's are.

    >>> has_norms_name("norm1.weight", 'ndim "2" decays'), has_norms_name("normals.weight", 'ndim "2" decays')
    (True, False)
    """
    return _NORM.search(name) is not None and rule == str(_STANDARD[-1])


def report(decisions: Iterable[Decision]) -> str:
    """Return one line per parameter: its name, whether it decays, and why.

    >>> print(report([Decision("fc.weight", True, "ndim 2 decays")]))
    fc.weight  decays  ndim 2 decays
    """
    rows = list(decisions)
    width = max((len(d.name) for d in rows), default=0)
    lines = []
    for d in rows:
        why = d.rule if d.tied_to is None else f"tied to {d.tied_to}: {d.rule}"
        lines.append(f"{d.name:<{width}}  {'decays' if d.decays else '-     '}  {why}")
    return "\n".join(lines)
