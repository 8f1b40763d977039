"""Masks, groups and layers: which parameter falls where, and which rule said so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.mask import Mask, Param, Rule, report
from dwindle.plan import Group
from dwindle.text import parse_mask

NETWORK = [
    Param("embed.weight", (100, 8), "Embedding", 1),
    Param("blocks.0.norm.weight", (8,), "LayerNorm", 2),
    Param("blocks.0.conv.weight", (4, 8, 3, 3), "Conv2d", 3),
    Param("blocks.0.conv.bias", (4,), "Conv2d", 4),
    Param("blocks.1.norm.weight", (4, 4), "GroupNorm", 5),
    Param("blocks.1.attn.bias", (4, 4), "Attention", 6),
    Param("head.weight", (100, 8), "Linear", 1),
    Param("scale", (), "", 7),
]


def decays(mask: Mask) -> dict[str, bool]:
    return {d.name: d.decays for d in mask.decide(NETWORK)}


def test_matrices_and_filters_decay_and_nothing_else() -> None:
    assert [name for name, yes in decays(Mask()).items() if yes] == [
        "embed.weight",
        "blocks.0.conv.weight",
        "head.weight",
    ]


def test_a_norm_or_bias_of_two_dimensions_still_does_not_decay_and_the_rule_is_named() -> None:
    rules = {d.name: d.rule for d in Mask().decide(NETWORK)}
    assert rules["blocks.1.norm.weight"].startswith("kind")
    assert rules["blocks.1.attn.bias"].startswith("regex")
    assert rules["scale"] == "no rule matched"


def test_bias_is_a_whole_word() -> None:
    params = [
        Param("bias_table", (5, 5)),
        Param("unbiased_proj.weight", (5, 5)),
        Param("bias", (5, 5)),
        Param("a/bias", (5, 5)),
    ]
    assert [d.decays for d in Mask().decide(params)] == [True, True, False, False]


def test_own_rules_come_first_and_embeddings_are_a_choice() -> None:
    mask = Mask.of(Rule("kind", "embedding*", False), Rule("name", "blocks.0.norm.*", True))
    found = decays(mask)
    assert not found["embed.weight"]
    assert found["blocks.0.norm.weight"]


def test_a_tied_tensor_is_decided_once_under_its_first_name() -> None:
    mask = Mask.of(Rule("name", "head.*", False))
    head = next(d for d in mask.decide(NETWORK) if d.name == "head.weight")
    assert head.tied_to == "embed.weight"
    assert head.decays
    assert "tied to embed.weight" in report([head])


def test_everything_decays_if_said() -> None:
    assert all(decays(Mask.everything()).values())
    assert not any(decays(Mask(())).values())


@pytest.mark.parametrize("rule", [Rule("name", "heads.*", False), Rule("regex", "^layers", True)])
def test_a_rule_that_matches_nothing_is_refused(rule: Rule) -> None:
    with pytest.raises(dw.DwindleError, match="matches no parameter"):
        Mask.of(rule).decide(NETWORK)


def test_groups_and_layer_decay_scale_the_learning_rate() -> None:
    plan = dw.Plan(0.1, groups=(dw.Group("head", "head.*", 10.0),), layer_decay=0.5)
    own_head = [p._replace(key=8) if p.name == "head.weight" else p for p in NETWORK]
    scales = {a.name: (a.group, a.lr_scale) for a in plan.assign(own_head)}
    assert scales["embed.weight"] == (None, 0.5**3)
    assert scales["blocks.0.conv.weight"] == (None, 0.5**2)
    assert scales["blocks.1.norm.weight"] == (None, 0.5)
    assert scales["head.weight"] == ("head", 10.0)
    assert plan.lrs(3, "head").tolist() == [1.0, 1.0, 1.0]


def test_a_group_that_matches_nothing_is_refused() -> None:
    with pytest.raises(dw.DwindleError, match="matches no parameter"):
        dw.Plan(0.1, groups=(dw.Group("head", "heads.*"),)).assign(NETWORK)


def test_rates_of_a_group_and_of_what_does_not_decay() -> None:
    plan = dw.Plan(0.1, decay=dw.decoupled(0.5), groups=(dw.Group("head", "head.*", 2.0),)).resolve(5)
    assert plan.rates(0, "head") == pytest.approx((0.2, 0.9, 0.0))
    assert plan.rates(0, "head", decays=False) == pytest.approx((0.2, 1.0, 0.0))
    assert plan.rates(0, lr_scale=0.5) == pytest.approx((0.05, 0.975, 0.0))


def test_the_difference_of_plans_names_the_fields() -> None:
    a = dw.Plan(0.1, dw.cosine(), dw.decoupled(0.1))
    b = dw.Plan(0.1, dw.linear(), dw.decoupled(0.2))
    assert set(dw.difference(a, b)) == {"schedule", "decay"}
    assert dw.difference(a, a) == {}


def test_two_halves_of_a_character_side_by_side_are_refused_as_no_text_keeps_them_apart() -> None:
    halves = "\ud800\udccb"
    makes: list[Callable[[str], object]] = [
        lambda t: Rule("name", t, True), lambda t: Group(t, "*"), lambda t: Group("a", t)
    ]  # fmt: skip
    for make in makes:
        with pytest.raises(InvalidValueError, match="the two halves of one character"):
            make(halves)
    for kept in ("\U000100cb", "\udccb\ud800", "caf\udce9"):
        assert parse_mask(str(Mask.of(Rule("name", kept, True)))) == Mask.of(Rule("name", kept, True))
