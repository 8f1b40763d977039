"""Logs of training as people keep them: every column that holds numbers, found by its usual names in the usual formats."""

from dwindle.logs.history import ROLES, History, Series
from dwindle.logs.log import Columns, Log, kind, read

__all__ = ["ROLES", "Columns", "History", "Log", "Series", "kind", "read"]
