"""The lab's page in a real browser: its own arithmetic is the library's, it asks nothing of a network, and keys alone work it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import dwindle as dw
from dwindle.errors import DataError
from dwindle.lab import page, write
from dwindle.lab.images import images
from dwindle.report.document import hashed
from dwindle.ridge import path as ridge_path
from dwindle.units import Horizon
from lab_golden import network_row, plan_row, plan_rows, ridge_rows

PARTS = ("fit", "rattle", "learn", "plan", "log", "study")
PAGE = page()


# Without a browser


def test_one_file_that_says_by_hash_what_may_run() -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', PAGE)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.group(1).split(";"))
    scripts = re.findall(r"<script(?: id=\"engine\")?>(.*?)</script>", PAGE, re.DOTALL)
    assert rules["script-src"] == " ".join(map(hashed, scripts))
    assert len(scripts) == 2
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert not re.search(r"<[^>]*\s(?:on\w+|style)=", PAGE.partition("<script")[0]), "no inline handler or style"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", PAGE)
    assert len(PAGE.encode()) < 1_500_000


def test_token_is_in_the_data_of_a_served_page_only() -> None:
    def data(text: str) -> dict[str, Any]:
        found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
        assert found is not None
        return json.loads(found.group(1))

    assert "token" not in data(PAGE)
    hostile = "</script><b>&"
    served = page(token=hostile, title=hostile)
    assert data(served)["token"] == data(served)["title"] == hostile
    assert hostile not in served
    assert "connect-src 'self'" in served


def test_write_makes_one_file(tmp_path: Path) -> None:
    assert write(tmp_path / "lab.html").read_text(encoding="utf-8") == PAGE
    with pytest.raises(DataError, match="could not be written"):
        write(tmp_path / "none" / "lab.html")


# In a browser


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens the page at an address; the test fails on any message, error or request."""
    address = write(tmp_path / "lab.html").as_uri()

    def go(hash_: str = "", **options: Any) -> Any:
        return visit(f"{address}#{hash_}", address, "data:image/svg+xml,", "blob:", **options)

    return go


def near(got: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(got, float), np.asarray(wanted, float), rtol=tolerance, atol=tolerance * 1e-3)


READ_PLANS = """(rows) => rows.map(({ text, run, at }) => {
  try {
    const [plan, time] = [parsePlan(text), horizon(run.steps, run)];
    const ready = plan.resolve(time);
    const all = planCurves(plan, time, run.steps);
    const finite = (value) => (Number.isFinite(value) ? value : null);
    if (!at) return { said: String(plan) };
    const dose = at.map((step) => ready.dose(step));
    return { said: String(plan), lr: dose.map((one) => one.lr), shrink: dose.map((one) => 1 - one.share),
      l2: dose.map((one) => one.l2), left: [...at.map((step) => all.share_left[step]), all.left],
      tau: finite(plan.timescale(time)), half: finite(plan.halfLife(time)) };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { error: error.message, kind: error.kind };
  }
})"""


@pytest.mark.browser
def test_plans_are_read_as_python_reads_them(opened: Callable[..., Any]) -> None:
    rows = plan_rows()
    found = opened("plan").evaluate(READ_PLANS, rows)
    assert sum("error" not in row for row in rows) > 200
    assert sum("error" in row for row in rows) > 70
    for row, got in zip(rows, found, strict=True):
        if "error" in row:
            assert "error" in got, row["text"]
            if 'formula "step +"' in row["text"]:  # the reason is Python's own parser's
                continue
            assert (got["error"], got["kind"]) == (re.sub(r"(\d)\.0\b", r"\1", row["error"]), row["kind"])
            continue
        assert "error" not in got, (row["text"], got)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that change sign
            assert dw.parse(got["said"]) == dw.parse(row["said"])
        for name in ("lr", "shrink", "l2"):
            near(got[name], row[name])
        near(got["left"], row["left"], 1e-10)
        for name in ("tau", "half"):
            near([-1 if got[name] is None else got[name]], [-1 if row[name] is None else row[name]])


