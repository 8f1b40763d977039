"""Write what a wheel is made of as CycloneDX 1.6 JSON, checked against its schema: python scripts/make_sbom.py [FOLDER]

In it: the wheel, what is packed in it of others (uPlot, the images) and its data files, each with sha256 and licence; and the
packages that it asks for, with the range it allows, the version it is tested with, and the licence that this one tells where it
is installed. What those ask for in turn is in requirements-dev.lock. The same wheel gives the same file.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
UPLOT = "dwindle/report/assets/uPlot."
DATA = "dwindle/data/"
PLAIN = (".LICENSE", ".txt", ".json")  # beside the data, and about them


def sha256(data: bytes) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(data).hexdigest())]


def licences(*names: str) -> list[Any]:
    return [LicenseFactory().make_from_string(name) for name in names if name]


def file_of(name: str, data: bytes, licence: str, kind: ComponentType = ComponentType.FILE) -> Component:
    return Component(
        name=name, type=kind, bom_ref=name, hashes=sha256(data), licenses=licences(licence),
        properties=[Property(name="bytes", value=str(len(data)))],
    )  # fmt: skip


def packed(files: dict[str, bytes]) -> Iterator[Component]:
    """Yield what a wheel's files have of others, and its data."""
    script = files[f"{UPLOT}iife.min.js"].decode("utf-8")
    version = script.partition("(v")[2].partition(")")[0]
    yield Component(
        name="uPlot", version=version, bom_ref=f"uPlot@{version}", licenses=licences("MIT"),
        purl=PackageURL("npm", None, "uplot", version), copyright="Copyright (c) 2022 Leon Sorokin",
        components=[file_of(name, data, "MIT") for name, data in files.items() if name.startswith(UPLOT)],
    )  # fmt: skip
    for name, data in files.items():
        if name.startswith(DATA):
            licence = "MIT" if "ubyte" in name or name.endswith(".LICENSE") else "Apache-2.0"
            yield file_of(name, data, licence, ComponentType.FILE if name.endswith(PLAIN) else ComponentType.DATA)


def asked_for(about: Message) -> Iterator[Component]:
    """Yield the packages that a wheel's metadata asks for: required, or optional where an extra asks; once each."""
    pins = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    tested = {name.lower(): version for name, _, version in pins}
    wanted: dict[str, tuple[str, list[str]]] = {}
    for line in about.get_all("Requires-Dist", []):
        need = Requirement(line)
        if need.name == about["Name"] or any(
            f'"{own}"' in str(need.marker) for own in ("dev", "docs", "fuzz", "mutate", "release")
        ):
            continue
        extra = str(need.marker).partition('"')[2].rstrip('"') if need.marker else ""
        said, extras = wanted.setdefault(need.name, (str(need.specifier), []))
        extras += [extra] if extra else []
        wanted[need.name] = said, extras
    for name, (said, extras) in sorted(wanted.items()):
        try:
            own = _licence(metadata(name))
        except PackageNotFoundError:
            own = ""
        version = tested[name.lower()]
        yield Component(
            name=name, version=version, bom_ref=f"{name}@{version}", licenses=licences(own),
            purl=PackageURL("pypi", None, name.lower(), version),
            scope=ComponentScope.OPTIONAL if extras else ComponentScope.REQUIRED,
            properties=[Property(name="range", value=said), *(Property(name="extra", value=each) for each in extras)],
        )  # fmt: skip


def _licence(about: Any) -> str:
    """Return the licence that a package's metadata tells, in the newest of the three ways that it uses."""
    classified = [
        each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if each.startswith("License ::")
    ]
    told = about.get("License") or ""
    named = told if len(told) < 60 and "\n" not in told else ""
    return about.get("License-Expression") or next((each for each in classified if each != "OSI Approved"), "") or named


def bill(wheel: Path) -> str:
    """Return the JSON text, which holds to the schema."""
    whole = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in sorted(archive.namelist())}
    about = HeaderParser().parsestr(next(data for name, data in files.items() if name.endswith("METADATA")).decode())
    root = Component(
        name=about["Name"], version=about["Version"], bom_ref=f"{about['Name']}@{about['Version']}", hashes=sha256(whole),
        licenses=licences(about["License-Expression"]), purl=PackageURL("pypi", None, about["Name"], about["Version"]),
        description=about["Summary"],
    )  # fmt: skip
    needs, inside = list(asked_for(about)), list(packed(files))
    found = Bom(
        components=[*inside, *needs], serial_number=uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(whole).hexdigest())
    )
    found.metadata.component = root
    found.metadata.timestamp = datetime.datetime.fromtimestamp(_epoch(), datetime.UTC)
    found.register_dependency(root, [*inside, *(need for need in needs if need.scope is ComponentScope.REQUIRED)])
    text = JsonV1Dot6(found).output_as_string(indent=2)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"the schema is broken: {wrong}")
    return text + "\n"


def _epoch() -> int:
    ask = ["git", "log", "-1", "--format=%ct"]
    said = os.environ.get("SOURCE_DATE_EPOCH")
    return int(said or subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def main(folder: Path) -> int:
    wheels = sorted(folder.glob("dwindle-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{folder} must hold one wheel; run make wheel first")
    to = wheels[0].with_suffix(".cdx.json")
    text = bill(wheels[0])
    to.write_text(text, "utf-8")
    print(f"{to.name}: {text.count('bom-ref')} parts, valid CycloneDX 1.6")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
