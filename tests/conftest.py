"""Hypothesis looks at the same examples every time, at new ones under `make laws` and `pytest --hypothesis-profile=default`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lawbook import (  # noqa: F401
    examples,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_runtest_call,
    pytest_terminal_summary,
)

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras' own default, TensorFlow, is not among what the tests install

settings.register_profile("same", derandomize=True)
settings.load_profile("same")

collect_ignore = ["ranks.py"]  # a script that tests start, one process a rank

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address in a context of its own and returns the page.

    Requests may go to what begins with one of ``allowed``. Any other request, message, error or dialog fails the test at its end.
    """
    troubles: list[str] = []
    contexts: list[Any] = []

    def go(address: str, *allowed: str, wait: int | None = None, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        if wait is not None:
            page.set_default_timeout(wait)
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith(allowed) else troubles.append(request.url))
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def dwindle(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command of `dwindle` and returns exit code, stdout and stderr; no traceback in it."""
    from dwindle.cli import main

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(left.value.code or 0), out, err

    return command