@pytest.mark.browser
def test_ridge_fits_are_those_of_python(opened: Callable[..., Any]) -> None:
    rows = ridge_rows()
    code = """(rows) => rows.map(({ x, y, lams }) => { const made = new Ridge(x, y);
      return lams.map((lam) => ({ ...made.at(lam), freedom: made.freedom(lam) })); })"""
    for row, got in zip(rows, opened().evaluate(code, rows), strict=True):
        for place in range(len(row["lams"])):
            near(got[place]["w"], row["w"][place], 1e-8)
            near(got[place]["b"], row["b"][place], 1e-8)
            near(got[place]["freedom"], row["freedom"][place], 1e-9)


@pytest.mark.browser
def test_valleys_descend_as_their_formulas_say(opened: Callable[..., Any]) -> None:
    code = """({ valley, noise, lrs, seeds }) => ({ runs: seeds.map((seed) => descend({ valley, noise, seed, lrs })),
      floor: VALLEYS[valley].floor(lrs[0], noise), start: VALLEYS[valley].start })"""
    browser_page = opened("rattle")
    lrs = [0.2] * 400
    # steep: w1 ← w1 - 2η·sign(w1), w2 ← (1 - η/2)·w2, from the same start; it ends in two values whose mean is the floor
    got = browser_page.evaluate(code, {"valley": "steep", "noise": 0, "lrs": lrs, "seeds": [1]})
    w = np.array(got["start"])
    losses = [2 * abs(w[0]) + w[1] ** 2 / 4]
    for lr in lrs:
        w = w - lr * np.array([2 * np.sign(w[0]), 0.5 * w[1]])
        losses.append(2 * abs(w[0]) + w[1] ** 2 / 4)
    near(got["runs"][0]["loss"], losses, 1e-10)
    tail = np.array(got["runs"][0]["loss"][-40:])
    assert len(set(tail.round(9))) == 2
    assert tail.mean() == pytest.approx(got["floor"], rel=1e-9)
    # noisy: the mean of many runs is the expectation that the page draws, and that ends at the floor
    got = browser_page.evaluate(code, {"valley": "noisy", "noise": 1.5, "lrs": lrs, "seeds": list(range(400))})
    mean = np.mean([run["loss"] for run in got["runs"]], axis=0)
    expected = np.array(got["runs"][0]["expected"])
    assert expected[-1] == pytest.approx(got["floor"], rel=1e-6)
    floor = sum(0.2 * 1.5**2 / (2 * (2 - 0.2 * h)) for h in (4, 0.5))
    assert got["floor"] == pytest.approx(floor, rel=1e-12)
    assert np.abs(mean[100:] / expected[100:] - 1).mean() < 0.1


@pytest.mark.browser
def test_network_learns_as_the_population_engine_does(opened: Callable[..., Any]) -> None:
    row = network_row()
    code = """(row) => {
      const made = new Training({ plan: row.plan, epochs: row.epochs, batch: row.batch, order: (epoch) => row.order[epoch],
        network: new Network(row.sizes, row.first), train: { images: row.x, labels: row.y },
        validation: { images: row.held, labels: row.answers } });
      while (!made.ended) made.nextEpoch(); return made.history; }"""
    history = opened().evaluate(code, row)
    near([seen["train"] for seen in history], row["train"], 1e-10)
    near([seen["validation"] for seen in history], row["validation"], 1e-10)
    assert history[-1]["norm"] == pytest.approx(row["norm"], rel=1e-10)


@pytest.mark.browser
def test_images_are_the_shipped_ones_halved(opened: Callable[..., Any]) -> None:
    wanted = images()["validation"]
    got = opened("learn").evaluate(
        "lab.views.learn.validation.images.map((image) => Array.from(image, (value) => Math.round(value * 255)))"
    )
    assert np.asarray(got, np.uint8).tobytes() == base64.b64decode(wanted["pixels"])


def until(browser_page: Any, said: str) -> None:
    """Wait until the expression holds; Playwright's own waiting needs eval, which the page's policy forbids."""
    ends = time.monotonic() + 30
    while not browser_page.evaluate(f"Boolean({said})"):
        assert time.monotonic() < ends, said
        browser_page.wait_for_timeout(30)


def told(browser_page: Any, part: str, name: str) -> str:
    return (
        browser_page.locator(
            f"#part-{part} .numbers div", has=browser_page.locator("dt", has_text=re.compile(f"^{re.escape(name)}"))
        )
        .locator("dd")
        .inner_text()
    )


