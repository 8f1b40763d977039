"""What is released: its version and licences, what it is pinned to, what SECURITY.md says, and the same bytes twice."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import dwindle as dw
from dwindle.findings import config_files
from dwindle.foreign.source import program
from dwindle.lab.limits import Limits
from dwindle.logs import opened
from dwindle.text import reader

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
APART = {"timm", "mosaicml", "atheris", "mutmut"}  # read by tests only; for `make fuzz` and `make mutate` only


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, list[tuple[str, list[str]]]]:
    """The versions of each package in the lock, each with its hashes."""
    text = (ROOT / "requirements-dev.lock").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version = re.match(r"([\w.-]+)==([^\s;]+)", line).groups()
            found.setdefault(normal(name), []).append((version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)))
    return found


def wanted(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, and those that it names in turn."""
    for line in PROJECT["optional-dependencies"][extra]:
        need = Requirement(line)
        if need.name != "dwindle":
            yield need
            continue
        for other in need.extras:
            yield from wanted(other)


# --- the version


def test_the_version_is_said_once_and_the_changelog_has_it() -> None:
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+", dw.__version__)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == dw.__version__


# --- the lock


def test_the_lock_has_what_development_needs_in_versions_that_are_allowed() -> None:
    found = locked()
    needs = [*map(Requirement, PROJECT["dependencies"]), *wanted("dev"), *wanted("docs")]
    assert len(needs) > 40
    for need in needs:
        versions = [version for version, _ in found[normal(need.name)]]
        assert all(need.specifier.contains(version) for version in versions), (need, versions)


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    found = locked()
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        name, is_pin, version = line.partition("==")
        if is_pin and normal(name) not in APART:
            assert {each.partition("+")[0] for each, _ in found[normal(name)]} == {version}, name


def test_every_package_of_the_lock_has_its_hashes() -> None:
    found = locked()
    assert len(found) > 150
    assert not [name for name, versions in found.items() for _, hashes in versions if not hashes]
    assert not [name for name in found if name.startswith("nvidia")]


# --- SECURITY.md


def test_security_names_what_there_is() -> None:
    for target in re.findall(r"`make ([\w-]+)", SECURITY):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    named = re.findall(r"tests/test_\w+\.py", SECURITY)
    assert named
    for path in [*named, *re.findall(r"\]\(([\w./]+)\)", SECURITY)]:
        assert (ROOT / path).exists(), path
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    formats = re.findall(r"dwindle-\w+/\d+", SECURITY)
    assert len(formats) == 4
    for each in formats:
        assert f'"{each}"' in source, each


def test_security_says_the_limits_that_the_code_has() -> None:
    lab = Limits()
    said = " ".join(SECURITY.split())
    for text in (
        f"a plan's text or file: {reader.LONGEST:,} bytes",
        f"a configuration: {config_files._LARGEST // 10**6} mb, {config_files._DEEPEST} levels deep",
        f"a recipe in python: {program._LONGEST:,} characters",
        f"a line of a log: {opened.LONGEST_LINE // 2**20} mb",
        f"it stops at {opened._BOMB[1]} times its packed size beyond {opened._BOMB[0] // 2**20} mb",
        f"at most {lab.head_bytes // 2**10} kb before its body and {lab.head_seconds:g} seconds for it",
        f"{lab.body_bytes // 2**10} kb of body (a log: {lab.log_bytes // 2**20} mb and {lab.log_seconds:g} s)",
        f"{lab.connections} connections, one request each",
        f"{lab.memory // 2**30} gb of memory and {lab.work_seconds:g} seconds a question (a log: {lab.log_work_seconds:g})",
    ):
        assert text in said.lower(), text
    assert lab.workers == 2  # "two processes"


def test_nothing_in_the_source_runs_what_it_is_given() -> None:
    """No eval, exec, unpickling or unsafe YAML; pickle.dumps alone, to see whether a function can go to another process."""
    unsafe = re.compile(
        r"(?<![\w.])(eval|exec|compile|__import__)\(|\b(pickle|marshal|shelve|cloudpickle|joblib|dill)\.(load|loads|Unpickler)\b"
        r"|allow_pickle=True|weights_only=False|\btorch\.load\(|yaml\.(unsafe_load|full_load|Loader|UnsafeLoader)\b|\bos\.system\(|shell=True"
    )
    for path in sorted((ROOT / "src").rglob("*.py")):
        for line in path.read_text("utf-8").splitlines():
            assert not unsafe.search(line.partition("#")[0]), f"{path}: {line.strip()}"


# --- the wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_wheel.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_wheel_and_sdist_have_the_same_bytes_twice(built: tuple[Path, str]) -> None:
    folder, said = built
    assert "built twice, the same bytes" in said
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        f"dwindle-{dw.__version__}-py3-none-any.whl",
        f"dwindle-{dw.__version__}.tar.gz",
    ]
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_has_its_licences_types_and_data(built: tuple[Path, str]) -> None:
    (wheel,) = built[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"dwindle-{dw.__version__}.dist-info"
        for name in ("LICENSE", "NOTICE"):
            assert archive.read(f"{info}/licenses/{name}") == (ROOT / name).read_bytes()
    ours = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "dwindle").rglob("*") if path.is_file()
    }
    ours = {name for name in ours if "__pycache__" not in name}
    assert {name for name in names if not name.startswith(info)} == ours
    assert {"dwindle/py.typed", "dwindle/report/assets/uPlot.LICENSE", "dwindle/data/fashion-mnist.LICENSE"} <= names


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_bill_of_materials_holds_to_its_schema_and_tells_what_is_in_the_wheel(built: tuple[Path, str]) -> None:
    folder = built[0]
    script = [sys.executable, str(ROOT / "scripts" / "make_sbom.py"), str(folder)]
    first = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    (file,), (wheel,) = folder.glob("*.cdx.json"), folder.glob("*.whl")
    bill: dict[str, Any] = json.loads(file.read_text("utf-8"))
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("dwindle", dw.__version__)
    assert root["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    parts = {part["name"]: part for part in bill["components"]}
    uplot = parts["uPlot"]
    assert uplot["version"] in (ROOT / "NOTICE").read_text("utf-8")
    assert uplot["licenses"] == [{"license": {"id": "MIT"}}]
    with zipfile.ZipFile(wheel) as archive:
        told = [*uplot["components"], *(part for name, part in parts.items() if name.startswith("dwindle/"))]
        assert len(told) == 3 + len([name for name in archive.namelist() if name.startswith("dwindle/data/")])
        for part in told:
            assert part["hashes"][0]["content"] == hashlib.sha256(archive.read(part["name"])).hexdigest()
    needs = {normal(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert needs == {name for name, part in parts.items() if part.get("scope") == "required"}
    assert all("licenses" in part for part in bill["components"]), [
        p["name"] for p in bill["components"] if "licenses" not in p
    ]
