"""``dwindle path``: what weight decay does to a linear fit of a table, at every λ, with exact leave-one-out errors."""

from __future__ import annotations

from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli.said import say, say_json
from dwindle.errors import DataError, InvalidValueError, ParseError, count

if TYPE_CHECKING:
    from dwindle.ridge import Path
    from dwindle.studies.data_prepare import Raw

__all__ = ["path"]

_WIDTH, _CURVE = 80, 64
_MOST_CATEGORIES = 100
_FEW = 20


class _Table(NamedTuple):
    """The columns [rows, p] and their names, the target, the rows held out if the file sets some apart, and notes."""

    X: Any
    y: Any
    names: tuple[str, ...]
    target: str
    held: str
    held_x: Any
    held_y: Any
    notes: tuple[str, ...]


def path(
    data: Annotated[File, typer.Argument(metavar="DATA", help="A table: .csv, .tsv, .parquet, or .npz with x and y.")],
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column to predict; by default the last.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column to leave out; may be repeated.")
    ] = None,
    lams: Annotated[
        str | None,
        typer.Option(metavar="LOW..HIGH", help="The λ to try: 1e-4..1e4, or a list 0,0.1,1; by default by the data."),
    ] = None,
    points: Annotated[int, typer.Option(help="How many λ between the two ends.")] = 1000,
    raw: Annotated[bool, typer.Option("--raw", help="Take the columns in their own units, not standardised.")] = False,
    rows: Annotated[int, typer.Option(help="Rows of the table.")] = 11,
    as_json: Annotated[bool, typer.Option("--json", help="Print every curve as JSON.")] = False,
) -> None:
    """Fit a table at every λ at once: C = (1/2n)·Σ(y - Xw - b)² + (λ/2n)·Σw², b not penalised; λ is Ridge's alpha.

    Each row's error is that of the fit without it, exactly. Columns are standardised first, since one λ penalises them all.
    """
    from dwindle.ridge import path as fitted
    from dwindle.ridge import standardised

    count("--rows", rows, low=2)
    wanted = _lams(lams, points)
    table = _table(data, target, drop or [])
    units = None if raw else standardised(table.X)
    found = fitted(table.X if units is None else units.X, table.y, wanted)
    held = None
    if table.held:
        held = found.errors(table.held_x if units is None else units.like(table.held_x), table.held_y)
    if as_json:
        say_json(_answer(data, table, found, units, held))
    else:
        say("\n".join(line.rstrip() for line in _said(data, table, found, units, held, rows)))


# --- what is read


def _lams(text: str | None, points: int) -> Any:
    import numpy as np

    many = count("--points", points)
    if text is None:
        return many
    try:
        if ".." in text:
            low, high = (float(part) for part in text.split("..", 1))
            if not 0.0 < low < high < float("inf"):
                raise InvalidValueError(
                    f"--lams {text[:60]}: the ends must be 0 < low < high. For λ = 0 give a list: 0,0.1,1."
                )
            return np.geomspace(low, high, max(2, many))
        return [float(part) for part in text.replace(",", " ").split()]
    except InvalidValueError:
        raise
    except ValueError as error:
        raise ParseError(
            f"--lams {text[:60]!r} is neither LOW..HIGH such as 1e-4..1e4 nor a list such as 0,0.1,1."
        ) from error


def _read(file: File, target: str | None, drop: list[str]) -> Raw:
    from dwindle.studies.data_arrays import read_npz
    from dwindle.studies.data_table import read_csv, read_parquet

    suffix = File(file.name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".tsv", ".tab", ".parquet", ".pq", ".npz") and not file.exists():
        raise DataError(f"{file}: no such file.")
    if suffix in (".csv", ".tsv", ".tab"):
        return read_csv(file, target=target, drop=drop)
    if suffix in (".parquet", ".pq"):
        return read_parquet(file, target=target, drop=drop)
    if suffix == ".npz":
        if target is not None or drop:
            raise InvalidValueError(
                f"--target and --drop name columns of a table; {file} holds x and y. Leave them out."
            )
        return read_npz(file)
    raise DataError(
        f"{file}: {suffix or 'a name without ending'} is no table read here; save it as .csv, .tsv, .parquet or .npz."
    )


