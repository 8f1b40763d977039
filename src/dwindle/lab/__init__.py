"""The lab: one page that shows what the two decays do, live, and the server that answers it on this machine."""

from dwindle.lab.page import page, write

__all__ = ["page", "write"]
