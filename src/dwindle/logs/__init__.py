"""Logs of training as people keep them: every column that holds numbers, found by its usual names in the usual formats."""

from dwindle.logs.history import ROLES, History, Series

# after the module of the same name, which it then stands before
from dwindle.logs.gather import history  # isort: skip
from dwindle.logs.log import Columns, Log, kind, read

__all__ = ["ROLES", "Columns", "History", "Log", "Series", "history", "kind", "read"]
