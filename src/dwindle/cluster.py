"""A study's trainings on a Ray cluster: lost workers and nodes cost time, and nothing else."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from typing import Any

from dwindle.errors import InvalidValueError, MissingExtraError, count
from dwindle.population import StoppedError
from dwindle.studies.executors import STOPPED, LostError, Stop, Tell
from dwindle.studies.records import Batch, Record, trained
from dwindle.studies.task import Task

__all__ = ["Ray"]

_POLL_SECONDS = 0.2


class Ray:
    """An executor on the cluster at ``address``, one batch a core; "local" starts one on this machine, heard by it alone.

    The nodes need this version of dwindle, and the packages that a model of one's own uses; the file of the model, and files
    that it imports, are sent along. A batch whose worker or node is lost is trained again, ``retries`` times at most.
    Leave with ``close``, or use it in a ``with`` statement.

    Raises MissingExtraError without Ray: pip install 'dwindle[ray]'; InvalidValueError where nothing answers at the address.
    """

    def __init__(self, address: str = "local", *, retries: int = 3) -> None:
        self._retries = count("retries", retries, low=0)
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError.of("ray", "ray") from error
        self._ray = ray
        self._joined = ray.is_initialized()  # by the caller, who then ends it
        if not self._joined:
            self._start(address)
        self.width = max(1, int(self._resources().get("CPU", 1)))

    def _start(self, address: str) -> None:
        _knock(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
        try:
            if address == "local":
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                self._ray.init(
                    address="local",
                    include_dashboard=False,
                    object_store_memory=256 * 2**20,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidValueError(
                f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0]}. Give its address as host:port, or 'local'."
            ) from error

    def _resources(self) -> dict[str, float]:
        ask: Any = self._ray.cluster_resources
        return dict(ask())

    def __enter__(self) -> Ray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if not self._joined and self._ray.is_initialized():
            self._ray.shutdown()

    def run(self, task: Task, batches: Sequence[Batch], tell: Tell, stop: Stop) -> Iterator[tuple[int, list[Record]]]:
        """Yield the records of each batch as its task ends; see `dwindle.studies.executors.Executor`."""
        ray = self._ray
        work = ray.remote(num_cpus=1, max_retries=self._retries)(_train)
        with _sent_along(ray.cloudpickle):
            given = ray.put(task)
        pending = {work.remote(given, batch): place for place, batch in enumerate(batches)}
        try:
            while pending:
                done, _ = ray.wait(list(pending), num_returns=1, timeout=_POLL_SECONDS)
                for reference in done:
                    yield pending.pop(reference), self._got(reference)
                if pending and stop():
                    raise StoppedError(STOPPED)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    def _got(self, reference: Any) -> list[Record]:
        lost = self._ray.exceptions
        try:
            records: list[Record] = self._ray.get(reference)
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.ObjectLostError, lost.OutOfMemoryError) as error:
            raise LostError(
                f"a batch was lost with its worker {self._retries + 1} times: {str(error).splitlines()[0]} What is finished is "
                "kept; run it again."
            ) from error
        except lost.RayTaskError as error:
            raise error.cause from None  # as it would have been raised here
        return records


def _knock(address: str) -> None:
    """Raise if no one listens at host:port: Ray itself asks for minutes, and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidValueError(
            f"no Ray cluster answers at {address!r}: {error}. Give its address as host:port, or 'local'."
        ) from None


@contextmanager
def _sent_along(pickle: Any) -> Iterator[None]:
    """While it is entered, what is pickled takes its code along, where that is no installed package: nodes lack such a file."""
    known = {"dwindle", *sys.stdlib_module_names, *packages_distributions()}
    before = pickle.list_registry_pickle_by_value()
    own = [
        module
        for name, module in list(sys.modules.items())
        if getattr(module, "__file__", None) and module.__name__ == name
        if name.split(".")[0] not in known and name not in before
    ]
    for module in own:
        pickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            pickle.unregister_pickle_by_value(module)


def _train(task: Task, batch: Batch) -> list[Record]:
    return trained(task, batch._replace(folder=None), workers=1)  # the folder is on another machine