def drag(browser_page: Any, part: str, label: str, value: float) -> None:
    browser_page.locator(f"#part-{part}").get_by_label(label, exact=False).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )
    browser_page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.browser
def test_dragging_lambda_gives_the_fit_of_python(opened: Callable[..., Any]) -> None:
    browser_page = opened("fit")
    wide = None
    for degree, power in ((12, -8.0), (12, -3.0), (5, 0.0)):
        drag(browser_page, "fit", "degree", degree)
        drag(browser_page, "fit", "λ, the weight decay", power)
        points = browser_page.evaluate("lab.views.fit.fit.points")
        x, y = np.array(points["x"]), np.array(points["y"])
        made = ridge_path(x[:, None] ** np.arange(1, degree + 1), y, lams=[10.0**power])
        w = np.ravel(made.coef(10.0**power))
        norm = float(told(browser_page, "fit", "length of the weights").replace("−", "-"))
        assert norm == pytest.approx(np.linalg.norm(w), rel=1e-3)
        fit = (
            y.mean()
            + (x[:, None] ** np.arange(1, degree + 1) - (x[:, None] ** np.arange(1, degree + 1)).mean(axis=0)) @ w
        )
        assert float(told(browser_page, "fit", "error on these points")) == pytest.approx(
            np.sqrt(((fit - y) ** 2).mean()), rel=2e-3
        )
        wide = norm if wide is None else wide
        assert norm <= wide
    browser_page.get_by_role("button", name="New points").click()
    browser_page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser_page.evaluate("lab.views.fit.fit.points.y[0]") != y[0]


@pytest.mark.browser
def test_a_constant_rate_rattles_and_a_decaying_one_falls(opened: Callable[..., Any]) -> None:
    browser_page = opened("rattle")
    assert told(browser_page, "rattle", "A: loss over").startswith("0.4, jumping between 0.06 and 0.74")
    assert float(told(browser_page, "rattle", "B: loss over").split()[0]) < 0.01
    browser_page.locator("#part-rattle").get_by_label("decay of run A").select_option("linear")
    browser_page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert float(told(browser_page, "rattle", "A: loss over").split()[0]) < 0.05
    browser_page.locator("#part-rattle").get_by_label("valley").select_option("noisy")
    drag(browser_page, "rattle", "η of run B", -1.0)
    wanted = sum(0.1 / (2 * (2 - 0.1 * h)) for h in (4, 0.5))
    assert float(told(browser_page, "rattle", "B: floor")) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.browser
def test_network_starts_pauses_and_comes_out_the_same_again(opened: Callable[..., Any]) -> None:
    browser_page = opened("learn")
    drag(browser_page, "learn", "epochs", 10)
    drag(browser_page, "learn", "images to learn from", 100)
    browser_page.wait_for_timeout(400)
    runs = []
    for _ in range(2):
        browser_page.locator("#part-learn button.primary").click()
        until(browser_page, "lab.views.learn.state === 'done'")
        runs.append(browser_page.evaluate("lab.views.learn.history"))
    assert len(runs[0]) == 11
    assert runs[0] == runs[1]
    assert runs[0][-1]["train"] < runs[0][0]["train"]
    drag(browser_page, "learn", "λ of the cost", 1.3)
    browser_page.wait_for_timeout(500)  # the run begins anew a moment after the hand rests
    until(
        browser_page,
        "lab.views.learn.state === 'done' && lab.views.learn.setting.lambda > 1 && lab.views.learn.history.length === 11",
    )
    assert browser_page.evaluate("lab.views.learn.history")[-1]["norm"] < runs[0][-1]["norm"]
    drag(browser_page, "learn", "epochs", 200)
    until(browser_page, "lab.views.learn.state === 'learning' && lab.views.learn.history.length > 3")
    browser_page.get_by_role("button", name="Pause").click()
    browser_page.wait_for_timeout(200)
    before = browser_page.evaluate("lab.views.learn.history.length")
    browser_page.wait_for_timeout(300)
    assert browser_page.evaluate("lab.views.learn.history.length") == before
    browser_page.get_by_role("button", name="Go on").click()
    until(browser_page, f"lab.views.learn.history.length > {before}")
    browser_page.get_by_role("button", name="Reset").click()
    until(browser_page, "lab.views.learn.history.length === 1")


