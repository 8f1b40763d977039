"""Fuzzing: whatever stands in a file or a text, dwindle reads it or refuses it. `python fuzz/run.py` says how."""
