"""Any course of a file: written, added to, damaged, cut and read again, it gives what was written or says that it does not.

Two machines: the store of a study, whose lines stand alone, and the file of a plan, which is whole or refused.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dwindle.errors import DwindleError
from dwindle.plan import Plan
from dwindle.studies import Store
from dwindle.studies.store import TRIALS
from dwindle.text import load, save
from lawbook import lengthy
from strategies import plans

MEMORY = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # where to sync costs nothing
places = st.integers(0, 10**9)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False),
              st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip
records = st.builds(
    lambda key, value, more: {"value": value, **more, "key": key},
    st.sampled_from(["a", "b", "c", "0"]), values, st.dictionaries(st.text(max_size=5), values, max_size=2),
)  # fmt: skip


class AnyCourseOfAStore(RuleBasedStateMachine):
    """``written``: each record in the order of the file, and the line that it was written as."""

    @initialize()
    def opened(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / TRIALS
        self.written: list[tuple[dict[str, Any], bytes]] = []
        self.store: Store | None = Store.open(self.folder.name)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.closed()
            self.folder.cleanup()

    @precondition(lambda self: self.store is not None)
    @rule(new=st.lists(records, max_size=3))
    def trials_are_added(self, new: list[dict[str, Any]]) -> None:
        self.store.add(new)  # type: ignore[union-attr]
        lines = self.path.read_bytes().split(b"\n")[-len(new) - 1 : -1] if new else []
        self.written += zip(new, lines, strict=True)

    @rule()
    def closed(self) -> None:
        if self.store is not None:
            self.store.close()
        self.store = None

    @precondition(lambda self: self.store is None)
    @rule()
    def read_again(self) -> None:
        self.store = Store.open(self.folder.name)
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        there, place = [], 0  # in order: a line may have been written twice, and be there once
        for _, line in self.written:
            there.append(line in lines[place:])
            place = lines.index(line, place) + 1 if there[-1] else place
        for key in {record["key"] for record, _ in self.written} | set(self.store.records):
            mine = [
                (record, held) for (record, _), held in zip(self.written, there, strict=True) if record["key"] == key
            ]
            last = max((i for i, (_, intact) in enumerate(mine) if intact), default=None)
            if key in self.store.records:
                found = self.store.records[key]
                assert any(same(found, record) for record, _ in mine[last or 0 :]), f"{key!r} was never this"
            else:
                assert last is None, f"the trial {key!r} is lost"
        intact = {line for _, line in self.written}
        assert self.store.spoilt <= sum(bool(line.strip()) and line not in intact for line in lines)

    @precondition(lambda self: self.store is None and self.path.exists() and self.path.stat().st_size)
    @rule(at=st.lists(places, min_size=1, max_size=6), bit=st.integers(0, 7))
    def bits_are_flipped(self, at: list[int], bit: int) -> None:
        data = bytearray(self.path.read_bytes())
        for each in at:
            data[each % len(data)] ^= 1 << bit
        self.path.write_bytes(data)

    @precondition(lambda self: self.store is None and self.path.exists() and self.path.stat().st_size)
    @rule(at=places)
    def the_end_is_cut_off(self, at: int) -> None:
        data = self.path.read_bytes()
        self.path.write_bytes(data[: at % len(data)])

    @precondition(lambda self: self.store is None and self.path.exists())
    @rule(junk=st.binary(max_size=40))
    def something_is_appended(self, junk: bytes) -> None:
        self.path.write_bytes(self.path.read_bytes() + junk)


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same, in which 1 and True are not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class AnyCourseOfAPlan(RuleBasedStateMachine):
    """``plan``: what was saved last, None before; ``whole``: whether nothing has happened to the file since."""

    @initialize(suffix=st.sampled_from([".toml", ".json", ".txt"]))
    def somewhere(self, suffix: str) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / f"plan{suffix}"
        self.plan: Plan | None = None
        self.whole = False

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(plan=plans)
    def it_is_saved(self, plan: Plan) -> None:
        save(plan, self.path)
        self.plan, self.whole = plan, True

    @precondition(lambda self: self.whole)
    @rule(at=places, mask=st.integers(1, 255))
    def a_byte_is_changed(self, at: int, mask: int) -> None:
        data = bytearray(self.path.read_bytes())
        data[at % len(data)] ^= mask
        self.path.write_bytes(data)
        self.whole = False

    @precondition(lambda self: self.whole)
    @rule(at=places)
    def it_is_cut_short(self, at: int) -> None:
        data = self.path.read_bytes()
        self.path.write_bytes(data[: at % len(data)])
        self.whole = False

    @precondition(lambda self: self.whole)
    @rule(at=places, size=st.integers(1, 20))
    def a_piece_is_lost(self, at: int, size: int) -> None:
        data = self.path.read_bytes()
        at %= len(data)
        self.path.write_bytes(data[:at] + data[at + size :])
        self.whole = False

    @precondition(lambda self: self.plan is not None)
    @rule()
    def the_writer_is_killed(self) -> None:
        """What a kill leaves beside the file is in nobody's way."""
        self.path.with_name(f".{self.path.name}.123.tmp").write_bytes(b"half a pl")

    @invariant()
    def it_reads_as_the_plan_or_says_so(self) -> None:
        if getattr(self, "plan", None) is None:
            return
        if self.whole:
            assert load(self.path) == self.plan
            return
        with contextlib.suppress(DwindleError):
            assert load(self.path) == self.plan


@pytest.mark.law
@pytest.mark.parametrize("machine", [AnyCourseOfAStore, AnyCourseOfAPlan], ids=["store", "plan"])
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_any_course_of_a_file_gives_what_was_written_or_says_so(
    machine: Any, examples: int | None, record_property: Any
) -> None:
    short = settings(max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    long = settings(lengthy(max(1, examples // 10), short), stateful_step_count=40) if examples else short
    run_state_machine_as_test(machine, settings=long)
    record_property("examples", long.max_examples)
