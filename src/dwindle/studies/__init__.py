"""The main job: data + model + a space of plans -> a winner with its evidence."""

from dwindle.studies.data import load
from dwindle.studies.dataset import Dataset
from dwindle.studies.executors import Here, Processes
from dwindle.studies.halving import Halving
from dwindle.studies.run import Progress, Study, study
from dwindle.studies.samplers import sampler
from dwindle.studies.space import Candidate, Family, Range, Space
from dwindle.studies.store import Store
from dwindle.studies.task import Task
from dwindle.studies.tasks import tasks_of
from dwindle.studies.trained import Trained
from dwindle.studies.trials import Result, Trials

__all__ = [
    "Candidate", "Dataset", "Family", "Halving", "Here", "Processes", "Progress", "Range", "Result", "Space", "Store", "Study",
    "Task", "Trained", "Trials", "load", "sampler", "study", "tasks_of",
]  # fmt: skip
