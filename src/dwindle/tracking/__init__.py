"""Every finished training of a study as a run of its own in TensorBoard, Weights & Biases or MLflow."""

from dwindle.tracking.background import Tracking
from dwindle.tracking.trackers import TRACKERS, Tracker, tracker

__all__ = ["TRACKERS", "Tracker", "Tracking", "tracker"]
