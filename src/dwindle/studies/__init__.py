"""The main job: data + model + a space of plans -> a winner with its evidence."""

from dwindle.studies.data import load
from dwindle.studies.dataset import Dataset
from dwindle.studies.executors import Here, Processes
from dwindle.studies.run import Progress, Study, study
from dwindle.studies.samplers import sampler
from dwindle.studies.space import Candidate, Family, Range, Space
from dwindle.studies.store import Store
from dwindle.studies.task import Task
from dwindle.studies.trials import Result, Trials

__all__ = [
    "Candidate", "Dataset", "Family", "Here", "Processes", "Progress", "Range", "Result", "Space", "Store", "Study", "Task",
    "Trials", "load", "sampler", "study",
]  # fmt: skip
