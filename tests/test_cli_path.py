"""``dwindle path``: the table and the choice are those of ridge.path on the columns of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV

from dwindle.ridge import path, standardised

WINE = str(Path(__file__).resolve().parents[1] / "examples" / "wine.csv")


@pytest.fixture
def run(dwindle: Any) -> Any:
    """Run a command of `dwindle` and return exit code, stdout and stderr; lines of text are at most 80 columns wide."""

    def command(*words: str) -> tuple[int, str, str]:
        code, out, err = dwindle(*words)
        assert all(len(line) <= 80 or "/" in line for line in out.splitlines() if not line.startswith("{")), out
        return code, out, err

    return command


@pytest.fixture
def diabetes(tmp_path: Path) -> tuple[str, Any, Any]:
    found = load_diabetes(scaled=False)
    rows = [",".join(map(repr, map(float, (*x, y)))) for x, y in zip(found.data, found.target, strict=True)]
    file = tmp_path / "diabetes.csv"
    file.write_text("\n".join([",".join((*found.feature_names, "progression")), *rows]))
    return str(file), found.data, found.target


def test_diabetes_gives_scikit_learns_choice(run: Any, diabetes: tuple[str, Any, Any]) -> None:
    file, X, y = diabetes
    code, out, _ = run("path", file, "--target", "progression", "--lams", "1e-2..1e4", "--points", "200", "--json")
    found = json.loads(out)
    theirs = RidgeCV(np.geomspace(1e-2, 1e4, 200)).fit((X - X.mean(0)) / X.std(0), y)
    assert code == 0
    assert found["best"] == pytest.approx(theirs.alpha_, rel=1e-12)
    np.testing.assert_allclose(found["coef"], theirs.coef_, rtol=1e-8)
    assert found["intercept"] == pytest.approx(theirs.intercept_)
    assert found["names"] == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    np.testing.assert_allclose(found["standardised"]["scale"], X.std(0))


def test_rows_held_out_and_one_choice_for_both_fit_into_80_columns(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5))
    y = x @ [1, 2, 0, 0, 0.5] + 0.3 * rng.standard_normal(60)
    np.savez(tmp_path / "held.npz", train_x=x[:40], train_y=y[:40], test_x=x[40:], test_y=y[40:])
    code, out, _ = run("path", str(tmp_path / "held.npz"), "--lams", "1000")
    assert code == 0
    assert [len(line) for line in out.splitlines() if line.endswith("  best=1 s.e.")] == [80]


def test_the_text_has_the_best_the_one_standard_error_and_names(run: Any, diabetes: tuple[str, Any, Any]) -> None:
    file, X, y = diabetes
    code, out, _ = run("path", file)
    made = path(standardised(X).X, y)
    assert code == 0
    assert "442 rows, 10 columns, target progression" in out
    for lam, mark in ((made.best, "best"), (made.one_standard_error, "1 s.e.")):
        (row,) = [line for line in out.splitlines() if line.endswith(mark)]
        at = list(made.lams).index(lam)
        shown = [float(word) for word in row.removesuffix(mark).split()]
        wanted = [lam, made.degrees[at], made.loo[at], made.training[at], made.penalty[at]]
        np.testing.assert_allclose(shown, wanted, rtol=2e-3)
    first = next(i for i, line in enumerate(out.splitlines()) if "per std.dev." in line) + 1
    names = [line.split()[0] for line in out.splitlines()[first : first + 10]]
    order = np.argsort(-np.abs(made.coef(made.best)))
    assert names == [load_diabetes().feature_names[i] for i in order]
    own = [float(line.split()[-1]) for line in out.splitlines()[first : first + 10]]
    np.testing.assert_allclose(own, (made.coef(made.best) / X.std(0))[order], rtol=1e-3)


def test_raw_takes_the_columns_as_they_are(run: Any, diabetes: tuple[str, Any, Any]) -> None:
    file, X, y = diabetes
    found = json.loads(run("path", file, "--raw", "--lams", "0,1,100", "--json")[1])
    assert found["standardised"] is None
    np.testing.assert_allclose(found["loo"], path(X, y, [0.0, 1.0, 100.0]).loo, rtol=1e-12)
    assert "own units" in run("path", file, "--raw")[1]


def test_wine_with_a_numeric_target_has_its_text_column_one_hot(run: Any) -> None:
    code, out, _ = run("path", WINE, "--target", "proline")
    assert code == 0
    assert "cultivar is text: 3 columns of 0 and 1" in out
    assert "cultivar=A" in out
    assert (
        "cultivar"
        not in json.loads(run("path", WINE, "--target", "proline", "--drop", "cultivar", "--json")[1])["names"]
    )


def test_npz_with_a_test_part_shows_its_error(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    y = X @ [1.0, 2.0, 0.0, 0.0] + rng.standard_normal(60)
    np.savez(tmp_path / "two.npz", x_train=X[:40], y_train=y[:40], x_test=X[40:], y_test=y[40:])
    found = json.loads(run("path", str(tmp_path / "two.npz"), "--lams", "0,1,10", "--json")[1])
    units = standardised(X[:40])
    made = path(units.X, y[:40], [0.0, 1.0, 10.0])
    np.testing.assert_allclose(found["test_error"], made.errors(units.like(X[40:]), y[40:]), rtol=1e-10)
    assert found["rows"] == 40
    assert "test" in run("path", str(tmp_path / "two.npz"))[1]


def test_whole_numbers_as_a_target_are_taken_as_numbers_and_said(run: Any, tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 2}" for i in range(20))
    (tmp_path / "t.tsv").write_text("a,b\n".replace(",", "\t") + rows.replace(",", "\t"))
    assert "2 different whole numbers" in " ".join(run("path", str(tmp_path / "t.tsv"))[1].split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((WINE,), "dwindle study"),
        ((WINE, "--target", "prolin"), "did you mean 'proline'"),
        (("nothing.csv",), "no such file"),
        (("table.xlsx",), "no table read here"),
        ((WINE, "--target", "proline", "--lams", "5..1"), "0 < low < high"),
        ((WINE, "--target", "proline", "--lams", "some"), "neither LOW..HIGH"),
        ((WINE, "--target", "proline", "--lams", "-1,2"), "lams must be zero or more"),
        ((WINE, "--target", "proline", "--points", "0"), "--points must be positive"),
        ((WINE, "--target", "proline", "--rows", "1"), "--rows must be at least 2"),
    ],
)
def test_bad_input_is_one_line(run: Any, words: tuple[str, ...], said: str) -> None:
    code, out, err = run("path", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
