"""The one door for reading: a schedule by its name and parameters, or a whole recipe as text of whatever form."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dwindle.foreign.schedules.peers as peers
from dwindle.errors import InvalidValueError, ParseError, shown
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.optimizers.training_arguments import CLASSES, READ, from_training_json, training_settings
from dwindle.foreign.source.arguments import check_arguments
from dwindle.foreign.source.by_hand import with_alpha, with_textbook_decay
from dwindle.foreign.source.estimator import with_later_settings
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.own import with_comment
from dwindle.foreign.source.program import parsed, read_tree
from dwindle.foreign.source.spec import is_spec, pair_of_spec, read_spec
from dwindle.foreign.source.unread import USUAL_NAMES, last_name
from dwindle.foreign.source.whose import home_of, peer_of
from dwindle.plan import Plan
from dwindle.schedule.feedback import FeedbackRule
from dwindle.units import Horizon, as_horizon

__all__ = ["peer_of_text", "read"]

_MLP = ("MLPClassifier", "MLPRegressor")
_NO_RECIPE = "this is no peer:recipe, no JSON and no Python source"


def read(
    peer: str,
    name: str | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    base_lr: float | None = None,
    run: Horizon | int | None = None,
) -> Plan | FeedbackRule[Any]:
    """Return the plan of a peer's recipe, or the rule of a scheduler that answers a metric.

    Either ``read(peer, name, params, base_lr=...)``, a schedule of that peer with its own parameters: lr(t) of the plan is
    the rate the peer has in effect for optimiser step t (timm: for index t of its scheduler). Parameters left out take the
    peer's defaults. ``base_lr`` is the lr of the optimiser's parameter group, which torch, timm, hf, composer and the
    textbook multiply; a scheduler with a floor of its own is read once per group. Schedules of optax, Keras and
    scikit-learn have no such lr; optax's and Keras' rules that answer a metric have one, and fit any without it. The
    plan's peak is the highest rate of the recipe where that can be told, so that its factor is 1 there: of a function of the
    step it is looked for among the first 2^20, and a rate that grows without end keeps the number it multiplies.

    Or ``read(text)``, with a whole recipe: a spec in one line, ``torch:AdamW(lr=1e-3) StepLR(30)``; the JSON of Hugging
    Face's TrainingArguments; or Python source, which is parsed and never run: read(write(plan, peer)) has the rates of
    ``plan``. ``run`` tells the steps and the examples where the text alone does not (TrainingArguments by epochs,
    scikit-learn's invscaling).

    Raises UnknownNameError for a peer, name or parameter that is not known, ParseError for text that is no recipe,
    InvalidValueError for a value the peer's parameter cannot take, UnresolvedTimeError where the run is needed,
    NoExactMapError for a recipe that no plan equals.

    >>> str(read("torch", "CosineAnnealingLR", {"T_max": 100, "eta_min": 1e-5}, base_lr=1e-3))
    'peak 1e-3 | (cosine to 1% over 100st) mirror every 100st'
    >>> str(read("optax: exponential_decay(0.1, 10, 0.5)"))
    'peak 0.1 | exponential by 0.5 every 10st'
    """
    run = None if run is None else as_horizon(run)
    if name is not None:
        return peers.read(peer, name, params, base_lr=base_lr)
    if params is not None or base_lr is not None:
        raise InvalidValueError("params and base_lr belong to read(peer, name, ...); a text holds its own lr.")
    try:
        return _read_text(peer, run)
    except RecursionError as error:
        raise ParseError("this source names a value by itself, or is nested too deep to be read.") from error


def peer_of_text(text: str) -> str:
    """Return the peer that a recipe's text is of: of source, the one its imports tell.

    >>> peer_of_text("keras: CosineDecay(0.1, 100)"), peer_of_text("import optax")
    ('keras', 'optax')
    """
    if text.lstrip().startswith("{"):
        return "hf"
    return pair_of_spec(text).peer if is_spec(text) else peer_of(parsed(text, _NO_RECIPE))


def _read_text(text: Any, run: Horizon | None) -> Plan | FeedbackRule[Any]:
    if not isinstance(text, str) or not text.strip():
        raise ParseError(f"a recipe is text such as 'torch:StepLR(30) lr=0.1', JSON or source; got {shown(text)}.")
    if text.strip() in peers.PEERS:
        raise InvalidValueError(f"{text.strip()} is a peer; give its schedule too, as in 'torch:StepLR(30) lr=0.1'.")
    if text.lstrip().startswith("{"):
        return from_training_json(text, run)
    if is_spec(text):
        return read_spec(text)
    if text.lstrip().startswith("peak "):
        raise InvalidValueError("this is a plan already, in dwindle's own words; read it with dwindle.parse(text).")
    return _read_program(text, run)


def _read_program(text: str, run: Horizon | None) -> Plan | FeedbackRule[Any]:
    """Return the plan of Python source; what its own words leave open is filled in from the run."""
    tree = parsed(text, _NO_RECIPE)
    if not any(isinstance(node, ast.Call | ast.FunctionDef) for node in ast.walk(tree)):
        raise ParseError(f"{shown(text)} is no recipe; write for instance 'torch:StepLR(30) lr=0.1', or give source.")
    scope, peer = Scope.of(tree), peer_of(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and callee(node) in (*_MLP, *CLASSES)]
    if len(calls) != 1:
        ours = parsed(text, _NO_RECIPE)  # reading changes a tree, and the comment is compared with this one
        found = read_tree(with_later_settings(ours) if peer == "sklearn" else ours, text, peer, run)
        plan = with_comment(found, text, tree, peer) if isinstance(found, Plan) and peer != "textbook" else found
        if isinstance(plan, Plan) and (peer == "textbook" or (peer == "torch" and _moves_by_hand(ours, scope))):
            return with_textbook_decay(plan, tree, scope)
        if peer == "sklearn" and isinstance(plan, Plan):
            return with_alpha(plan, with_later_settings(tree), scope)
        return plan
    if callee(calls[0]) in CLASSES:
        check_arguments(tree, calls[0], READ)
        _complete_arguments(calls[0], scope, run)
        return read_tree(tree, text, "hf")
    examples = scope.values.get("n") if run is None or run.examples is None else ast.Constant(run.examples)
    given = {keyword.arg for keyword in calls[0].keywords}
    is_model = examples is not None and calls[0] in ast.walk(examples)  # n is no number of examples, but what is built
    if examples is not None and not is_model and "n" not in given:
        calls[0].keywords.append(ast.keyword("n", examples))
    tree = with_later_settings(tree) if peer == "sklearn" else tree
    factor = scope.functions.get("factor")
    tree.body = [node for node in tree.body if node is not factor]
    plan = read_tree(tree, text, peer)
    if not isinstance(plan, Plan):
        return plan
    return with_alpha(replace(plan, schedule=formula_of(factor, scope)) if factor else plan, tree, scope)


def _moves_by_hand(tree: ast.AST, scope: Scope) -> bool:
    """Return whether source for torch moves its weights by gradients itself, with no optimiser that it builds or is given."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(callee(node) in OPTIMIZERS["torch"] or home_of(node, "torch", scope) is not None for node in calls):
        return False
    owners = {
        last_name(node.func.value)
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr == "step"
    }
    takes = any(isinstance(node, ast.Attribute) and node.attr == "grad" for node in ast.walk(tree))
    return (takes or any(callee(node) == "grad" for node in calls)) and owners.isdisjoint(USUAL_NAMES)


def _complete_arguments(call: ast.Call, scope: Scope, run: Horizon | None) -> None:
    """Leave of a call of TrainingArguments what a plan reads, with the steps of the run."""
    named = {} if (whole := scope.call(call)) is None else whole.named
    given = {key: scope.value(value) for key, value in named.items() if key in READ}
    call.func, call.args = ast.Name("TrainingArguments", ast.Load()), []
    settings = training_settings(given, run)
    call.keywords = [ast.keyword(key, ast.parse(repr(value), mode="eval").body) for key, value in settings.items()]