@pytest.mark.browser
def test_network_learns_in_the_page_where_no_worker_may_run(opened: Callable[..., Any]) -> None:
    browser_page = opened("fit")
    browser_page.evaluate("() => { window.Worker = function () { throw new Error('refused'); }; }")
    browser_page.evaluate("location.hash = '#learn'")
    drag(browser_page, "learn", "epochs", 10)
    browser_page.wait_for_timeout(400)
    browser_page.locator("#part-learn button.primary").click()
    until(browser_page, "lab.views.learn.state === 'done'")
    assert browser_page.evaluate("lab.views.learn.history.length") == 11


@pytest.mark.browser
def test_text_and_sliders_of_a_plan_are_one(opened: Callable[..., Any]) -> None:
    browser_page = opened("plan")
    text = browser_page.locator("#plan-text")
    drag(browser_page, "plan", "λ, the weight decay", -2.0)
    drag(browser_page, "plan", "warm-up", 5)
    drag(browser_page, "plan", "end, of the peak", 0.25)
    drag(browser_page, "plan", "peak learning rate", -3.0)
    assert text.input_value() == "peak 1e-3 | warmup 5%, cosine to 25% | decoupled 0.01"
    text.fill("peak 0.1 | linear to 0 | l2 1e-4")
    part = browser_page.locator("#part-plan")
    assert part.get_by_label("peak learning rate").get_attribute("aria-valuetext") == "0.1"
    assert part.get_by_label("warm-up").get_attribute("aria-valuetext") == "0 %"
    wanted = plan_row(text.input_value(), Horizon(steps=10_000, steps_per_epoch=500))
    assert float(told(browser_page, "plan", "left of w(0)").split()[0]) == pytest.approx(
        100 * wanted["left"][-1], rel=1e-3
    )
    assert float(told(browser_page, "plan", "τ").split()[0].replace("e", "e")) == pytest.approx(wanted["tau"], rel=1e-3)
    text.fill("peak 0.1 | linnear to 0")
    said = browser_page.locator("#plan-said").inner_text()
    assert "did you mean 'linear'?" in said
    assert "at character 12" in said
    assert part.get_by_label("peak learning rate").is_disabled()
    text.fill("peak 0.1 | constant | l2 (linear to 0)")
    assert part.get_by_label("end, of the peak").is_disabled()
    assert part.get_by_label("λ, the weight decay").is_disabled()
    assert part.get_by_label("peak learning rate").is_enabled()


@pytest.mark.browser
def test_address_carries_the_plan(opened: Callable[..., Any]) -> None:
    text = 'peak 0.1 | step by 0.5 every 5ep | l2 1e-4 | mask name "é&#+%=" does not'
    browser_page = opened(f"plan={quote(text)}&steps=777&epoch=7")
    assert browser_page.locator("#plan-text").input_value() == text
    assert browser_page.locator("#plan-steps").input_value() == "777"
    again = opened(browser_page.url.partition("#")[2])
    assert again.locator("#plan-text").input_value() == text
    assert again.locator("#plan-epoch").input_value() == "7"
    hostile = opened("plan=" + quote("<img src=x onerror=alert(1)>"))
    assert hostile.locator("main img").count() == 0
    assert "at character 1" in hostile.locator("#plan-said").inner_text()


@pytest.mark.browser
def test_code_from_disk_reads_back_as_the_plan(opened: Callable[..., Any]) -> None:
    browser_page = opened("plan")
    text = 'peak 0.1 | step by 0.5 every 5ep | l2 1e-4 | mask name "it\'s é" does not'
    browser_page.locator("#plan-text").fill(text)
    for name in ("PyTorch", "optax", "Keras", "Hugging Face", "timm"):
        browser_page.get_by_role("tab", name=name).click()
        code = browser_page.locator("#plan-code pre").inner_text()
        compile(code, name, "exec")
        scope: dict[str, Any] = {"dw": dw}
        exec("\n".join(line for line in code.splitlines() if line.startswith(("plan =", "run ="))), scope)
        assert scope["plan"] == dw.parse(text)
        assert scope["run"] == Horizon(steps=10_000, steps_per_epoch=500)
    browser_page.get_by_role("tab", name="scikit-learn").click()
    words = shlex.split(browser_page.locator("#plan-code pre").inner_text())
    assert words[:2] == ["dwindle", "convert"]
    assert dw.parse(words[2]) == dw.parse(text)


