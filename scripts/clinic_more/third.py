"""The cases of tests/clinic_third: other tasks, models, optimisers and tools again, made without knowing how the doctor works.

engine.py and fresh.py train, proofs.py checks each against a training without the fault, book.py writes the logs, third_*.py and
third_said.py say what is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import book
import clinic.case
import engine
from third_faulty import FAULTY
from third_said import SAID
from third_sound import SOUND

clinic.case.train, clinic.case.write = engine.train, book.write  # these trainings, these tools
CASES = [*FAULTY, *SOUND, *SAID]
