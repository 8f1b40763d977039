"""The cases of tests/clinic_fourth: logs of tasks that the other sets have not, made without knowing how the doctor works."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import book
import clinic.case
import engine
from fourth_faulty import FAULTY
from fourth_sound import SOUND

clinic.case.train, clinic.case.write = engine.train, book.write  # these trainings, these tools
CASES = [*FAULTY, *SOUND]