def _table(file: File, target: str | None, drop: list[str]) -> _Table:
    import numpy as np

    raw = _read(file, target, drop)
    y, named = raw.target, target or "the last column"
    if y.dtype.kind in "OUS":
        raise DataError(
            f"{file}: the target {named} is text, and this is a fit of numbers by squared error. Name a column of numbers with "
            f"--target, or classify: dwindle study {file}" + (f" --target {target}" if target else "") + "."
        )
    numbers = raw.numbers.reshape(len(y), -1).astype(np.float64)
    names = list(raw.names) or [f"x{i + 1}" for i in range(numbers.shape[1])]
    columns, notes = [numbers], []
    for name, values in raw.texts:
        kinds = sorted(set(values.tolist()))
        if len(kinds) > _MOST_CATEGORIES:
            raise DataError(
                f"{file}: column {name!r} holds {len(kinds)} different texts; at most {_MOST_CATEGORIES} can be one-hot encoded. "
                f"Leave it out: --drop {name}."
            )
        columns.append((values[:, None] == np.array(kinds, dtype=object)).astype(np.float64))
        names += [f"{name}={each}" for each in kinds]
        notes.append(f"{name} is text: {len(kinds)} columns of 0 and 1")
    y = y.astype(np.float64)
    few = len(np.unique(y))
    if few <= _FEW and bool(np.all(y == np.floor(y))):
        notes.append(
            f"the target has {few} different whole numbers and is taken as a number; to classify them: dwindle study"
        )
    X, own = np.concatenate(columns, axis=1), raw.own
    kept = own.get("train", np.arange(len(y)))
    held = next((part for part in ("test", "validation") if part in own), "")
    beyond = own[held] if held else kept[:0]
    label = next((step[8:-1] for step in raw.provenance.steps if step.startswith("target '")), "y")
    return _Table(X[kept], y[kept], tuple(names), label, held, X[beyond], y[beyond], tuple(notes))


# --- what is said


def _answer(file: File, table: _Table, found: Path, units: Any, held: Any) -> dict[str, Any]:
    answer = {"data": str(file), "target": table.target, "names": list(table.names), "notes": list(table.notes)}
    scaled = None if units is None else {"mean": units.mean.tolist(), "scale": units.scale.tolist()}
    errors = {} if held is None else {f"{table.held}_error": held.tolist()}
    return answer | {"standardised": scaled} | found.as_dict() | errors


def _said(file: File, table: _Table, found: Path, units: Any, held: Any, rows: int) -> list[str]:
    import numpy as np

    from dwindle.report import sparkline

    lines = _wrapped(f"{file.name}: {found.rows:,} rows, {found.columns:,} columns, target {table.target}")
    lines += ["columns in their own units" if units is None else "columns standardised to mean 0, standard deviation 1"]
    lines += [line for note in table.notes for line in _wrapped(f"! {note}")]
    order = np.argsort(found.lams, kind="stable")
    lams, loo = found.lams[order], found.loo[order]
    marked = {found.best: "best", found.one_standard_error: "1 s.e."}
    if found.best == found.one_standard_error:
        marked = {found.best: "best=1 s.e."}
    shown = {int(i) for i in np.linspace(0, len(lams) - 1, min(rows, len(lams))).round()}
    shown |= {int(np.flatnonzero(lams == lam)[0]) for lam in marked}
    extra = f"{table.held:>11}"[:11] if held is not None else ""
    lines += ["", f"{'λ':>11}{'degrees':>9}{'loo error':>12}{'training':>12}{'Σw²':>12}{extra}"]
    for i in sorted(shown):
        at = order[i]
        more = "" if held is None else f"{held[at]:>11.5g}"
        mark = f"  {marked[lams[i]]}" if lams[i] in marked else ""
        lines.append(
            f"{lams[i]:>11.4g}{found.degrees[at]:>9.2f}{loo[i]:>12.6g}{found.training[at]:>12.6g}{found.penalty[at]:>12.5g}{more}{mark}"
        )
    finite = [float(part.mean()) for part in np.array_split(loo, min(_CURVE, len(loo)))]
    lines += ["", f"loo error  {sparkline(finite, min(finite), max(finite), _CURVE)}"]
    lines += [f"           over log λ, {min(finite):.4g} ▁ to █ {max(finite):.4g}", ""]
    lines += _wrapped(found.said)
    lines += _wrapped(f"Largest λ within one standard error of it, paired: {found.one_standard_error:.4g}.")
    return [*lines, "", *_coefficients(table, found, units)]


def _coefficients(table: _Table, found: Path, units: Any) -> list[str]:
    """Return the coefficients at the best λ and at the one-standard-error λ, the largest first."""
    import numpy as np

    from dwindle.report.cells import cut, flat, padded

    best, one = found.coef(found.best), found.coef(found.one_standard_error)
    head = "coefficient" if units is None else "per std.dev."
    lines = [f"{'':<30}{head:>14}{'1 s.e. λ':>14}" + ("" if units is None else f"{'per unit':>14}")]
    order = np.argsort(-np.abs(best), kind="stable")
    for i in order[:_FEW]:
        name = padded(cut(flat(table.names[i]), 28), 30)
        own = "" if units is None else f"{best[i] / units.scale[i]:>14.5g}"
        lines.append(f"{name}{best[i]:>14.5g}{one[i]:>14.5g}{own}")
    if len(order) > _FEW:
        lines.append(f"… and {len(order) - _FEW:,} more; --json prints them all")
    at = found.intercept_at(found.best)
    own = "" if units is None else f"{at - float((best / units.scale) @ units.mean):>14.5g}"
    return [*lines, f"{'intercept':<30}{at:>14.5g}{found.intercept_at(found.one_standard_error):>14.5g}{own}"]


def _wrapped(text: str) -> list[str]:
    from dwindle.report.cells import flat, wrapped

    return wrapped(flat(text), _WIDTH, "  ")
