"""SGD and AdamW that take a Plan: clipping, decay, update, averaging, norms and zeroing in one or two passes over memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

import torch
from torch.optim import optimizer as machinery

from dwindle.decay import L2
from dwindle.errors import InvalidValueError, flag, known_keys, real, shown
from dwindle.plan import Plan
from dwindle.schedule import FeedbackRule
from dwindle.torch.attach import attach
from dwindle.torch.beside import Beside
from dwindle.torch.compensation import AVERAGE
from dwindle.torch.controller import Controller
from dwindle.torch.copies import carry_no_more
from dwindle.torch.decays import refuse_sparse
from dwindle.units import Horizon

__all__ = ["SGD", "AdamW"]


class Options(TypedDict, total=False):
    """What both optimisers hand on to `attach`, where each is explained."""

    model: torch.nn.Module | None
    feedback: FeedbackRule[Any] | None
    on_change: str
    compensated: bool | None
    step: int | None


class _Planned(torch.optim.Optimizer):
    """What both optimisers do beside their rule; ``_rule`` is torch's own class, whose states and arithmetic they have."""

    _rule: type[torch.optim.Optimizer]
    control: Controller
    _said_decay: Sequence[bool] = ()  # of each group that the user gave, whether it has a weight_decay of its own

    def _build(self, params: Any, **settings: Any) -> None:
        """Make it as torch does, whose refusals become ours."""
        try:
            self._rule.__init__(self, params, **settings)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(
                f"{type(self).__name__} cannot be made: {error}. Give it model.named_parameters(), and settings of torch's."
            ) from error

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch does; the plan's rates and decay fall on it from the next step on."""
        said = isinstance(param_group, dict) and "weight_decay" in param_group  # before torch fills it in
        super().add_param_group(param_group)
        self._said_decay = [*self._said_decay, said]

    def _begin(self, given: dict[str, Any], plan: Any, horizon: Any, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            if name in options:
                raise InvalidValueError(
                    f"{type(self).__name__} takes {name} from its plan: Plan(lr, schedule, decoupled(weight_decay))."
                )
        known_keys("option", options, [*Options.__annotations__])
        clip, ema = given["clip"], given["ema"]
        self._beside = Beside(
            None if clip is None else real("clip", clip, above=0.0),
            None if ema is None else real("ema", ema, low=0.0, high=1.0),
            flag("zero", given["zero"]),
            flag("norms", given["norms"]),
        )
        self._grad_norm: Any = None
        self._weight_norm: Any = None
        self.control = attach(self, plan, horizon, **options)
        carry_no_more(self)  # a copy of this class has a plan of its own
        self._made = {**given, **options, "plan": plan, "horizon": horizon}
        self._tensors = _one_pass(self)
        self.register_load_state_dict_post_hook(lambda _: self._forget())

    def _forget(self) -> None:
        if self._tensors is not None:
            self._tensors.forget()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copies and pickles are built anew, with the same plan, and go on from the same state."""
        saved, control = self.state_dict(), self.control
        if control.detached:  # the twin is made, detached too, and then told the options with the state
            groups, made = self.param_groups, {**self._made, "step": control.step}
            plain = [{"params": group["params"]} for group in groups]
        else:
            groups, made = control.groups.as_saved(self.param_groups), self._made
            plain = [{k: v for k, v in g.items() if k not in ("param_names", "dwindle")} for g in groups]
            for bare, said in zip(plain, self._said_decay, strict=False):
                if not said:
                    bare.pop("weight_decay")
        for group, bare in zip(groups, plain, strict=True):
            if "param_names" in group:
                bare["params"] = list(zip(group["param_names"], group["params"], strict=True))
        return _rebuilt, (type(self), plain, made, saved, control.detached)

    @property
    def grad_norm(self) -> float | None:
        """√Σg² over all gradients of the last step, before clipping; None without ``clip`` and without ``norms``."""
        return None if self._grad_norm is None else float(self._grad_norm)

    @property
    def weight_norm(self) -> float | None:
        """√Σw² over all weights that the last step changed, after it; None without ``norms``."""
        return None if self._weight_norm is None else float(self._weight_norm)

    def averages(self) -> dict[str, torch.Tensor]:
        """Return the exponential average of every parameter that has been updated, by its name; raise without ``ema``."""
        if self._beside.keep is None:
            raise InvalidValueError(
                f"this {type(self).__name__} averages nothing; make it with ema=0.999, for instance."
            )
        return {self.control.groups.names[id(p)]: mean for p, mean in self._means()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within ``with optimizer.averaged():`` the model has its averaged weights; afterwards its own again."""
        self.averages()  # raises without ema
        kept = [(p, p.detach().clone(), mean) for p, mean in self._means()]
        with torch.no_grad():
            for p, _, mean in kept:
                p.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, own, _ in kept:
                    p.copy_(own)

    def _means(self) -> list[tuple[Any, Any]]:
        params = [p for group in self.param_groups for p in group["params"]]
        return [(p, self.state[p][AVERAGE]["step"]) for p in params if AVERAGE in self.state.get(p, {})]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure``, if given, computes the loss and the gradients first, and the loss is returned."""
        if torch.compiler.is_compiling():
            return _outside(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.autograd.profiler._is_profiler_enabled:
            with torch.autograd.profiler.record_function(f"Optimizer.step#{type(self).__name__}.step"):
                self._step()
        else:
            self._step()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # torch would run every hook around it, ours too

    def _step(self) -> None:
        self._run(machinery._global_optimizer_pre_hooks, self._optimizer_step_pre_hooks)
        self._update()
        self._run(self._optimizer_step_post_hooks, machinery._global_optimizer_post_hooks)

    def _run(self, *hooks: Mapping[int, Any]) -> None:
        """Call the hooks that are not the controller's own, as torch does around a step."""
        own = self.control.steps.own
        for some in hooks:
            if not own.issuperset(some):
                for hook in [hook for number, hook in some.items() if number not in own]:
                    hook(self, (self,), {})

    def _update(self) -> None:
        tensors, control = self._tensors, self.control
        if control.detached:  # torch's own step, as the class it is
            if tensors is not None:
                tensors.release()
            _bare(self._rule)(self)
            return
        groups, decay = control.groups, control.plan.decay
        if tensors is not None and control.steps.go_on_alike() and tensors.stands(groups.lossy, decay):
            self._in_one_pass(tensors, decay)
            return
        counts = control.steps.enter()
        if tensors is not None and tensors.lay_out(groups.lossy, decay):
            if counts:
                self._in_one_pass(tensors, decay)
            else:
                tensors.begin()
        else:
            self._in_torch(counts)

    def _in_one_pass(self, tensors: Any, decay: Any) -> None:
        steps, beside = self.control.steps, self._beside
        doses = self.control.groups.doses(steps.step)
        gradients, weights = tensors.update(doses, decay is not None and decay.cautious)
        self._grad_norm = gradients**0.5 if beside.measured else None
        self._weight_norm = weights**0.5 if beside.norms else None
        if beside.keep is not None and tensors.without:
            self._average(tensors.without, beside.keep)
        steps.step += 1

    def _in_torch(self, counts: bool) -> None:
        """Do the same by torch's own operations, on any device."""
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        sparse = [p for p in params if p.grad.layout is not torch.strided]
        if sparse and self._rule is torch.optim.AdamW:
            self._refuse_sparse(sparse)
        if counts and self._beside.measured:
            gradients = [p.grad.coalesce()._values() if sparse and p.grad.is_sparse else p.grad for p in params]
            self._grad_norm = torch.nn.utils.get_total_norm(gradients)
            if self._beside.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(params, self._beside.clip, self._grad_norm)
        self.control.steps.before(self)
        _bare(self._rule)(self)
        self.control.steps.after(self)
        if counts:
            self._finish(params)

    def _refuse_sparse(self, sparse: list[Any]) -> None:
        """Refuse sparse gradients that torch's own step, which takes none, would get; nothing has changed then."""
        way = next(
            way
            for group, way in zip(self.param_groups, self.control.groups.ways, strict=True)
            if any(p is sparse[0] for p in group["params"])
        )
        if way != "none" and isinstance(self.control.plan.decay, L2):
            refuse_sparse(sparse[:1])
        raise InvalidValueError(
            f"the gradient of {self.control.groups.names[id(sparse[0])]!r} is sparse, which AdamW takes for float32 "
            "and float64 tables on a CPU only, with numba, without ema and l2, and beside no float16 or sharded "
            "parameter; use sparse=False."
        )

    @torch.no_grad()
    def _average(self, params: list[Any], keep: float) -> None:
        """Take the weights into their averages: one begins at a first update, and goes on without a gradient too."""
        for p in params:
            if AVERAGE in self.state.get(p, {}):
                mean = self.state[p][AVERAGE]["step"]
                mean.lerp_(p.detach().to(mean), 1.0 - keep)
            elif p.grad is not None:
                short = p.dtype in (torch.bfloat16, torch.float16)
                self.state[p][AVERAGE] = {"step": p.detach().float() if short else p.detach().clone()}

    @torch.no_grad()
    def _finish(self, params: list[Any]) -> None:
        if self._beside.keep is not None:
            self._average([p for group in self.param_groups for p in group["params"]], self._beside.keep)
        if self._beside.norms:
            self._weight_norm = torch.nn.utils.get_total_norm([p.detach() for p in params])
        if self._beside.zero:
            for p in params:
                p.grad.zero_()


_disable: Callable[[Any], Any] = torch.compiler.disable
_outside = _disable(lambda optimizer, closure: optimizer.step(closure))


def _bare(rule: type[torch.optim.Optimizer]) -> Any:
    """Return torch's own step, without the hooks that torch puts around it once the class is used."""
    step: Any = rule.step
    while getattr(step, "hooked", False):
        step = step.__wrapped__
    return step


def _one_pass(optimizer: Any) -> Any:
    try:
        from dwindle.torch.onepass import OnePass
    except ImportError:
        warnings.warn(
            "numba is not installed, so the steps are torch's own passes; pip install 'dwindle[torch]'.", stacklevel=5
        )
        return None
    return OnePass(optimizer, optimizer._beside, adam=optimizer._rule is torch.optim.AdamW)


def _rebuilt(kind: Any, groups: Any, made: dict[str, Any], saved: dict[str, Any], detached: bool) -> Any:
    twin = kind(groups, **made)
    if detached:
        twin.control.detach()
    twin.load_state_dict(saved)
    return twin


def _peak(name: str, plan: Any) -> float:
    if isinstance(plan, FeedbackRule) and plan.peak == 1.0:
        raise InvalidValueError(
            f"this rule's peak is 1, so alone it means a learning rate of 1; say the rate: {name}(params, Plan(0.001), "
            "horizon, feedback=rule)."
        )
    return plan.peak if isinstance(plan, Plan | FeedbackRule) else 1e-3  # what is neither, attach refuses


class SGD(_Planned, torch.optim.SGD):
    """SGD under a plan, v ← μ·v + (1 - τ)·g, w ← w - lr·v, in one pass: a ``torch.optim.SGD`` with everything beside it.

    ``params``, ``momentum`` μ, ``dampening`` τ, ``nesterov`` and ``maximize`` are torch's, and so are the states: a state_dict
    goes to ``torch.optim.SGD`` and comes back. ``plan``, ``horizon`` and the options from ``model`` on are `attach`'s;
    ``control`` is the Controller. Beside the step, in the same passes:
    ``clip``: all gradients times min(1, clip/(√Σg² + 1e-6)), as ``clip_grad_norm_`` does before.
    ``ema``: averages a ← ema·a + (1 - ema)·w, beginning at the weights after a parameter's first update, and going on at
    every step, with a gradient or without; see `averaged`, `averages`.
    ``norms``: `grad_norm` and `weight_norm` are measured.
    ``zero``: the gradients are zero after the step; ``zero_grad`` need not be called then.

    On a CPU the passes are compiled (numba), some seconds at first and from a cache later; elsewhere, and for float16 and
    sharded tensors, they are torch's own operations with the same result. A table with sparse gradients decays lazily (see
    `dwindle.torch.rows`), without momentum, ``ema`` and Adam's l2, which are done densely or refused. Where the plan's
    decay would be lost to rounding (see `attach`) the weights are w + e and lose none of the update either.

    Raises InvalidValueError as `attach` does, and for a ``clip`` or ``ema`` out of range.

    >>> from dwindle.decay import L2
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = SGD(model.named_parameters(), Plan(0.1, decay=L2(0.01)), 100, momentum=0.9, clip=1.0)
    >>> model(torch.ones(1, 3)).sum().backward(); opt.step(); opt.zero_grad()
    >>> opt.control.step, round(opt.grad_norm, 4)
    (1, 2.8284)
    """

    _rule = torch.optim.SGD

    def __init__(
        self,
        params: Any,
        plan: Plan | FeedbackRule[Any],
        horizon: Horizon | int,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        clip: float | None = None,
        ema: float | None = None,
        norms: bool = False,
        zero: bool = False,
        **options: Unpack[Options],
    ) -> None:
        numbers = {"momentum": real("momentum", momentum, low=0.0), "dampening": real("dampening", dampening)}
        self._build(
            params,
            lr=_peak(type(self).__name__, plan),
            **numbers,
            nesterov=flag("nesterov", nesterov),
            maximize=flag("maximize", maximize),
        )
        given = {
            "momentum": momentum, "dampening": dampening, "nesterov": nesterov, "maximize": maximize,
            "clip": clip, "ema": ema, "norms": norms, "zero": zero,
        }  # fmt: skip
        self._begin(given, plan, horizon, {**options})


class AdamW(_Planned, torch.optim.AdamW):
    """AdamW under a plan in one pass: a ``torch.optim.AdamW`` with everything beside it, and with any decay.

    m ← β₁m + (1 - β₁)g, v ← β₂v + (1 - β₂)g², w ← w - x·w - lr/(1 - β₁ᵗ)·m/(√(v/(1 - β₂ᵗ)) + ε), where x is the share
    that the plan's decay takes; under l2, which is Adam's, g has c·w added instead. (Loshchilov & Hutter 2019, Algorithm 2.)
    ``params``, ``betas``, ``eps`` and ``maximize`` are torch's; everything else is as in `SGD`.

    >>> from dwindle.decay import Decoupled
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = AdamW(model.named_parameters(), Plan(0.1, decay=Decoupled(0.01)), 100, clip=1.0, ema=0.999)
    >>> model(torch.ones(1, 3)).sum().backward(); opt.step(); opt.zero_grad()
    >>> with opt.averaged():
    ...     _ = model(torch.ones(1, 3))
    """

    _rule = torch.optim.AdamW

    def __init__(
        self,
        params: Any,
        plan: Plan | FeedbackRule[Any],
        horizon: Horizon | int,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        clip: float | None = None,
        ema: float | None = None,
        norms: bool = False,
        zero: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise InvalidValueError(f"betas must be two numbers, such as (0.9, 0.999); got {shown(betas)}.")
        for name, beta in zip(("beta1", "beta2"), betas, strict=True):
            real(name, beta, low=0.0, below=1.0)
        self._build(
            params,
            lr=_peak(type(self).__name__, plan),
            betas=betas,
            eps=real("eps", eps, low=0.0),
            weight_decay=0.0,
            maximize=flag("maximize", maximize),
        )
        given = {
            "betas": betas, "eps": eps, "maximize": maximize, "clip": clip, "ema": ema, "norms": norms, "zero": zero,
        }  # fmt: skip
        self._begin(given, plan, horizon, {**options})
