"""One JSON document, read as it comes: a table of columns, a list of rows, a trainer's state."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from dwindle.logs.block import MOST_COLUMNS, Block, Cells
from dwindle.logs.json_rows import SLOW, JsonRows
from dwindle.logs.names import is_set_or_counted
from dwindle.logs.points import Points, last_of, mean_of
from dwindle.logs.tally import Tally

__all__ = ["JsonDocument"]

_DEEPEST = 8  # levels at which lists are looked for
_LARGEST = 2**23  # letters that one row may take
_BATCH = 4096  # rows a block
_SPACE = re.compile(r"\s*")
_FLOATS = msgspec.json.Decoder(list[float | None])
# Keys that say that their list is the log, and nothing of what is in it.
_WRAPS = frozenset(
    ("log_history", "history", "logs", "log", "metrics", "data", "rows", "records", "results", "scalars", "params")
)


class _BrokenError(Exception):
    """The text is not JSON from here on, or breaks off."""


class JsonDocument:
    """The log in a JSON document; ``has_state`` says whether it is a trainer's state."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.rows = JsonRows(tally)
        self.has_state = False
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted, self._patience = 1, 0, 0  # the line at ``_counted``; numbers to take one by one
        self._stream: Iterator[bytes] = iter(())
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._columns: dict[str, Points] = {}
        self._scalars: dict[str, Any] = {}  # of the document at hand; its row, if it has no list
        self._lists = False

    @property
    def names(self) -> list[str]:
        """Return the names by now."""
        return [*self._columns, *(name for name in self.rows.names if name not in self._columns)]

    def blocks(self, stream: Iterator[bytes]) -> Iterator[Block]:
        """Yield the rows; columns make one block at the end."""
        self._stream = stream
        try:
            while self._peek():  # one document after another
                line = self._here()
                yield from self._value("", 0)
                if self._scalars and not self._lists:
                    self.rows.row(self._scalars, line)
                    if len(self.rows) >= _BATCH:
                        yield self.rows.block()
                self._scalars = {}
        except _BrokenError as error:
            self.tally.add(f"{error}; what came before was read", self._here())
        except RecursionError:
            self.tally.add("nested too deep; what came before was read", self._here())
        if len(self.rows):
            yield self.rows.block()
        if self._columns:
            yield self._joined()

    # --- the text

    def _more(self) -> bool:
        """Read on, and drop what has been used; say whether there was more."""
        self._here()
        self._text, self._at, self._counted = self._text[self._at :], 0, 0
        wanted = 2 * len(self._text)
        parts = [self._text]
        held = len(self._text)
        while not self._ended and held <= wanted:
            data = next(self._stream, None)
            self._ended = data is None
            part = self._decoder.decode(data or b"", self._ended)
            parts.append(part)
            held += len(part)
        grown = held > len(self._text)
        self._text = "".join(parts)
        return grown

    def _peek(self) -> str:
        """Return the next letter that is no space, "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, letter: str) -> None:
        found = self._peek()
        if found != letter:
            raise _BrokenError(f"{letter} is missing" if found else "the JSON breaks off")
        self._at += 1

    def _decoded(self) -> Any:
        """Return the value that stands here, read to its end; a number must be followed by something."""
        self._peek()
        while True:
            try:
                value, end = SLOW.raw_decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > _LARGEST:
                    raise _BrokenError("a value that is no JSON, or too large") from None
                if not self._more():
                    raise _BrokenError("the JSON breaks off" if self._ends() else "a value that is no JSON") from None
                continue
            # a number may go on: of 2.5e-3 all of 2, 2.5 and 2.5e-3 are numbers
            if len(self._text) - end < 4 and not isinstance(value, dict | list | str) and not self._ended:
                self._more()
                continue
            if not isinstance(value, dict | list | str) and self._text[end : end + 1] in ("", ".", "e", "E", "+", "-"):
                raise _BrokenError("the JSON breaks off")
            self._at = end
            return value

    def _ends(self) -> bool:
        return len(self._text) - self._at < 64 or self._text[self._at] in '{["'

    # --- the structure

    def _value(self, path: str, depth: int) -> Iterator[Block]:
        letter = self._peek()
        if letter == "{" and depth < _DEEPEST:
            yield from self._object(path, depth)
        elif letter == "[" and depth < _DEEPEST:
            yield from self._array(path)
        else:
            self._decoded()

    def _object(self, path: str, depth: int) -> Iterator[Block]:
        self._take("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise _BrokenError("a name is missing" if self._peek() else "the JSON breaks off")
            key = self._decoded()
            self._take(":")
            if self._peek() in "[{" and self._peek():
                self.has_state |= key == "log_history"
                bare = not path and key.lower() in _WRAPS
                yield from self._value("" if bare else f"{path}/{key}" if path else str(key), depth + 1)
            else:
                value = self._decoded()
                if key.isascii() and key.isdigit() and len(key) < 16 and path:  # a column as pandas writes it, by index
                    if value is not None:
                        self._points(path, [[float(key), _float(value, path, self.tally, self._here())]])
                elif len(self._scalars) < MOST_COLUMNS:
                    self._scalars[f"{path}/{key}" if path else key] = value
            if self._peek() != ",":
                self._take("}")
                return
            self._at += 1

    def _array(self, path: str) -> Iterator[Block]:
        self._take("[")
        self._lists = True
        if self._peek() == "]":
            self._at += 1
            return
        row = 0
        while True:
            row += self._floats(path, row)
            if self._peek() != "]":
                line = self._here()
                value = self._decoded()
                if isinstance(value, dict):
                    self.rows.row(value, line, path)
                    if len(self.rows) >= _BATCH:
                        yield self.rows.block()
                elif isinstance(value, list):
                    self._pair(path, value)
                elif value is not None and not isinstance(value, bool):
                    self._points(path, [[float(row), _float(value, path, self.tally, self._here())]])
                row += 1
            if self._peek() != ",":
                self._take("]")
                return
            self._at += 1

    def _here(self) -> int:
        """Return the line that has been come to."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _floats(self, path: str, row: int) -> int:
        """Take as many plain numbers as stand here, but the last; return how many."""
        if self._patience:
            self._patience -= 1
            return 0
        end = self._text.find("]", self._at)
        end = self._text.rfind(",", self._at, len(self._text) if end < 0 else end)
        if end - self._at < 64 or self._text[self._at] in '{["':
            return 0
        part = self._text[self._at : end]
        if "{" in part or '"' in part or "[" in part:
            self._patience = _BATCH
            return 0
        try:
            found = np.array(_FLOATS.decode("[" + part + "]"), dtype=np.float64)
        except ValueError:
            self._patience = _BATCH
            return 0
        there = ~np.isnan(found)  # no NaN is written in what was decoded, so these are null
        self._points(path, np.stack([row + np.arange(len(found)), found], axis=1)[there])
        self._at = end + 1
        return len(found)

    # --- columns

    def _pair(self, path: str, value: list[Any]) -> None:
        """Take [step, value], or TensorBoard's [wall time, step, value]."""
        numbers = [_float(each) for each in value]
        if len(value) not in (2, 3) or not np.isfinite(numbers[-2]):
            self.tally.add("lists in lists were left out", self._here(), column=path)
            return
        self.rows.row({"step": numbers[-2], path or "Value": numbers[-1]}, self._here())

    def _points(self, path: str, points: Any) -> None:
        name, self._lists = path or "Value", True
        held = self._columns.get(name)
        if held is None:
            if len(self._columns) >= MOST_COLUMNS:
                self.tally.say(f"more than {MOST_COLUMNS:,} columns; those after were left out")
                return
            held = self._columns[name] = Points(last_of if is_set_or_counted(name) else mean_of)
        held.add(np.asarray(points, dtype=np.float64))

    def _joined(self) -> Block:
        """Return the columns as one block, a row for each index that any has."""
        names = _without_common(list(self._columns))
        points = [held.values() for held in self._columns.values()]
        thinned = max(held.stride for held in self._columns.values())
        if thinned > 1:
            self.tally.say(
                f"up to {thinned} neighbouring rows were merged into one, for there are more than can be kept"
            )
        rows = np.unique(np.concatenate([each[:, 0] for each in points]))
        columns = {}
        for name, each in zip(names, points, strict=True):
            columns[name] = Cells(np.searchsorted(rows, each[:, 0]), each[:, 1])
        return Block(
            len(rows), rows.astype(np.int64), [*names, *(n for n in self.rows.names if n not in names)], columns
        )


def _without_common(names: list[str]) -> list[str]:
    """Return the names without the key that all of them lie under."""
    first = {name.partition("/")[0] for name in names}
    if len(first) == 1 and all("/" in name for name in names):
        return [name.partition("/")[2] for name in names]
    return names


def _float(value: Any, path: str = "", tally: Tally | None = None, line: int = 0) -> float:
    """Return the number, NaN where there is none."""
    try:
        return float(value) if not isinstance(value, bool | dict | list) else np.nan
    except OverflowError:
        return np.inf if value > 0 else -np.inf
    except (TypeError, ValueError):
        if tally is not None and value is not None:
            tally.text(path, line, sample=str(value)[:60])
        return np.nan
