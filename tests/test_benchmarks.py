"""The benchmarks run to their end, write what they print, and their runner tells who failed."""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = sorted(script.stem for script in FOLDER.glob("*.py") if script.stem not in ("__main__", "surroundings"))
OF_ALL = {"--quick", "--json"}
# a figure that stands by itself; not the 784-128-10 of a network, the bfloat16 of a type, the 2 x 3 of a shape
NUMBER = re.compile(r"(?<![\w.,^+-])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?")


def called(*given: str | Path, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def docstring(name: str) -> str:
    return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value


def numbers(found: Any) -> list[float]:
    return [value for value in leaves(found) if isinstance(value, int | float)]


@pytest.mark.parametrize("name", NAMES)
def test_usage_in_the_docstring_names_every_option_there_is(name: str) -> None:
    usage = "\n".join(re.findall(rf"^    python benchmarks/{name}\.py.*(?:\n {{8,}}.*)*", docstring(name), re.M))
    assert usage
    taken = set(re.findall(r'add_argument\(\s*"(--[a-z]+)"', (FOLDER / f"{name}.py").read_text()))
    assert set(re.findall(r"--[a-z]+", usage)) == taken | OF_ALL


def test_list_shows_every_benchmark_by_the_first_line_of_its_docstring() -> None:
    listed = called(FOLDER, "--list")
    assert listed.returncode == 0
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    assert lines == [[name, docstring(name).splitlines()[0]] for name in NAMES]


def test_an_unknown_name_is_refused_before_anything_runs(tmp_path: Path) -> None:
    refused = called(FOLDER, "schedules", "optimisers", "--json", tmp_path / "out")
    assert refused.returncode == 2
    assert "'optimisers' is not known; did you mean 'optimizers'?" in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    refused = called(FOLDER, "--json", tmp_path / "out")
    assert refused.returncode == 2
    assert "name a folder" in refused.stderr


SCRIPT = '''"""{name}, for a test."""
import os, sys
print("given", *sys.argv[1:])
print("process", os.getpid())
if {fails}:
    sys.exit(3)
open(sys.argv[-1], "w").write("new")
'''


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """Return a folder with the runner and three benchmarks, of which the second fails."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    shutil.copy(FOLDER / "__main__.py", folder)
    for name in ("first", "second", "third"):
        (folder / f"{name}.py").write_text(SCRIPT.format(name=name, fails=name == "second"))
    return folder


def test_one_that_fails_stops_no_other_and_is_named(runner: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    for name in ("second", "third"):
        (out / f"{name}.json").write_text("old")
    ran = called(runner, "--quick", "--json", out)
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert [re.sub(r" +[\d.]+ s +", ": ", line) for line in lines[-3:]] == [
        "first: ok", "second: failed, exit code 3", "third: ok",
    ]  # fmt: skip
    given = [line for line in lines if line.startswith("given")]
    assert given == [f"given --quick --json {out / name}.json" for name in ("first", "second", "third")]
    assert len({line for line in lines if line.startswith("process")}) == 3
    assert {file.name: file.read_text() for file in out.iterdir()} == {"first.json": "new", "third.json": "new"}


def test_named_ones_run_once_each_in_the_order_given(runner: Path, tmp_path: Path) -> None:
    ran = called(runner, "third", "--json", tmp_path / "new", "first", "third")
    assert ran.returncode == 0
    assert re.findall(r"^=== (\w+)", ran.stdout, re.M) == ["third", "first"]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["first.json", "third.json"]


# both tests of a benchmark go to one worker: two smoke runs of it side by side would wait for each other
EACH = [pytest.param(name, marks=pytest.mark.xdist_group(f"bench-{name}")) for name in NAMES]


@pytest.fixture(scope="module")
def quick(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Return what a smoke run printed, and what it wrote; one run for all tests of it."""
    file = tmp_path_factory.mktemp(request.param) / "out.json"
    ran = called(FOLDER / f"{request.param}.py", "--quick", "--json", file, timeout=240.0)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("quick", EACH, indirect=True)
def test_a_quick_run_writes_its_surroundings_and_finite_figures(quick: tuple[str, dict[str, Any]]) -> None:
    found = dict(quick[1])
    around = found.pop("surroundings")
    assert set(around) == {"load_average", "cpu", "cores", "torch_threads", "versions"}
    assert set(around["versions"]) >= {"python", "dwindle", "torch", "numpy"}
    assert min(around["cores"], around["torch_threads"]) >= 1
    rows = [row for value in found.values() if isinstance(value, list) for row in value]
    assert rows
    assert all(math.isfinite(value) for value in numbers(found))
    assert any(numbers(row) for row in rows)


def written_as(text: str, values: list[float]) -> bool:
    """Say whether ``text`` is one of the values, rounded as the text is: itself, in percent, in millions or in 10⁹."""
    plain = text.replace(",", "")
    digits = len(plain.partition("e")[0].partition(".")[2])
    style = f".{digits}{'e' if 'e' in plain else 'f'}"
    scaled = (value * scale for value in values for scale in (1, 100, 1e-6, 1e-9))
    return any(format(value, style) == plain or format(value, ".4g") == plain for value in scaled)


@pytest.mark.slow
@pytest.mark.parametrize("quick", EACH, indirect=True)
def test_every_figure_that_is_printed_is_written(quick: tuple[str, dict[str, Any]]) -> None:
    printed, found = quick
    head, *table = printed.splitlines()
    words = " ".join(value for value in leaves(found) if isinstance(value, str))
    assert found["surroundings"]["cpu"] in head
    values = numbers({key: value for key, value in found.items() if key != "surroundings"})
    rows = [line for line in table if len(NUMBER.findall(line)) > 1]
    assert rows
    left = [text for row in rows for text in NUMBER.findall(row) if text not in words and not written_as(text, values)]
    assert left == []
