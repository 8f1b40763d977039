"""attach among what users do beside it: casts, copies, groups and hooks of their own, failed steps, foreign checkpoints."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn

import dwindle as dw
from dwindle.errors import InvalidValueError, ResumeError
from dwindle.torch import attach

PLAN = dw.Plan(0.1, dw.linear(), dw.decoupled(0.1))
SHARE = dw.Plan(1e-2, decay=dw.decoupled(0.1))  # takes 1e-3 of each weight, which bfloat16 alone would lose


def net(kind=nn.Linear):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), kind(8, 2))


def still(model, optimizer, steps):
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()


def matrix(value=1.0, **kind):
    return nn.Parameter(torch.full((3, 3), value, **kind))


class Fussy(torch.optim.Optimizer):
    """Notes the gradients it sees; fails, or zeroes them, when told to."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
        self.fails = self.zeroes = False
        self.seen = []

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            self.seen.append(float(p.grad.flatten()[0]))
            if self.fails:
                raise RuntimeError("boom")
            if self.zeroes:
                p.grad.zero_()


# Casts


@pytest.mark.parametrize("cast", ["bfloat16", "half"])
def test_a_model_cast_after_attach_keeps_its_decay(cast):
    model = net()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    controller = attach(optimizer, SHARE, 200, model=model)
    assert controller.compensated == {}
    nn.init.constant_(model[0].weight, 1.0)
    getattr(model, cast)()
    still(model, optimizer, 200)
    assert controller.compensated == {"0.weight": 128, "2.weight": 64}
    torch.testing.assert_close(model[0].weight[0, 0].item(), (1 - 1e-3) ** 200, rtol=2**-8, atol=0)


def test_a_cast_back_to_float32_goes_on_without_losing_the_velocity_of_the_decay():
    plan = dw.Plan(0.1, decay=dw.l2(0.1))
    paths = []
    for casts in (False, True):
        weight = matrix(2.0, dtype=torch.bfloat16 if casts else torch.float32)
        model = nn.ParameterList([weight])
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        controller = attach(optimizer, plan, 100)
        still(model, optimizer, 30)
        model.float()
        still(model, optimizer, 1)
        assert not controller.compensated
        assert not [name for name in optimizer.state[weight] if name.startswith("dwindle")]
        paths.append(float(optimizer.state[weight]["momentum_buffer"][0, 0]))
    assert paths[1] == pytest.approx(paths[0], rel=2**-7)
    assert paths[0] > 0.1


@pytest.mark.parametrize(
    ("decay", "kind", "options"),
    [
        (dw.decoupled(1e-4), torch.optim.SGD, {"lr": 1.0}),
        (dw.l2(1e-4), torch.optim.SGD, {"lr": 1.0, "momentum": 0.9}),
        (dw.l2(1e-4), torch.optim.RMSprop, {}),
    ],
    ids=str,
)
def test_complex_weights_are_compensated_as_the_two_numbers_they_are(decay, kind, options):
    weights = [matrix(1.0, dtype=dtype) for dtype in (torch.complex64, torch.complex128)]
    with torch.no_grad():
        for weight in weights:
            weight.mul_(1 + 2j)
    for weight in weights:
        optimizer = kind([weight], **options)
        controller = attach(optimizer, dw.Plan(1e-4, decay=decay), 10**5)
        for _ in range(1000):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        bytes_each = 16 if decay.convention == "l2" and kind is torch.optim.SGD else 8
        assert controller.compensated == ({"group0.0": 9 * bytes_each} if weight is weights[0] else {})
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
    own = 1e-5 if kind is torch.optim.RMSprop else 1e-7  # what its moments and updates lose in complex64 stays lost
    torch.testing.assert_close(weights[0].to(torch.complex128), weights[1], rtol=own, atol=0)


# Steps that fail, gradients that others write to


def test_a_gradient_zeroed_during_the_step_stays_zero():
    weight = matrix()
    optimizer = Fussy([weight])
    attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
    for zeroes in (False, True, True):
        optimizer.zeroes = zeroes
        (weight * 3).sum().backward()
        optimizer.step()
        optimizer.zero_grad() if not zeroes else None
    assert optimizer.seen == [3.5, 3.5, 3.5]
    assert not weight.grad.any()


