"""A plan as text: the one-line form, TOML and JSON, and their files. The same words everywhere; never read by eval.

>>> plan = parse("peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1")
>>> from_toml(to_toml(plan)) == from_json(to_json(plan)) == plan
True
"""

from dwindle.text.files import FORMAT, from_json, from_line, from_toml, load, save, to_json, to_toml
from dwindle.text.grammar import parse, parse_decay, parse_mask, parse_schedule

__all__ = [
    "FORMAT",
    "from_json",
    "from_line",
    "from_toml",
    "load",
    "parse",
    "parse_decay",
    "parse_mask",
    "parse_schedule",
    "save",
    "to_json",
    "to_toml",
]
