"""A task's own torch module: its loss and metrics, tried on two examples, trained, and told apart from any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, MissingExtraError, shown
from dwindle.mask import Mask
from dwindle.population import Optimiser, Rates
from dwindle.studies.dataset import PARTS, Dataset
from dwindle.studies.identity import name_of, of_function, of_module
from dwindle.studies.jackknife import pseudo_values
from dwindle.studies.trained import Trained, of_modules

try:
    import torch
    from torch.utils._pytree import tree_flatten, tree_unflatten
except ImportError as error:
    raise MissingExtraError.of("torch", "torch") from error

from dwindle.population.modules import train_modules
from dwindle.population.modules.members import made
from dwindle.population.modules.trainer import check_together, device_of

__all__ = ["Own", "accuracy", "cross_entropy", "squared_error"]

Tensor = torch.Tensor
Function = Callable[[Any, Any], Any]

_BLOCK = 128  # examples that go through a module at once
_TRIED, _TRIED_BY_METRICS = 2, 64  # rows: enough to see shapes by; some metrics want examples of more than one class


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Return the mean over the rows of -ln softmax(z)_y, z the ``output`` (rows, classes), y the labels (rows,).

    >>> round(float(cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 2]))), 6)  # ln 4
    1.386294
    """
    return torch.nn.functional.cross_entropy(output, y)


def squared_error(output: Tensor, y: Tensor) -> Tensor:
    """Return the mean over the rows of ½·(z - y)², z the ``output``, (rows,) or (rows, 1).

    >>> float(squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])))
    1.25
    """
    return 0.5 * (output.reshape(y.shape) - y).square().mean()


def accuracy(output: Tensor, y: Tensor) -> Tensor:
    """Return the share of the rows whose largest ``output`` is at the label.

    >>> float(accuracy(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1])))
    0.5
    """
    return (output.argmax(1) == y).float().mean()


