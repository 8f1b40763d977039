"""The real ``dwindle lab`` in a real browser: the page and the server are one, on a log and a study of the reader's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle.foreign import write
from dwindle.studies.store import Store

pytestmark = pytest.mark.browser
FRAMEWORKS = {"PyTorch": "torch", "optax": "optax", "Keras": "keras", "Hugging Face": "hf", "timm": "timm",
              "scikit-learn": "sklearn", "Composer": "composer"}  # fmt: skip
WAIT = 60_000  # milliseconds


def record(key: str, lam: float, loss: float) -> dict[str, Any]:
    return {
        "key": key, "stage": "sweep", "task": "mine", "plan": f"peak 0.1 | decoupled {lam}", "lam": lam, "peak": 0.1,
        "schedule": "constant", "batch_size": 32, "diverged": False, "stopped_at": None, "final": {"validation_loss": loss},
    }  # fmt: skip


def log_text(seed: int) -> str:
    step = np.arange(50, 5001, 50)
    loss = 2 + 6 * (1 + step / 300) ** -0.5 + 0.01 * np.random.default_rng(seed).standard_normal(len(step))
    return "step,lr,loss\n" + "".join(f"{s},0.001,{value:.6f}\n" for s, value in zip(step, loss, strict=True))


class Lab:
    def __init__(self, url: str, log: Path, store: Store) -> None:
        self.url, self.log, self.store = url, log, store


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("served")
    log = folder / "run1.csv"
    log.write_text(log_text(1))
    store = Store.open(folder / "study")
    store.add([record("a", 0.0, 0.5), record("b", 0.1, 0.4)])
    words = ["lab", "--port", "0", "--log", str(log), "--study", str(folder / "study")]
    process = subprocess.Popen([sys.executable, "-m", "dwindle", *words], stdout=subprocess.PIPE, text=True)
    try:
        yield Lab(process.stdout.readline().strip(), log, store)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        store.close()


@pytest.fixture
def opened(visit: Callable[..., Any], lab: Lab) -> Callable[..., Any]:
    """Return a function that opens a part of the page; any message, error or request elsewhere fails the test."""

    def go(part: str, **options: Any) -> Any:
        ours = (lab.url, "data:image/svg+xml,", f"blob:{lab.url}")
        return visit(f"{lab.url}#{part}", *ours, wait=WAIT, **options)

    return go


def test_code_of_every_framework_is_pythons(opened: Any) -> None:
    text = "peak 0.1 | warmup 3200ex, linear to 0 | l2 1e-4"
    page = opened("plan")
    page.get_by_label("tokens of a step").fill("640")
    said = page.get_by_label("examples of a step").evaluate(  # at once, before Python is asked what it would refuse too
        """(batch, text) => {
            const put = (node, value) => { node.value = value; node.dispatchEvent(new Event("input")); };
            put(document.querySelector("#plan-text"), text);
            const said = document.querySelector("#plan-said").innerText;
            put(batch, "32");
            return said;
        }""",
        text,
    )
    assert "batch_size" in said
    page.locator("#plan-python", has_text="Python reads the same plan and gives the same rates.").wait_for()
    run = dw.Horizon(steps=10_000, steps_per_epoch=500, batch_size=32, tokens_per_step=640)
    for said, name in FRAMEWORKS.items():
        page.get_by_role("tab", name=said).click()
        assert page.locator("#plan-code pre").inner_text().strip() == write(dw.parse(text), name, run).strip()
    assert page.url.endswith("&steps=10000&epoch=500&batch=32&tokens=640")


def test_the_log_loads_itself_and_gives_way_to_one_that_is_dropped(opened: Any) -> None:
    page = opened("log")
    page.locator("#log-said", has_text="run1.csv: 2 series by step").wait_for()
    page.locator("#log-found h3", has_text="What would come next").wait_for()
    page.evaluate(
        """(text) => { const held = new DataTransfer(); held.items.add(new File([text], "other.csv"));
        document.querySelector("#log-drop").dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true,
        cancelable: true })); }""",
        log_text(2),
    )
    page.locator("#log-said", has_text="other.csv: 2 series by step").wait_for()
    page.locator("#log-found", has_text="90 % between").wait_for()


def test_a_study_is_followed_and_the_focus_stays(opened: Any, lab: Lab) -> None:
    page = opened("study")
    page.locator(".card", has_text="running; 2 trials. Best score 0.4:").wait_for()
    page.locator(".card .tall").focus()
    lab.store.add([record("c", 1.0, 0.3)])
    page.locator(".card", has_text="running; 3 trials. Best score 0.3:").wait_for()
    assert page.locator(".card .tall tbody tr").count() == 3
    assert page.locator(".heat tbody tr").count() == 3
    assert page.evaluate("document.activeElement.className") == "scroll tall"
    page.locator(".card svg.picture-svg").focus()
    lab.store.add([record("d", 2.0, 0.6)])
    page.locator(".card", has_text="running; 4 trials.").wait_for()
    assert page.evaluate("document.activeElement.classList.contains('picture-svg')")
    along = page.locator(".card .axes text:not([x='48']):not(.axis-name)").all_text_contents()  # below the picture
    assert along == ["1", "2", "3", "4"]  # whole trials, each once
    lab.store.add([{"key": "e", "stage": "fit", "task": "mine", "plan": "peak 0.1 | decoupled 2.0"}])
    told = "4 trials. The winner: peak 0.1 | decoupled 2.0. Best of the sweep, from one seed: 0.3: peak 0.1 | decoupled 1.0"
    page.locator(".card", has_text=told).wait_for()
    assert page.locator(".card .tall tbody tr", has_text="done, the winner").count() == 1


def test_no_serious_fault_of_access_served(opened: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    ready = {"plan": "#plan-python:has-text('Python reads')", "log": "#log-found h3", "study": ".card .tall"}
    for part, there in ready.items():
        page = opened(part, bypass_csp=True)  # axe compiles its own code
        page.locator(there).first.wait_for()
        page.evaluate(source)
        found = page.evaluate("axe.run()")["violations"]
        assert [(f["id"], f["nodes"][0]["html"][:200]) for f in found if f["impact"] in ("serious", "critical")] == []


def test_it_opens_within_a_second(opened: Any, capsys: pytest.CaptureFixture) -> None:
    loads = [opened("fit").evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") for _ in range(3)]
    with capsys.disabled():
        print(f"\nthe served page loads in {', '.join(f'{load:.0f}' for load in loads)} ms")
    assert min(loads) < 1000  # the quickest of three: others may load the machine
