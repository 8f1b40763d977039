"""One self-contained page, or a few lines of terminal text, from the evidence of a study."""

from dwindle.report.evidence import FORMAT
from dwindle.report.page import render, write
from dwindle.report.terminal import summary

__all__ = ["FORMAT", "render", "summary", "write"]
