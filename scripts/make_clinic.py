"""Make the cases that the doctor is judged on: logs of real trainings with known faults, plans, configs, live set-ups.

    python scripts/make_clinic.py                                    # tests/clinic, minutes on one core
    python scripts/make_clinic.py --only overfitting,plateau         # those whose names begin so
    python scripts/make_clinic.py --spec scripts/clinic/cases_second.py --out tests/clinic_second
    python scripts/make_clinic.py --spec scripts/clinic_more/third.py --out tests/clinic_third       # fourth.py likewise
    python scripts/make_clinic.py --spec FILE.py --out FOLDER        # cases of your own: FILE.py has a list CASES

Every log is checked when it is made: a fault must show, where needed against the same training without it, and a sound run
must not show any. The exit code is 1 where one does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=HERE / "clinic" / "cases.py")
    parser.add_argument("--out", type=Path, default=HERE.parent / "tests" / "clinic")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(10)
    own = given.spec.resolve().parent != HERE / "clinic"
    name = "cases_of_ones_own" if own else f"clinic.{given.spec.stem}"
    spec = importlib.util.spec_from_file_location(name, given.spec)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from clinic.case import make_all

    raise SystemExit(0 if make_all(module.CASES, given.out, given.only) else 1)


if __name__ == "__main__":
    main()