class Own(NamedTuple):
    """What a user says of a model of their own, with the loss and the metrics that follow from the data."""

    data: Dataset
    model: Callable[[], torch.nn.Module]
    loss: Function
    metrics: Mapping[str, Function]

    @classmethod
    def of(cls, data: Dataset, model: Any, loss: Any, metrics: Mapping[str, Any]) -> Own:
        """Return it with the defaults in it; raise InvalidValueError for what can be seen to be no model, loss or metric."""
        if isinstance(model, torch.nn.Module) or not callable(model):
            raise InvalidValueError(
                f"model must be a function without arguments that returns a new torch.nn.Module, for every training starts "
                f"from weights of its own; got {shown(type(model).__name__)}. Give the function or class that builds it."
            )
        if loss is None and data.task == "custom":
            raise InvalidValueError(f"{data.name} is custom data, which has no loss by itself. Give loss=f(output, y).")
        for name, function in (("loss", loss), *metrics.items()):
            if function is not None and not callable(function):
                raise InvalidValueError(f"{name} must be a function of (output, y); got {shown(function)}.")
        usual = {"classification": cross_entropy, "regression": squared_error}
        counted = {"accuracy": accuracy} if data.task == "classification" else {}
        return cls(data, model, usual[data.task] if loss is None else loss, {**counted, **metrics})

    def tensors(self, part: str, rows: int | None = None) -> tuple[Tensor, Tensor]:
        """Return (x, y) of a part, x in the shape that the data says, the first ``rows`` of them if given."""
        x, y = (torch.tensor(array[:rows]) for array in self.data.part(part))
        return x.reshape(len(x), *self.data.input_shape), y

    def module(self, seed: int = 0) -> torch.nn.Module:
        """Return the module drawn from ``seed``, in evaluation mode."""
        return made(self.model, [seed], Mask(), torch.device("cpu")).module.eval()

    def check(self, device: str) -> None:
        """Raise InvalidValueError unless the module takes two of the training examples and gives what loss and metrics want.

        So it does where this machine has no such ``device``.
        """
        device_of(device)
        module = self.module()
        dtype = next(module.parameters()).dtype
        x, y = self._tried(_TRIED, dtype)
        with torch.random.fork_rng(), torch.no_grad():
            with _trying(
                f"the model {type(module).__name__} cannot take x of {_shape(x)}, two of the training examples"
            ):
                output = module(x)
            self._check_output(output, len(x))
            tried = [("loss", self.loss, output, y)]
            if self._metrics:
                x_more, y_more = self._tried(_TRIED_BY_METRICS, dtype)
                many = module(x_more)
                tried += [(name, function, many, y_more) for name, function in self._metrics.items()]
            for name, function, given, wanted in tried:
                with _trying(
                    f"{name}, {name_of(function)}, cannot take an output of {_shape(given)} and y of {_shape(wanted)}"
                ):
                    value = function(given, wanted)
                if not isinstance(value, Tensor) or value.ndim:
                    said = _shape(value) if isinstance(value, Tensor) else shown(value)
                    raise InvalidValueError(
                        f"{name}, {name_of(function)}, must return a scalar tensor; got {said}. Take the mean over the examples."
                    )
            if self.model() is self.model():
                raise InvalidValueError("model returned the same module twice; let it build a new one at each call.")
        with _trying(f"the model {type(module).__name__} cannot be trained by the loss {name_of(self.loss)}"):
            check_together(self.model, self.loss, x, y)

    def _tried(self, rows: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x, y = (t.to(dtype) if t.is_floating_point() else t for t in self.tensors("train", rows))
        return x, y

    @property
    def _metrics(self) -> dict[str, Function]:
        """The metrics, that of the name accuracy one that is refused outside of 0 to 1, where no report could show it."""
        if self.metrics.get("accuracy", accuracy) is accuracy:
            return dict(self.metrics)
        return {**self.metrics, "accuracy": _share(self.metrics["accuracy"])}

    def _check_output(self, output: Any, rows: int) -> None:
        """Refuse an output that a loss or metric of ours would take for something else."""
        functions = (self.loss, *self.metrics.values())
        classes = len(self.data.classes)
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        if (cross_entropy in functions or accuracy in functions) and shape != (rows, classes):
            raise InvalidValueError(
                f"the model gives {_shape(output)} for {rows} examples of {classes} classes; it must give ({rows}, {classes}), a "
                "number per class. Change its last layer, or give a loss and an 'accuracy' among the metrics."
            )
        if squared_error in functions and shape not in ((rows,), (rows, 1)):
            raise InvalidValueError(
                f"the model gives {_shape(output)} for {rows} targets; it must give ({rows},) or ({rows}, 1). Change its last "
                "layer, or give a loss."
            )

    def train(
        self,
        rates: Rates,
        mask: Mask,
        *,
        optimiser: Optimiser,
        seeds: Sequence[int],
        batch_size: int,
        evaluate_every: int,
        **hooks: Any,
    ) -> Trained:
        """Train one module per row of ``rates``; ``hooks`` go to `train_modules` as they are."""
        train, validation, test = (self.tensors(part) for part in PARTS)
        result = train_modules(
            self.model, self.loss, rates, train, optimiser=optimiser, seeds=seeds, batch_size=batch_size,
            evaluate_every=evaluate_every, validation=validation, test=test, metrics=self._metrics, mask=mask, **hooks,
        )  # fmt: skip
        return of_modules(result)

    def by_part(
        self, result: Trained, seeds: Sequence[int], rows: Sequence[NDArray[np.intp]], device: str
    ) -> dict[str, NDArray[np.float64]]:
        """Return pseudo-values (K, parts) of the test loss, and of the accuracy if there is one, for these parts of the rows.

        Neither need be a mean over the rows: each is asked of all rows but a part.
        """
        where = device_of(device)
        functions = {"test_loss": self.loss}
        if "accuracy" in self.metrics:
            functions["test_accuracy"] = self.metrics["accuracy"]
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in functions}
        x, y = (t.to(where) for t in self.tensors("test"))
        kept = [torch.from_numpy(np.setdiff1d(np.arange(len(y)), part)).to(where) for part in rows]
        for k, seed in enumerate(seeds):
            module = self.module(seed).to(where)
            module.load_state_dict({name: torch.from_numpy(array) for name, array in result.state_dict(k).items()})
            dtype = next(module.parameters()).dtype
            given, wanted = (t.to(dtype) if t.is_floating_point() else t for t in (x, y))
            with torch.no_grad():
                outputs = [tree_flatten(module(block)) for block in torch.split(given, _BLOCK)]
                leaves = [torch.cat(each) for each in zip(*(leaf for leaf, _ in outputs), strict=True)]
                outline = outputs[0][1]
                for name, function in functions.items():
                    without = [
                        function(tree_unflatten([t[rest] for t in leaves], outline), wanted[rest]) for rest in kept
                    ]
                    whole = function(tree_unflatten(leaves, outline), wanted)
                    found[name].append(pseudo_values(float(whole), [float(value) for value in without]))
        return {name: np.stack(values) for name, values in found.items()}

    @property
    def text(self) -> str:
        """The model in words: its class, its size, its loss."""
        module = self.module()
        numbers = sum(p.numel() for p in module.parameters())
        usual = ((cross_entropy, "softmax cross-entropy"), (squared_error, "squared error"))
        said = next((text for loss, text in usual if loss is self.loss), name_of(self.loss).replace("_", " "))
        return f"{type(module).__name__}, {numbers:,} parameters, {said}"

    def identity(self) -> dict[str, Any]:
        """Return all that decides what comes of it but the data, as plain data, the same in every process."""
        return {
            "torch": torch.__version__, "module": of_module(self.module()),
            "loss": of_function(self.loss), "metrics": {name: of_function(f) for name, f in self.metrics.items()},
        }  # fmt: skip


def _share(function: Function) -> Function:
    def share(output: Any, y: Any) -> Any:
        value = function(output, y)
        if isinstance(value, Tensor) and not value.ndim and (value < 0 or value > 1):
            raise InvalidValueError(
                f"the metric accuracy, {name_of(function)}, must be a share from 0 to 1; got {float(value):g}. Return the share, "
                "or give the metric another name."
            )
        return value

    share.__name__ = name_of(function)
    return share


@contextmanager
def _trying(what: str) -> Iterator[None]:
    """Turn what torch or the user's code says about shapes and types into words about the task."""
    try:
        yield
    except InvalidValueError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidValueError(f"{what}: {cause}") from error


def _shape(value: Any) -> str:
    if not isinstance(value, Tensor):
        return shown(type(value).__name__)
    return f"shape {tuple(value.shape)} in {str(value.dtype).removeprefix('torch.')}"
