"""The doctor on logs, plans, configs and live set-ups whose faults are known: recall and false alarms of every finding.

    python benchmarks/clinic.py [--cases FOLDER ...] [--quick] [--json FILE]

The cases are those of tests/clinic*, or of other FOLDERs that scripts/make_clinic.py made. A fault counts as found if a
finding of its code is a fault or a warning; of the codes that are notes by nature (NOTES) any severity will do. A false alarm
is a fault or a warning of a code that the case neither must nor may have; an error of the doctor is one too, of the code
"error". Confusion: what was said of the cases whose fault was missed.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

from surroundings import begin, command, save

import dwindle as dw

HERE = tuple(sorted(p.parent for p in (Path(__file__).resolve().parent.parent / "tests").glob("clinic*/cases.json")))
NOTES = frozenset(("decay-on-embedding", "decay-on-frozen", "decay-scale-invariant", "tied-parameters"))
ALARMS = ("fault", "warning")
Case = dict[str, Any]


def folder(text: str) -> Path:
    path = Path(text)
    if not (path / "cases.json").is_file():
        raise argparse.ArgumentTypeError(f"{text} has no cases.json; make the cases by scripts/make_clinic.py.")
    return path


def live_of(cases: Path) -> ModuleType | None:
    """Return the module live.py of a folder of cases, None where there is none."""
    if not (cases / "live.py").exists():
        return None
    spec = importlib.util.spec_from_file_location("clinic_live", cases / "live.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpacked(path: Path, into: Path) -> Path:
    """Return a copy of ``path`` as its tool named it: without .gz, and without the .txt that keeps programs from running."""
    data = path.read_bytes()
    name = path.name
    if name.endswith(".gz"):
        name, data = name.removesuffix(".gz"), gzip.decompress(data)
    out = into / name.removesuffix(".txt")
    out.write_bytes(data)
    return out


def findings_of(case: Case, cases: Path, live: ModuleType | None) -> list[Any]:
    """Return what the doctor finds in one case, told the plan and the horizon where the case has them."""
    from dwindle import findings

    told = {key: case[key] for key in ("horizon",) if key in case}
    if case["kind"] == "plan":
        return list(findings.of_plan(dw.parse(case["plan"]), **told))
    if case["kind"] == "live":
        assert live is not None, f"{cases} has no live.py"
        return list(dw.doctor(**getattr(live, case["function"])()))
    with tempfile.TemporaryDirectory() as temporary:
        path = unpacked(cases / case["file"], Path(temporary))
        if case["kind"] == "config":
            return list(findings.of_config(path))
        if "plan" in case:
            told["plan"] = dw.parse(case["plan"])
        return list(findings.of_history(dw.logs.history(path), **told))


def judged(case: Case, cases: Path, live: ModuleType | None) -> dict[str, Any]:
    """Return what was found in a case, missed and said without need."""
    try:
        found = [(str(f.code), str(f.severity)) for f in findings_of(case, cases, live)]
        error = ""
    except Exception as raised:
        found, error = [("error", "fault")], f"{type(raised).__name__}: {raised}"
    loud = {code for code, severity in found if severity in ALARMS}
    heard = loud | {code for code, _ in found if code in NOTES}
    must, may = set(case["must"]), set(case["may"])
    return {
        "name": case["name"], "kind": case["kind"], "must": sorted(must), "may": sorted(may), "found": sorted(must & heard),
        "missed": sorted(must - heard), "alarms": sorted(loud - must - may), "said": sorted(heard), "error": error,
    }  # fmt: skip


def counted(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a code: cases and recall, then the alarms on sound cases and on cases of other codes."""
    codes = sorted({code for r in results for code in (*r["must"], *r["alarms"])})
    rows = []
    for code in codes:
        cases = [r for r in results if code in r["must"]]
        rest = [r for r in results if code not in r["must"] and code not in r["may"]]
        sound = [r for r in rest if not r["must"]]
        found = sum(code in r["found"] for r in cases)
        on_sound = sum(code in r["alarms"] for r in sound)
        on_rest = sum(code in r["alarms"] for r in rest)
        rows.append({
            "code": code, "cases": len(cases), "found": found, "recall": found / len(cases) if cases else None,
            "sound": len(sound), "alarms_on_sound": on_sound, "others": len(rest) - len(sound),
            "alarms_on_others": on_rest - on_sound, "alarm_rate": on_rest / len(rest) if rest else 0.0,
        })  # fmt: skip
    return rows


def confusion(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was said where a code was missed, most often first; "nothing" where nothing was."""
    pairs: Counter[tuple[str, str]] = Counter()
    for r in results:
        for code in r["missed"]:
            pairs.update((code, said) for said in (r["said"] or ["nothing"]))
    return [{"missed": code, "said": said, "times": n} for (code, said), n in pairs.most_common()]


def shown(rows: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    print(
        f"{'finding':24}{'cases':>7}{'found':>7}{'recall':>8}{'sound':>8}{'alarms':>8}{'others':>8}{'alarms':>8}{'rate':>8}"
    )
    for row in rows:
        recall = "-" if row["recall"] is None else f"{row['recall']:.2f}"
        print(
            f"{row['code']:24}{row['cases']:>7}{row['found']:>7}{recall:>8}{row['sound']:>8}{row['alarms_on_sound']:>8}"
            f"{row['others']:>8}{row['alarms_on_others']:>8}{row['alarm_rate']:>8.3f}"
        )
    for r in results:
        if r["missed"] or r["alarms"]:
            wrong = [f"missed {', '.join(r['missed'])}"] * bool(r["missed"])
            wrong += [f"alarms {', '.join(r['alarms'])}"] * bool(r["alarms"])
            print(f"  {r['name']}: {'; '.join(wrong)}{'' if not r['error'] else ': ' + r['error']}")


def main() -> None:
    parser = command(__doc__)
    parser.add_argument(
        "--cases", type=folder, nargs="+", default=HERE, metavar="FOLDER", help="folders with cases.json"
    )
    given = parser.parse_args()
    around = begin()
    results: list[dict[str, Any]] = []
    for cases in given.cases:
        listed: list[Case] = json.loads((cases / "cases.json").read_text())
        live = live_of(cases)
        results += [judged(case, cases, live) for case in (listed[::8] if given.quick else listed)]
    rows = counted(results)
    shown(rows, results)
    sound = [r for r in results if not r["must"]]
    faults = sum(len(r["must"]) for r in results)
    total = {
        "cases": len(results), "faults": faults, "found": sum(len(r["found"]) for r in results),
        "sound": len(sound), "sound_with_alarms": sum(bool(r["alarms"]) for r in sound),
        "errors": sum(bool(r["error"]) for r in results),
    }  # fmt: skip
    print(
        f"\n{total['found']} of {faults} faults found in {total['cases']} cases; alarms on {total['sound_with_alarms']} of "
        f"{total['sound']} sound cases; errors: {total['errors']}"
    )
    save(given.json, around, codes=rows, confusion=confusion(results), results=results, total=[total])


if __name__ == "__main__":
    main()