def test_after_a_step_that_failed_the_next_gradient_counts():
    weight = matrix()
    optimizer = Fussy([weight])
    controller = attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
    (weight * 100).sum().backward()
    optimizer.fails = True
    with pytest.raises(RuntimeError, match="boom"):
        optimizer.step()
    optimizer.fails = False
    optimizer.step()  # the same gradient once more
    optimizer.fails = True
    with pytest.raises(RuntimeError, match="boom"):
        optimizer.step()
    optimizer.fails = False
    optimizer.zero_grad(set_to_none=False)
    (weight * 7).sum().backward()
    optimizer.step()
    assert optimizer.seen == [100.5, 100.5, 100.5, 7.5]
    assert (controller.step, float(weight.grad[0, 0])) == (2, 7.0)


def test_a_pre_hook_that_would_see_the_decay_is_named():
    weight = matrix()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
    optimizer.register_step_pre_hook(lambda *_: None)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()  # SGD's own l2 comes after every hook
    optimizer = Fussy([weight])
    attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
    optimizer.register_step_pre_hook(lambda *_: None)
    with pytest.warns(UserWarning, match="Register it first, then attach"):
        optimizer.step()


def test_a_sparse_gradient_under_the_optimisers_own_l2_is_refused_in_words():
    table = nn.Embedding(5, 2, sparse=True)
    for kind in (torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam):
        optimizer = kind(table.parameters())
        controller = attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
        table(torch.tensor([1])).sum().backward()
        with pytest.raises(InvalidValueError, match="l2 decay makes a sparse gradient dense"):
            optimizer.step()
        assert controller.step == 0
        controller.detach()


# Masks that look at what nobody told


def test_a_rule_for_module_kinds_wants_the_model():
    model, plan = net(), dw.Plan(0.1, decay=dw.decoupled(0.1), mask=dw.Mask.of(dw.Rule("kind", "Linear", False)))
    optimizer = torch.optim.AdamW(model.named_parameters())
    with pytest.raises(InvalidValueError, match=r'\'kind "Linear" does not\' asks for the kind .* model=model'):
        attach(optimizer, plan, 10)
    assert len(optimizer.param_groups) == 1
    with pytest.warns(UserWarning, match="lets none of the optimiser's 6 parameters decay"):
        attach(optimizer, plan, 10, model=model)
    mistyped = dw.Plan(0.1, decay=dw.decoupled(0.1), mask=dw.Mask.of(dw.Rule("kind", "Linaer", False)))
    with pytest.warns(UserWarning, match="matches no parameter; the kinds are LayerNorm, Linear"):
        attach(torch.optim.AdamW(model.parameters()), mistyped, 10, model=model)


def test_a_norm_in_the_shape_of_a_matrix_is_named_where_the_model_is_not_given():
    model = nn.ModuleDict({"fc": nn.Linear(3, 2), "norm": nn.LayerNorm((3, 2))})
    with pytest.warns(UserWarning, match=r"norm.weight has a norm's name and a matrix's shape"):
        attach(torch.optim.AdamW(model.named_parameters()), PLAN, 10)
    controller = attach(torch.optim.AdamW(model.named_parameters()), PLAN, 10, model=model)
    assert [a.name for a in controller.groups.assignments if a.decays] == ["fc.weight"]
    attach(torch.optim.AdamW(nn.ModuleDict({"normals_head": nn.Linear(3, 2)}).named_parameters()), PLAN, 10)  # no norm


@pytest.mark.parametrize("decay", [dw.decoupled(0.0), dw.l2(0.0), None])
@pytest.mark.parametrize("weight", [("norm.weight", (2, 2)), ("fc.bias", (2,))])
def test_of_a_decay_of_zero_nothing_is_warned(decay, weight):
    name, shape = weight
    attach(torch.optim.SGD([(name, nn.Parameter(torch.ones(shape)))], lr=0.1), dw.Plan(0.1, decay=decay), 10)


# Groups of the user's own


