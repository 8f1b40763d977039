"""Hypothesis looks at new examples on a developer's machine, and at the same ones every time in CI."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras' own default, TensorFlow, is not among what the tests install

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

collect_ignore = ["ranks.py"]  # a script that tests start, one process a rank
