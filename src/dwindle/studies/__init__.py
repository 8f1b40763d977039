"""The main job: data + model + a space of plans -> a winner with its evidence."""

from dwindle.studies.data import load
from dwindle.studies.dataset import Dataset
from dwindle.studies.executors import Here, Processes
from dwindle.studies.run import Progress, Study, study
from dwindle.studies.space import Candidate, Space
from dwindle.studies.store import Store
from dwindle.studies.task import Task

__all__ = ["Candidate", "Dataset", "Here", "Processes", "Progress", "Space", "Store", "Study", "Task", "load", "study"]