@pytest.mark.browser
def test_log_is_read_in_the_page(opened: Callable[..., Any], tmp_path: Path) -> None:
    browser_page = opened("log")
    csv = tmp_path / "run.csv"
    csv.write_text('step,lr,train_loss,val_loss,"odd, ""name"""\n1,0.1,3.5,,1\n2,0.05,nan,3.0,2\n3,0.01,2.5,2.75,3\n')
    browser_page.locator("#log-file").set_input_files(csv)
    browser_page.locator("#part-log .picture").first.wait_for()
    series = browser_page.evaluate("lab.views.log.told")
    assert series["roles"] == {"lr": "lr", "validation loss": "val_loss", "training loss": "train_loss"}
    assert series["series"]["train_loss"] == {"step": [1, 3], "value": [3.5, 2.5]}
    assert series["series"]["val_loss"] == {"step": [2, 3], "value": [3.0, 2.75]}
    assert 'odd, "name"' in series["series"]
    assert "dwindle lab --log" in browser_page.locator("#log-found").inner_text()
    lines = tmp_path / "run.jsonl"
    lines.write_text('{"epoch": 1, "loss": 2.0}\nbroken\n{"epoch": 2, "loss": 1.5, "accuracy": 0.5}\n')
    browser_page.locator("#log-file").set_input_files(lines)
    browser_page.locator("#log-said", has_text="run.jsonl: 2 series by epoch").wait_for()
    assert "line 2 is not JSON" in browser_page.locator("#log-said").inner_text()
    bad = tmp_path / "bad.csv"
    bad.write_text("<img src=x onerror=alert(1)>")
    browser_page.locator("#log-file").set_input_files(bad)
    browser_page.locator("#log-said.bad").wait_for()
    assert browser_page.locator("main img").count() == 0


