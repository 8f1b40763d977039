"""The laws: Hypothesis tests marked ``law``, which ``--examples N`` runs at length and prints as a table.

Without ``--examples`` they run as their own settings say, like any other test. `conftest.py` takes the hooks from here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_RAN: Counter[Any] = Counter()  # examples that came to their end, by the test's function


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples",
        type=int,
        default=os.environ.get("DWINDLE_EXAMPLES"),
        help="how many examples each law gets (those marked `law`); also DWINDLE_EXAMPLES",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    examples = config.getoption("--examples")
    if examples is None:
        return
    for item in items:
        test = getattr(item, "obj", None)
        if item.get_closest_marker("law") is None or not hasattr(test, "hypothesis"):
            continue
        if not hasattr(test, "_lawful"):
            test._lawful = True
            test.hypothesis.inner_test = _counted(test, test.hypothesis.inner_test)
            test._hypothesis_internal_use_settings = lengthy(
                int(examples), getattr(test, "_hypothesis_internal_use_settings", None)
            )


def lengthy(examples: int, short: settings | None = None) -> settings:
    """Return the settings of a law at length; what else ``short`` says stays."""
    return settings(short, max_examples=examples, deadline=None, derandomize=False,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


def _counted(test: Any, inner: Callable[..., None]) -> Callable[..., None]:
    @wraps(inner)
    def count(*args: Any, **kwargs: Any) -> None:
        inner(*args, **kwargs)
        _RAN[test] += 1

    return count


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = _RAN[item.obj] if hasattr(item, "obj") else 0  # a test of several parameters is one function
    try:
        return (yield)
    finally:
        if getattr(getattr(item, "obj", None), "_lawful", False):
            item.user_properties.append(("examples", _RAN[item.obj] - before))


@pytest.fixture
def examples(pytestconfig: pytest.Config) -> int | None:
    """How many examples were asked for; None is the short form."""
    asked = pytestconfig.getoption("--examples")
    return None if asked is None else int(asked)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("--examples") is None:
        return
    rows = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            ran = dict(report.user_properties).get("examples")
            if ran is not None and report.when == "call":
                place, _, name = report.nodeid.partition("::")
                rows.append((Path(place).stem, sentence(name), ran, report.duration, outcome))
    if not rows:
        return
    terminalreporter.section("laws")
    for place, law, ran, took, outcome in sorted(rows):
        terminalreporter.line(f"{ran:>7,} {took:>7.1f} s  {outcome}  {law}  ({place})")
    done = sum(row[2] for row in rows)
    laws = {(place, law.partition("[")[0].strip()) for place, law, *_ in rows}
    failed = sum(row[4] == "failed" for row in rows)
    terminalreporter.line(f"{len(laws)} laws, {done:,} examples, {sum(r[3] for r in rows):,.0f} s, {failed} failed")


def sentence(name: str) -> str:
    """Return a test's name as the sentence that it is.

    >>> sentence("test_joins_associate[cosine]")
    'joins associate [cosine]'
    """
    law, bracket, rest = name.rpartition("::")[2].removeprefix("test_").partition("[")
    return law.replace("_", " ") + (f" [{rest}" if bracket else "")
