"""One self-contained page, or a few lines of terminal text, from the evidence of a study; a plan as a picture."""

from dwindle.report.evidence import FORMAT
from dwindle.report.page import render, write
from dwindle.report.picture import plan_picture
from dwindle.report.terminal import sparkline, summary

__all__ = ["FORMAT", "plan_picture", "render", "sparkline", "summary", "write"]
