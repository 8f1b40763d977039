"""Recurrent layers and their cells step by step, by operations that torch can do for many members; its own it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from dwindle.errors import InvalidValueError

__all__ = ["recurrent"]

Tensor = torch.Tensor
State: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[Tensor, Tensor, State], State]
Form: TypeAlias = Callable[..., Any]


def recurrent(dropout: Callable[[Tensor, float], Tensor]) -> dict[Any, Form]:
    """Return a form for each of torch's functions; ``dropout(x, p)`` is what is between the layers."""
    steps = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _tanh, "rnn_relu": _relu}
    cells = {getattr(torch, f"{name}_cell"): _cell(step) for name, step in steps.items()}
    return cells | {getattr(torch, name): _layers(step, dropout) for name, step in steps.items()}


# Of x, what the input gives, and h, what the last output gives, each (examples, gates·units), and the state: the next state.


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    (r, z, n), (r_h, z_h, n_h) = x.chunk(3, -1), h.chunk(3, -1)
    n = (n + (r + r_h).sigmoid() * n_h).tanh()
    return (n + (z + z_h).sigmoid() * (state[0] - n),)


def _tanh(x: Tensor, h: Tensor, state: State) -> State:
    return ((x + h).tanh(),)


def _relu(x: Tensor, h: Tensor, state: State) -> State:
    return ((x + h).relu(),)


def _cell(step: Step) -> Form:
    def cell(
        input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> Any:
        state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        found = step(functional.linear(input, w_ih, b_ih), functional.linear(state[0], w_hh, b_hh), state)
        return found[0] if isinstance(hx, Tensor) else found

    return cell


def _layers(step: Step, dropout: Callable[[Tensor, float], Tensor]) -> Form:
    def layers(input: Tensor, hx: Any, weights: Any, *how: Any) -> Any:
        if not isinstance(how[0], bool):  # packed sequences, whose arguments are others
            raise InvalidValueError(
                "recurrent layers of packed sequences cannot be computed for many members together. Give them the padded "
                "sequences, and let the loss leave out the padding."
            )
        bias, count, p, train, two_ways, batch_first = how
        x = input.transpose(0, 1) if batch_first else input
        begins: list[State] = list(zip(*((hx,) if isinstance(hx, Tensor) else hx), strict=True))
        each, ways, ends = len(weights) // len(begins), 1 + two_ways, []
        for first in range(0, count * ways, ways):
            outputs = []
            for k in range(first, first + ways):
                output, end = _along(step, x, begins[k], weights[k * each : (k + 1) * each], bias, k > first)
                outputs.append(output)
                ends.append(end)
            x = torch.cat(outputs, -1)
            if train and p and first + ways < count * ways:
                x = dropout(x, p)
        return x.transpose(0, 1) if batch_first else x, *(torch.stack(states) for states in zip(*ends, strict=True))

    return layers


def _along(
    step: Step, x: Tensor, state: State, weights: Sequence[Tensor], bias: bool, back: bool
) -> tuple[Tensor, State]:
    """The outputs at all steps of x, (steps, examples, inputs), and the last state."""
    w_ih, w_hh, *rest = weights
    b_ih, b_hh, *project = rest if bias else (None, None, *rest)
    given = functional.linear(x, w_ih, b_ih).unbind(0)
    outputs = []
    for now in reversed(given) if back else given:
        state = step(now, functional.linear(state[0], w_hh, b_hh), state)
        if project:  # nn.LSTM(proj_size=...)
            state = (functional.linear(state[0], *project), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if back else outputs), state
