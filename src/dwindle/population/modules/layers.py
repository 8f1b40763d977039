"""What a module's calls become while it is traced for many members: layers of all of them at once, and their own dropout."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import dwindle.population.modules.batched as batched
from dwindle.errors import InvalidValueError
from dwindle.population.dropout import GAMMA, MIX, draw, threshold
from dwindle.population.modules.lines import line_here
from dwindle.population.modules.recurrent import recurrent

__all__ = ["Layers", "step_keys"]

Tensor = torch.Tensor
_DROPOUTS = (
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
)


class Layers(TorchFunctionMode):
    """While it is entered, calls of dense and recurrent layers, convolutions, pools, attention, dropout go to the forms here.

    ``key``: the member's key of this step, from which dropout draws; None in an evaluation, where nothing may be dropped.
    """

    def __init__(self, key: Tensor | None) -> None:
        super().__init__()
        self.key, self.drawn = key, 0
        self.forms: dict[Any, Callable[..., Any]] = {
            functional.linear: batched.linear,
            functional.scaled_dot_product_attention: self._attention,
            functional.dropout: self._dropout,
            torch.dropout: lambda input, p, train: self._dropout(input, p, train),
            functional.multi_head_attention_forward: self._heads,
        }
        self.forms |= {
            functional.adaptive_avg_pool2d: _mean_pool2d,
            functional.group_norm: _group_norm,
            functional.instance_norm: _instance_norm,
        }
        self.forms |= {
            torch.conv2d: batched.conv2d,
            functional.relu: batched.relu,
            torch.relu: batched.relu,
            Tensor.relu: batched.relu,
        }
        self.forms |= {name: self._inside(form) for name, form in recurrent(self._dropout).items()}
        self.forms |= {
            functional.one_hot: _one_hot,
            Tensor.tolist: _listed,
            Tensor.view: _view,
            Tensor.view_as: lambda input, other: input.reshape(other.shape),
        }
        if batched.FAST_POOL:
            self.forms |= {functional.max_pool2d: batched.max_pool2d, torch.max_pool2d: batched.max_pool2d}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS and kwargs.get("training", args[2] if len(args) > 2 else False):
            raise InvalidValueError(
                f"the module drops by {func.__name__}, whose draws cannot be those of a member alone. Use nn.Dropout."
            )
        form = self.forms.get(func)
        found = NotImplemented if form is None else form(*args, **kwargs)
        return func(*args, **kwargs) if found is NotImplemented else found

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training or p == 0.0:
            return input
        if self.key is None:
            raise InvalidValueError(
                f"the module drops when it is evaluated too{_in_line()}, so every loss would be that of another network. Drop in "
                "training only: functional.dropout(x, p, self.training), dropout_p=p if self.training else 0.0, or nn.Dropout "
                "made in __init__."
            )
        if p == 1.0:
            return input * 0.0
        places = torch.arange(self.drawn, self.drawn + input.numel(), device=input.device)
        self.drawn += input.numel()
        kept = _draw(self.key, places) >= _signed(threshold(p) ^ _SIGN)
        return input * (kept.to(input.dtype) / (1.0 - p)).reshape(input.shape)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        """softmax(q·kᵀ·scale + mask)·v in the open; torch's fused kernels have no rule for many members."""
        if enable_gqa:
            ratio = query.shape[-3] // key.shape[-3]
            key, value = (t.repeat_interleave(ratio, -3) for t in (key, value))
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, -torch.inf)
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
        weights = scores.softmax(-1)
        return (self._dropout(weights, dropout_p) if dropout_p else weights) @ value

    def _inside(self, form: Callable[..., Any]) -> Callable[..., Any]:
        """The same with this mode inside it as well."""

        def entered(*args: Any) -> Any:
            with self:
                return form(*args)

        return entered

    def _heads(self, *args: Any, **kwargs: Any) -> Any:
        """Do as torch's own function, with this mode inside it as well, which it would leave at the door."""
        own = functional.multi_head_attention_forward
        inside = {"has_torch_function": lambda _: False, "_in_projection_packed": _projected}
        opened = FunctionType(own.__code__, {**own.__globals__, **inside}, own.__name__, own.__defaults__)
        opened.__kwdefaults__ = own.__kwdefaults__
        with self:
            return opened(*args, **kwargs)


def _in_line() -> str:
    where = line_here()
    return where and f", in {where}"


def _projected(q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None) -> list[Tensor]:
    """Three products for one: the weights are small to take apart, and the activations are not."""
    biases = (None, None, None) if b is None else b.chunk(3)
    return [functional.linear(*given) for given in zip((q, k, v), w.chunk(3), biases, strict=True)]


# The draws of dropout.py in the numbers torch has: the same 64 bits, read as signed.

_SIGN = 1 << 63


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >= _SIGN else bits


def _draw(key: Tensor, places: Tensor) -> Tensor:
    """Return the 64 bits at ``places`` of the stream with ``key``, in the order of unsigned numbers."""

    def shifted(z: Tensor, by: int) -> Tensor:
        return (z >> by) & ((1 << (64 - by)) - 1)

    z = key + (places + 1) * _signed(GAMMA)
    z = (z ^ shifted(z, 30)) * _signed(MIX[0])
    z = (z ^ shifted(z, 27)) * _signed(MIX[1])
    return (z ^ shifted(z, 31)) ^ _signed(_SIGN)


def step_keys(keys: list[int], steps: int) -> NDArray[np.int64]:
    """Return the key of every step, (steps, members), of the members' ``keys``; signed, as torch holds them."""
    return draw(np.array(keys, np.uint64)[None], np.arange(steps)[:, None]).view(np.int64)


# torch's own forms of these ask for the layout of one of many members, or change it in place: there is no rule for that.


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    groups = input.reshape(input.shape[0], num_groups, -1)
    normal = functional.layer_norm(groups, groups.shape[-1:], eps=eps).reshape(input.shape)
    of_channels = (-1, *[1] * (input.ndim - 2))
    normal = normal if weight is None else normal * weight.reshape(of_channels)
    return normal if bias is None else normal + bias.reshape(of_channels)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if running_mean is not None or not use_input_stats:
        return NotImplemented
    return _group_norm(input, input.shape[1], weight, bias, eps)


def _view(input: Tensor, *shape: Any) -> Any:
    """What is a view of a member alone need not be one here, where members may lie between its rows or channels."""
    return NotImplemented if isinstance(shape[0], torch.dtype) else input.reshape(*shape)


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Any:
    if num_classes < 1:
        raise InvalidValueError(
            f"one_hot makes as many columns as the values say{_in_line()}, which may be more in another batch. Give num_classes."
        )
    columns = torch.zeros((*tensor.shape, num_classes), dtype=torch.int64, device=tensor.device)
    return columns.scatter(-1, tensor.unsqueeze(-1), 1)  # refuses a label outside of the classes, as torch's does


def _listed(input: Tensor) -> Any:
    input.nonzero()  # no operation knows of a list: by this one it is seen that values are read
    return NotImplemented


def _mean_pool2d(input: Tensor, output_size: Any) -> Any:
    single = output_size == 1 or (isinstance(output_size, tuple | list) and list(output_size) == [1, 1])
    return input.mean((-2, -1), keepdim=True) if single else NotImplemented
