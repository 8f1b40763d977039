"""Trainings with known faults in them, and sound ones: the cases that the doctor is judged on."""
