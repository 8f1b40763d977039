"""The grammar of the one-line form, read by recursive descent::

    plan     = section {"|" section}         peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1
    section  = ("peak" | "lr") number | schedule | decay | "mask" rules | "layer-decay" number
             | "group" "name" "glob" "times" number
    schedule = sum ["for" time] {"," sum ["for" time]}            one after the other
    sum      = product {"+" product}         product = [number "*"] wrapped {"*" wrapped}
    wrapped  = (shape | "(" schedule ")") {"shift" | "stretch" | "clip" | "repeat" | "mirror" | "extend" ...}
    shape    = word {option value}           the words and options of every shape are in ``dwindle.text.words``
    time     = number [unit ["down" | "exact"]]             500st, 5ep, 20%, 1e9tok; a bare number counts steps
    decay    = convention (number | "(" schedule ")") ["cautious"] ["overshoot"]
    rules    = rule {"," rule}               rule = subject "pattern" ("decays" | "does not") | "standard"

Sections come in any order, each at most once but ``group``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dwindle.decay import CONVENTIONS, Decay
from dwindle.errors import ParseError, UnknownNameError
from dwindle.mask import SUBJECTS, Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import Join, Product, Scaled, Schedule, Sum
from dwindle.text.reader import Reader
from dwindle.text.words import ALONE, RAMP, SHAPES, SPELLED_OUT, WRAPS, Form

__all__ = ["parse", "parse_decay", "parse_mask", "parse_schedule"]

_DEEPEST = 50
_SECTIONS = ("peak", "lr", "mask", "group", "layer-decay")

T = TypeVar("T")


def parse(text: str) -> Plan:
    """Return the plan written in one line; the inverse of ``str(plan)``.

    Raises ParseError, UnknownNameError or InvalidValueError, each naming the place.

    >>> print(parse("lr 3e-4 | decoupled 1e-1 | warmup over 2 %, cosine to 0.1"))
    peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1
    """
    reader = Reader(text)
    found: dict[str, Any] = {}
    groups: list[Group] = []
    while not reader.ended or found:
        start = reader.at
        name, value = _section(reader)
        if name == "groups":
            groups.append(value)
        elif name in found:
            reader.fail(f"{name} is given twice; keep one", start)
        else:
            found[name] = value
        if reader.ended:
            break
        reader.expect("|", "sections are separated by |")
    if "peak" not in found:
        raise ParseError("a plan needs its peak learning rate; write 'peak 3e-4 | ...'.")
    return Plan(**found, groups=tuple(groups))


def parse_schedule(text: str) -> Schedule:
    """Return the schedule written in ``text``; the inverse of ``str(schedule)``.

    >>> print(parse_schedule("halve every 5 epochs"))
    step by 0.5 every 5ep
    """
    return _whole(text, _schedule)


def parse_decay(text: str) -> Decay:
    """Return the decay written in ``text``; the inverse of ``str(decay)``.

    >>> print(parse_decay("independent (linear to 50%) cautious"))
    independent (linear to 50%) cautious
    """
    return _whole(text, _decay)


def parse_mask(text: str) -> Mask:
    """Return the mask written in ``text``; the inverse of ``str(mask)``.

    >>> print(parse_mask('kind "Embedding" does not, standard'))
    kind "Embedding" does not, standard
    """
    return _whole(text, _mask)


def _whole(text: str, read: Callable[[Reader], T]) -> T:
    reader = Reader(text)
    value = read(reader)
    if not reader.ended:
        reader.fail(f"{reader.shown} was not expected here")
    return value


# --- schedules


def _schedule(reader: Reader) -> Schedule:
    start, height = reader.at, 0
    pieces: list[Schedule] = []
    lengths: list[Any] = []
    while True:
        pieces.append(_sum(reader))
        height = max(height, reader.height)
        lengths.append(reader.time() if reader.took("for") else None)
        if not reader.took(","):
            break
    if lengths == [None]:
        return pieces[0]
    return _grown(reader, start, height, Join, tuple(pieces), tuple(lengths))


def _sum(reader: Reader) -> Schedule:
    return _chain(reader, "+", _product, Sum)


def _product(reader: Reader) -> Schedule:
    return _chain(reader, "*", _scaled, Product)


def _chain(reader: Reader, sign: str, read: Callable[[Reader], Schedule], make: Callable[..., Schedule]) -> Schedule:
    start, values, height = reader.at, [read(reader)], reader.height
    while reader.took(sign):
        values.append(read(reader))
        height = max(height, reader.height)
    return values[0] if len(values) == 1 else _grown(reader, start, height, make, tuple(values))


def _scaled(reader: Reader) -> Schedule:
    start = reader.at
    if reader.kind != "number":
        return _wrapped(reader)
    factor = reader.factor()
    reader.expect("*", "a number multiplies a schedule, as in '0.5 * cosine', or is one as 'constant at 0.5'")
    value = _wrapped(reader)
    return _grown(reader, start, reader.height, Scaled, value, factor)


def _wrapped(reader: Reader) -> Schedule:
    start, value = reader.at, _leaf(reader)
    while word := reader.word if reader.word in WRAPS else "":
        reader.at += 1
        value = _grown(reader, start, reader.height, WRAPS[word].make, value, **_options(reader, word, WRAPS[word]))
    return value


def _leaf(reader: Reader) -> Schedule:
    start, word = reader.at, reader.word
    if reader.took("("):
        return _inside(reader)
    if word in ALONE:
        reader.at += 1
        reader.expect("(", f"{word} takes a schedule in parentheses")
        inside = _inside(reader)
        return _grown(reader, start, reader.height, ALONE[word], (inside,))
    if word == "custom":
        reader.fail(
            "a custom schedule is a function, and no function is read from text; write a formula of step, or a table"
        )
    if word in SPELLED_OUT:
        reader.fail(f"{word} is written by its parts, for instance '{SPELLED_OUT[word]}'", error=UnknownNameError)
    if word and word not in SHAPES:
        reader.unknown("is not a schedule", SHAPES)
    if not word:
        reader.fail(f"a schedule was expected; got {reader.shown}")
    reader.at += 1
    reader.height = 1
    form = RAMP if word == "exponential" and reader.word in ("to", "from", "over") else SHAPES[word]
    fixed = {"shape": word} if form is RAMP else {}
    return reader.build(start, form.make, **_options(reader, word, form), **fixed)


def _inside(reader: Reader) -> Schedule:
    """The schedule after an opening parenthesis, and the closing one."""
    reader.parentheses += 1
    if reader.parentheses > _DEEPEST:
        reader.fail(f"parentheses nest at most {_DEEPEST} deep")
    value = _schedule(reader)
    reader.expect(")", "a parenthesis is not closed")
    reader.parentheses -= 1
    return value


def _grown(
    reader: Reader, start: int, height: int, make: Callable[..., Schedule], /, *args: Any, **kwargs: Any
) -> Schedule:
    """Return the schedule that wraps others of ``height``."""
    if height >= _DEEPEST:
        reader.fail(f"schedules nest at most {_DEEPEST} deep", start)
    value = reader.build(start, make, *args, **kwargs)
    reader.height = height + 1
    return value


def _options(reader: Reader, word: str, form: Form) -> dict[str, Any]:
    values = dict(form.fixed)
    seen = set()
    if "" in form.options and (reader.kind in ("number", "string") or reader.tokens[reader.at][1] == "["):
        field, read = form.options[""]
        values[field] = read(reader)
        seen.add(field)
    while reader.word and reader.word in form.options:
        field, read = form.options[reader.word]
        if field in seen:
            reader.fail(f"{reader.shown} is given twice; keep one")
        reader.at += 1
        values[field] = read(reader)
        seen.add(field)
    if reader.word in _SECTIONS or reader.word in CONVENTIONS:
        reader.fail(f"{reader.shown} begins another section; put a | before it")
    if reader.word in SHAPES:
        reader.fail(f"{reader.shown} begins another schedule; put a comma before it")
    if reader.kind == "number":
        takes = ", ".join(filter(None, form.options))
        reader.fail(f"{reader.shown} was not expected; say which option of {word!r} it is: {takes}")
    if reader.word and reader.word not in WRAPS and reader.word != "for":
        reader.unknown(f"is not understood after {word!r}", [*form.options, *WRAPS, "for"])
    for need in form.needs:
        if form.options[need.partition(" ")[0]][0] not in values:
            reader.fail(f"{word} needs more; write for instance '{word} {' '.join(n.strip() for n in form.needs)}'")
    return values


# --- sections


def _section(reader: Reader) -> tuple[str, Any]:
    start, word = reader.at, reader.word
    if reader.took("peak", "lr"):
        return "peak", reader.number("peak")
    if word in CONVENTIONS:
        return "decay", _decay(reader)
    if reader.took("mask"):
        return "mask", _mask(reader)
    if reader.took("layer-decay"):
        return "layer_decay", reader.number("layer-decay")
    if reader.took("group"):
        name, match = reader.string(), reader.string()
        reader.expect("times", "a group says its learning rate as 'times 10'")
        return "groups", reader.build(start, Group, name, match, reader.number())
    if word in ("weight", "weight-decay", "wd"):
        reader.fail(f"{reader.shown} does not say which decay; name it: {', '.join(f'{c} 0.1' for c in CONVENTIONS)}")
    if word and word not in SHAPES and word not in ALONE and word not in SPELLED_OUT and word != "custom":
        reader.unknown("is not a schedule", [*SHAPES, *_SECTIONS, *CONVENTIONS])
    return "schedule", _schedule(reader)


def _decay(reader: Reader) -> Decay:
    start, kind = reader.at, CONVENTIONS.get(reader.word)
    if kind is None:
        reader.unknown("is not a convention of weight decay", CONVENTIONS)
    reader.at += 1
    if reader.word in SHAPES:
        reader.fail(f"a weight decay that is a schedule stands in parentheses; write '({reader.word} ...)'")
    rate = _inside(reader) if reader.took("(") else reader.number()
    flags: dict[str, bool] = {}
    while reader.word in ("cautious", "overshoot"):
        flag = {"cautious": "cautious", "overshoot": "allow_overshoot"}[reader.word]
        if flag in flags:
            reader.fail(f"{reader.shown} is given twice; keep one")
        flags[flag] = True
        reader.at += 1
    return reader.build(start, kind, rate, **flags)


def _mask(reader: Reader) -> Mask:
    rules: list[Rule] = []
    while True:
        if reader.took("standard"):
            rules += Mask().rules
        elif reader.took("everything"):
            rules += Mask.everything().rules
        elif not reader.took("nothing"):
            rules.append(_rule(reader))
        if not reader.took(","):
            return Mask(tuple(rules))


def _rule(reader: Reader) -> Rule:
    start, subject = reader.at, reader.word
    if subject not in SUBJECTS:
        reader.unknown("is not what a mask looks at", [*SUBJECTS, "standard", "everything", "nothing"])
    reader.at += 1
    pattern = reader.string()
    if reader.took("does"):
        reader.expect("not", "a rule ends in 'decays' or 'does not'")
        decays = False
    else:
        reader.expect("decays", "a rule ends in 'decays' or 'does not'")
        decays = True
    return reader.build(start, Rule, subject, pattern, decays)