def two(**second):
    return [{"params": [("body", matrix())]}, {"params": [("head", matrix())], **second}]


def test_a_learning_rate_of_a_groups_own_is_refused_unless_the_plan_says_it_too():
    for second in ({"lr": 0.1}, {"lr_scale": 100.0}):
        with pytest.raises(InvalidValueError, match=r"group 1 .* learning rate of its own, 0.1 beside 0.001"):
            attach(torch.optim.AdamW(two(**second)), dw.Plan(0.1), 10)
        plan = dw.Plan(0.1, groups=(dw.Group("head", "head", 100.0),))
        optimizer = torch.optim.AdamW(two(**second))
        attach(optimizer, plan, 10)
        assert [g["lr"] for g in optimizer.param_groups] == [0.1, 10.0]
    attach(torch.optim.AdamW(two(lr=torch.tensor(1e-3))), dw.Plan(0.1), 10)


def test_a_group_added_later_with_a_rate_of_its_own_is_refused():
    optimizer = torch.optim.AdamW(two(), lr=0.01)
    attach(optimizer, dw.Plan(0.1, dw.linear()), 10)
    optimizer.add_param_group({"params": [("more", matrix())], "lr": optimizer.param_groups[0]["lr"]})
    optimizer.step()
    optimizer.add_param_group({"params": [("last", matrix())], "lr": 7.0})
    with pytest.raises(
        InvalidValueError, match=r"group 3 of the optimiser has a learning rate of its own, 7 beside 0.01"
    ):
        optimizer.step()


def test_a_group_told_not_to_decay_is_refused_if_the_plan_lets_it():
    with pytest.raises(InvalidValueError, match=r"group 1 .* has weight_decay=0 beside 0.01, .* lets its 'head' decay"):
        attach(torch.optim.AdamW(two(weight_decay=0.0)), PLAN, 10)
    spared = dw.Plan(0.1, decay=dw.decoupled(0.1), mask=dw.Mask.of(dw.Rule("name", "head", False)))
    attach(torch.optim.AdamW(two(weight_decay=0.0)), spared, 10)
    attach(torch.optim.AdamW(two(), weight_decay=0.0), PLAN, 10)


def test_a_weight_decay_and_a_tensor_rate_that_somebody_changes_are_named():
    optimizer = torch.optim.AdamW(two(), lr=torch.tensor(0.1))
    attach(optimizer, PLAN, 10)
    optimizer.step()
    optimizer.param_groups[0]["lr"].fill_(0.5)
    with pytest.warns(UserWarning, match=r"learning rate was changed from 0.1 to 0.5 by something else"):
        optimizer.step()
    optimizer.param_groups[0]["weight_decay"] = 5.0
    with pytest.warns(UserWarning, match=r"weight_decay was changed from 0.1 to 5 by something else, by hand"):
        optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_a_scheduler_made_before_attach_is_named():
    optimizer = torch.optim.SGD([matrix()], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="a torch LR scheduler was made for this optimiser"):
        attach(optimizer, dw.Plan(0.1), 10)


def test_adafactors_own_bound_on_the_rate_is_named_where_it_takes_hold():
    with pytest.warns(UserWarning, match=r"no rate above 1/√t .* from step 4 on \(0.5\)"):
        attach(torch.optim.Adafactor([matrix()]), dw.Plan(0.5), 10)
    attach(torch.optim.Adafactor([matrix()]), dw.Plan(0.5), 4)
    attach(torch.optim.Adafactor([matrix()]), dw.Plan(0.01), 10**4)


# Copies


def pickled(pair):
    buffer = io.BytesIO(pickle.dumps(pair))
    return pickle.load(buffer)


@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
def test_a_copy_goes_on_from_the_step_it_was_made_at(how):
    model = net()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.5, momentum=0.9)
    controller = attach(optimizer, PLAN, 10)
    still(model, optimizer, 3)
    with pytest.warns(UserWarning, match="follows no plan; attach the plan to the copy"):
        twin, other = how((model, optimizer))
    assert [len(g["params"]) for g in other.param_groups] == [6]
    assert other.param_groups[0]["lr"] == 0.5
    assert all(a is b for a, b in zip(other.param_groups[0]["params"], twin.parameters(), strict=True))
    copied = attach(other, PLAN, 10)
    assert copied.step == 3
    for which in ((model, optimizer), (twin, other)):
        still(*which, 4)
    assert (controller.step, copied.step) == (7, 7)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    controller.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(optimizer)