@pytest.mark.browser
def test_keys_alone_work_it(opened: Callable[..., Any]) -> None:
    browser_page = opened("fit")
    browser_page.keyboard.press("Tab")
    assert browser_page.evaluate("document.activeElement.className") == "skip"
    for _ in range(3):
        browser_page.keyboard.press("Tab")
    browser_page.keyboard.press("Enter")
    assert browser_page.url.endswith("#rattle")
    assert browser_page.locator("#part-rattle").is_visible()
    assert browser_page.locator('.tabs a[aria-current="page"]').inner_text() == "A loss that rattles"
    rate = browser_page.get_by_label("η of run A")
    rate.focus()
    before = rate.get_attribute("aria-valuetext")
    browser_page.keyboard.press("ArrowRight")
    assert rate.get_attribute("aria-valuetext") != before
    picture = browser_page.locator("#part-rattle .picture-svg").first
    picture.focus()
    browser_page.keyboard.press("Home")
    assert "epoch 0:" in picture.get_attribute("aria-label")
    browser_page.goto(browser_page.url.partition("#")[0] + "#plan")
    browser_page.get_by_role("tab", name="PyTorch").focus()
    browser_page.keyboard.press("ArrowRight")
    assert browser_page.evaluate("document.activeElement.textContent") == "optax"
    assert "dw.jax" in browser_page.locator("#plan-code pre").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_access(opened: Callable[..., Any], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    for part in PARTS:
        browser_page = opened(part, color_scheme=scheme, bypass_csp=True)  # axe compiles its own code
        browser_page.evaluate(source)
        found = browser_page.evaluate("axe.run()")["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], part


@pytest.mark.browser
@pytest.mark.parametrize("part", PARTS)
def test_fits_a_phone_and_opens_at_once(opened: Callable[..., Any], part: str) -> None:
    begun = time.perf_counter()
    browser_page = opened(part, viewport={"width": 390, "height": 844}, color_scheme="dark", reduced_motion="reduce")
    assert browser_page.locator(f"#part-{part} h1").is_visible()
    assert browser_page.locator("main > section:visible").count() == 1
    assert browser_page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") < 5000
    assert time.perf_counter() - begun < 20
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_theme_changes_and_without_scripts_it_says_so(opened: Callable[..., Any]) -> None:
    browser_page = opened("fit", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser_page.evaluate(ground)
    browser_page.locator("#theme").click()
    assert browser_page.evaluate(ground) != light
    assert opened("fit", java_script_enabled=False).get_by_text("it needs JavaScript").is_visible()


# Served: the questions that the page asks, and what it makes of the answers


@pytest.mark.browser
def test_served_page_asks_with_its_token_and_shows_the_answers(browser: Any) -> None:
    from dwindle.lab.plans import planned

    asked: list[tuple[str, str, dict[str, Any]]] = []
    trials = [
        {"lam": lam, "peak": peak, "schedule": "cosine to 0%", "score": 1 / (1 + lam + peak), "state": "done", "stopped_at": None}
        for lam in (0.0, 1.0) for peak in (0.1, 0.3)
    ]  # fmt: skip
    finding = {
        "code": "overfitting",
        "severity": "fault",
        "verdict": "The gap <b>opened</b>.",
        "evidence": {},
        "source": "derived",
        "subject": "",
        "remedy": {"says": "try λ = 0.3", "change": {"peak": ["0.1", "0.05"]}},
    }
    log = {"name": "run.csv", "series": {"loss": {"step": [1, 2], "value": [2.0, None]}}, "unit": "step",
           "roles": {"training loss": "loss"}, "notes": [], "findings": [finding], "forecast": None,
           "forecast_why": "the log has no learning rate."}  # fmt: skip

    def answer(route: Any) -> None:
        request = route.request
        if request.url.endswith("/"):
            route.fulfill(body=page(token="secret"), content_type="text/html; charset=utf-8")
            return
        call, body = request.url.rpartition("/")[2], json.loads(request.post_data)
        asked.append((call, request.headers["x-dwindle-token"], body))
        told_back: Any = {
            "log": log,
            "study": {
                "studies": [{"folder": "runs/x", "state": "running", "settings": [], "trials": trials, "best": None}]
            },
        }
        if call == "plan":
            try:
                told_back[call] = json.loads(
                    json.dumps(planned(**{"text" if name == "plan" else name: value for name, value in body.items()}))
                )
            except dw.errors.DwindleError as error:
                route.fulfill(status=422, json={"error": str(error)})
                return
        route.fulfill(json=told_back[call])

    context = browser.new_context()
    browser_page = context.new_page()
    troubles: list[str] = []
    browser_page.on("pageerror", lambda error: troubles.append(str(error)))
    browser_page.on("console", lambda message: None if "422" in message.text else troubles.append(message.text))
    browser_page.route("http://lab.test/**", answer)
    browser_page.goto("http://lab.test/#plan")
    browser_page.locator("#plan-python", has_text="Python reads the same plan").wait_for()
    assert "Written by dwindle for torch" in browser_page.locator("#plan-code pre").inner_text()
    browser_page.get_by_role("tab", name="Composer").click()
    assert asked[-1] == (
        "plan",
        "secret",
        {
            "plan": "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1",
            "steps": 10_000,
            "steps_per_epoch": 500,
            "batch_size": None,
            "tokens_per_step": None,
        },
    )
    browser_page.goto("http://lab.test/#log")
    browser_page.locator("#log-found", has_text="The gap <b>opened</b>.").wait_for()
    assert asked[-1][::2] == ("log", {})
    browser_page.locator("#log-file").set_input_files(
        {"name": "a.csv", "mimeType": "text/csv", "buffer": b"x" * 70_000}
    )
    until(browser_page, "document.querySelector('#log-said').textContent.startsWith('run.csv')")
    browser_page.wait_for_timeout(100)
    assert base64.b64decode(asked[-1][2]["data"]) == b"x" * 70_000
    browser_page.goto("http://lab.test/#study")
    browser_page.locator("#part-study .heat td").first.wait_for()
    assert browser_page.locator("#part-study .heat td.q0").inner_text() == "0.4348"
    assert browser_page.locator("#part-study .tall tbody tr").count() == 4
    count = sum(call == "study" for call, _, _ in asked)
    browser_page.wait_for_timeout(2500)
    assert sum(call == "study" for call, _, _ in asked) > count
    context.close()
    assert troubles == []
