"""One self-contained page, or lines of terminal text, of a study, a forecast or an optimum; a plan as a picture."""

from dwindle.report.cells import encodable, sparkline
from dwindle.report.document import write_page
from dwindle.report.evidence import FORMAT
from dwindle.report.forecast_page import forecast_page
from dwindle.report.optimum_page import optimum_page
from dwindle.report.outlook import Choice, Law, Logged, Option, Outlook, Prospect, Rank
from dwindle.report.page import render, write
from dwindle.report.picture import plan_picture
from dwindle.report.terminal import summary
from dwindle.report.words import decimals, places

__all__ = [
    "FORMAT", "Choice", "Law", "Logged", "Option", "Outlook", "Prospect", "Rank", "decimals", "encodable", "forecast_page",
    "optimum_page", "places", "plan_picture", "render", "sparkline", "summary", "write", "write_page",
]  # fmt: skip