def test_a_controller_is_not_copied():
    controller = attach(torch.optim.SGD([matrix()], lr=0.1), dw.Plan(0.1), 10)
    for how in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(InvalidValueError, match=r"save state_dict\(\), or copy the optimiser"):
            how(controller)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_parameter_without_a_shape_is_refused_in_words(named):
    model = nn.Sequential(nn.LazyLinear(3))
    params = [*(model.named_parameters() if named else model.parameters())]
    for build in (
        lambda: attach(torch.optim.SGD(params), PLAN, 10),
        lambda: attach(torch.optim.SGD(params), PLAN, 10, model=model),
        lambda: dw.torch.AdamW(params, PLAN, 10),
        lambda: dw.torch.params(model),
    ):
        with pytest.raises(InvalidValueError, match=r"has no shape yet, .* run the model once on a batch first"):
            build()
    model(torch.ones(1, 2))
    attach(torch.optim.SGD(params), PLAN, 10)


# Tensors that a group holds


class Counting(torch.optim.Optimizer):
    """Counts its updates in a tensor of the group, as timm's Lamb does, and moves the weights by lr·count·g."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["step"] = group.get("step", torch.zeros(())).add_(1)
            for p in group["params"]:
                p.sub_(group["lr"] * group["step"] * p.grad)


PARTS = dw.Plan(0.1, dw.linear(), groups=(dw.Group("first", "a", 0.1),))


def in_parts(kind, late=False, plan=PARTS):
    """Return weights and their optimiser, whose one group the plan takes apart; with ``late`` another comes after attach."""
    weights = {name: matrix() for name in "abc"}
    first, last = [("a", weights["a"]), ("b", weights["b"])], [("c", weights["c"])]
    optimizer = kind(first if late else first + last, lr=torch.tensor(0.1))
    if plan is not None:
        attach(optimizer, plan, 10)
    if late:
        optimizer.add_param_group({"params": last})
    return weights, optimizer


def moved(weights, optimizer, steps):
    for _ in range(steps):
        for p in weights.values():
            p.grad = torch.ones_like(p)
        optimizer.step()
    return weights, optimizer


def attach_and_load(weights, optimizer):
    twin, other = in_parts(type(optimizer))
    other.load_state_dict(optimizer.state_dict())
    return twin, other


def load_and_attach(weights, optimizer):
    twin, other = in_parts(type(optimizer), plan=None)
    other.load_state_dict(optimizer.state_dict())
    attach(other, PARTS, 10)
    return twin, other


def attach_and_load_with_a_late_group(weights, optimizer):
    twin, other = in_parts(type(optimizer), late=True)
    other.load_state_dict(optimizer.state_dict())
    return twin, other


def load_into_itself(weights, optimizer):
    optimizer.load_state_dict(optimizer.state_dict())
    return weights, optimizer


def load_live_groups(weights, optimizer):  # as torch's distributed checkpoints do, an option standing in one part only
    twin, other = in_parts(type(optimizer))
    saved = optimizer.state_dict()
    (group,) = saved["param_groups"]
    shared = {k: v for k, v in group.items() if k not in ("params", "param_names", "dwindle")}
    first = {**shared, "params": [0], "param_names": ["a"], "dwindle": group["dwindle"]}
    other.load_state_dict({**saved, "param_groups": [first, {"params": [1, 2], "param_names": ["b", "c"]}]})
    return twin, other


def copy_and_attach(weights, optimizer):
    twin, other = copy.deepcopy((weights, optimizer))
    attach(other, PARTS, 10)
    return twin, other


RESUMED = [attach_and_load, load_and_attach, load_into_itself, load_live_groups, copy_and_attach,
           attach_and_load_with_a_late_group]  # fmt: skip


@pytest.mark.parametrize("resumed", RESUMED)
@pytest.mark.parametrize("kind", [torch.optim.SGD, Counting])
@pytest.mark.filterwarnings("ignore:a copy of an optimiser follows no plan")
def test_the_parts_of_a_group_share_no_tensor_however_a_run_is_resumed(kind, resumed):
    run = in_parts(kind, late=resumed is attach_and_load_with_a_late_group)
    moved(*run, 3)
    weights, other = resumed(*run)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(run[0][name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a rate that one part wrote for another is not somebody else's
        moved(weights, other, 3)
    held = [v.data_ptr() for group in other.param_groups for v in group.values() if torch.is_tensor(v)]
    assert len(held) == len(set(held)) >= len(other.param_groups)
    straight, _ = moved(*in_parts(kind), 6)
    assert all(torch.equal(weights[name], straight[name]) for name in straight)


# Runs that began without a plan


def trained(steps, kind=torch.optim.AdamW, **options):
    model = net()
    optimizer = kind(model.named_parameters(), **options)
    for i in range(steps):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1.0 + i)
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (torch.optim.AdamW, {}, "has done 4 steps"),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, "has momentum from earlier steps"),
    ],
)
def test_an_optimiser_that_has_gone_further_than_the_plan_is_named(kind, options, said):
    model, optimizer = trained(4, kind, **options)
    controller = attach(optimizer, PLAN, 10)
    with pytest.warns(UserWarning, match=rf"the optimiser {said}, and the plan is at step 0; to go on"):
        still(model, optimizer, 1)
    controller.detach()
    assert attach(optimizer, PLAN, 10, step=0).step == 0
    still(model, optimizer, 1)


def test_a_run_without_a_plan_goes_on_from_the_step_that_is_said():
    model, optimizer = trained(4)
    controller = attach(optimizer, PLAN, 10, step=4)
    still(model, optimizer, 1)
    assert (controller.step, controller.lr) == (5, 0.05)
    saved = optimizer.state_dict()
    model, optimizer = trained(0)
    optimizer.load_state_dict(saved)
    with pytest.raises(InvalidValueError, match="loaded from a run at step 5, and step=4 was given too"):
        attach(optimizer, PLAN, 10, step=4)
    assert attach(optimizer, PLAN, 10).step == 5
    with pytest.raises(InvalidValueError, match="step"):
        attach(trained(0)[1], PLAN, 10, step=-1)


def test_a_checkpoint_without_a_plan_loaded_after_attach_is_named_unless_the_step_is_told():
    foreign = trained(4)[1].state_dict()
    for tells in (False, "before", "after"):
        model, optimizer = trained(0)
        controller = attach(optimizer, PLAN, 10)
        state = {**controller.state_dict(), "step": 4}
        if tells == "before":
            controller.load_state_dict(state)
        optimizer.load_state_dict(foreign)
        if tells == "after":
            controller.load_state_dict(state)
        if tells:
            still(model, optimizer, 1)
        else:
            with pytest.warns(UserWarning, match="has done 4 steps, and the plan is at step 0"):
                still(model, optimizer, 1)
        assert controller.step == (5 if tells else 1)


def test_a_script_brought_up_to_the_extended_length_goes_on_as_extended():
    model, optimizer = trained(0)
    controller = attach(optimizer, PLAN, 10)
    still(model, optimizer, 4)
    controller.extend(30)
    saved, lr = controller.state_dict(), controller.lr
    for horizon in (10, 30):
        resumed = attach(trained(0)[1], PLAN, horizon)
        resumed.load_state_dict(saved)
        assert (resumed.step, resumed.lr, resumed.horizon.steps) == (4, lr, 30)
        again = attach(trained(0)[1], PLAN, horizon)
        again.load_state_dict(resumed.state_dict())
        assert (again.step, again.lr) == (4, lr)
    with pytest.raises(ResumeError, match="planned anew since, to end at step 30"):
        attach(trained(0)[1], PLAN, 20).load_state_dict(saved)
    fresh = attach(trained(0)[1], PLAN, 30, on_change="keep")
    fresh.load_state_dict(saved)
    assert fresh.lr == pytest.approx(0.1 * (1 - 4 / 30))
