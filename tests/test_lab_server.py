"""The lab's answers against the library, its rules one by one, and the command that serves it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle import findings, logs
from dwindle.cli import main
from dwindle.errors import DataError, InvalidValueError
from dwindle.foreign import write
from dwindle.lab.api import Given, answer
from dwindle.lab.door import Door
from dwindle.lab.head import head_refusal
from dwindle.lab.limits import Limits
from dwindle.lab.logged import harmless
from dwindle.lab.plans import FRAMEWORKS, LONGEST, planned
from dwindle.lab.refusal import Refusal, headers, policy
from dwindle.lab.server import address, door_of, listening
from dwindle.lab.studied import studied
from dwindle.lab.thinned import thinned
from dwindle.studies import Dataset, Task, load, study
from dwindle.studies.store import Store, record_in
from lab_process import LabProcess, lab_process, token_in

TEXT = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"


def asked(call: str, question: object, given: Given | None = None) -> tuple[int, dict]:
    status, told = answer(call, json.dumps(question).encode(), given or Given())
    return status, json.loads(told)


# --- a plan


def test_a_plan_is_told_as_the_library_has_it() -> None:
    status, told = asked("plan", {"plan": TEXT, "steps": 7000, "steps_per_epoch": 100})
    plan, run = dw.parse(TEXT), dw.Horizon(steps=7000, steps_per_epoch=100)
    at = np.array(told["step"])
    lrs = plan.lrs(run)
    assert status == 200
    assert 300 < len(at) <= 400
    assert told["lr"] == lrs[at].tolist()
    np.testing.assert_allclose(told["shrink"], 1.0 - 0.1 * lrs[at], rtol=1e-15)
    left = np.concatenate(([1.0], np.cumprod(1.0 - 0.1 * lrs)))
    np.testing.assert_allclose(told["share_left"], left[at], rtol=1e-12)
    np.testing.assert_allclose(told["share_left_at_end"], left[-1], rtol=1e-12)
    assert told["timescale"] == plan.timescale(run)._asdict()
    assert told["timescale"]["epochs"] == pytest.approx(1 / (3e-4 * 0.1) / 100)
    assert told["half_life"] == plan.half_life(run)._asdict()
    assert dw.parse(told["plan"]) == plan
    assert told["code"] == {framework: write(plan, framework, run) for framework in FRAMEWORKS}
    assert told["warnings"] == []


def test_the_peak_of_a_plan_is_always_among_the_points() -> None:
    told = planned("peak 0.1 | warmup 3, cosine to 0", 1_000_000)
    assert max(told["lr"]) == 0.1
    assert told["step"][0] == 0
    assert told["step"][-1] == 999_999


def test_what_a_framework_cannot_express_is_said_in_its_notes() -> None:
    told = planned('peak 0.1 | cosine | corrected 0.1 | group "head" "head.*" times 10', 100)
    for framework in FRAMEWORKS:
        assert framework in told["code"] or told["notes"][framework]
    inexact = [f for f, code in told["code"].items() if "# Note: " in code]
    assert all(told["notes"][framework] for framework in inexact)
    assert set(FRAMEWORKS) - set(told["code"])  # so that the reason is tested at all


def test_no_decay_lasts_for_ever_and_is_null_in_json() -> None:
    _, told = asked("plan", {"plan": "peak 0.1", "steps": 10})
    assert told["timescale"] == {"steps": None, "epochs": None, "tokens": None}
    assert told["share_left"] == [1.0] * 10


def test_the_warnings_of_a_plan_reach_the_page() -> None:
    _, told = asked("plan", {"plan": "peak 1 | decoupled 1.5", "steps": 10})
    assert len(told["warnings"]) == 1
    assert "change sign" in told["warnings"][0]


def test_examples_and_tokens_are_counted_where_their_worth_is_said() -> None:
    text = "peak 0.1 | warmup 3200ex, linear to 0 over 64000tok"
    worths = {"batch_size": 32, "tokens_per_step": 640, "steps_per_epoch": None}
    status, told = asked("plan", {"plan": text, "steps": 300, **worths})
    assert status == 200
    assert told["lr"] == dw.parse(text).lrs(dw.Horizon(steps=300, **worths)).tolist()
    assert told["lr"][100] == 0.1
    assert told["timescale"]["tokens"] is None  # no decay
    for lacking in worths.keys() - {"steps_per_epoch"}:
        status, told = asked("plan", {"plan": text, "steps": 300, **worths, lacking: None})
        assert (status, lacking in told["error"]) == (422, True)
    for bad in (0, -1, True, "32", 1.5):
        assert asked("plan", {"plan": text, "steps": 300, **worths, "batch_size": bad})[0] == 422


def test_a_run_that_is_too_long_is_refused_before_it_costs_anything() -> None:
    with pytest.raises(InvalidValueError, match="5,000,000"):
        planned(TEXT, LONGEST + 1)


@pytest.mark.parametrize("call", ["plan", "log", "study"])
def test_a_fault_of_ours_is_told_without_a_traceback(call: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fails(*_: object) -> dict:
        raise KeyError("secret")

    monkeypatch.setitem(answer.__globals__["CALLS"], call, fails)
    status, told = asked(call, {})
    assert (status, told) == (500, {"error": "dwindle failed at this, with KeyError; please report it."})
    assert "secret" in capsys.readouterr().err  # for whoever looks at the terminal


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"steps": NaN}', b'{"steps": 1e999}', b'{"steps": 1, "steps": 1}', b"\xff", b"[" * 100_000],
)
def test_what_is_not_the_json_asked_for_is_400(body: bytes) -> None:
    status, told = answer("plan", body, Given())
    assert status == 400
    assert json.loads(told)["error"].startswith("this is not the JSON that was expected: ")


def test_a_large_body_is_one_file_and_no_list() -> None:
    status, told = answer("log", b'{"name": [' + b"[]," * 30_000 + b"[]]}", Given())
    assert (status, "so many values" in json.loads(told)["error"]) == (400, True)


# --- a curve by few of its points


@pytest.mark.law
@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=3000), st.integers(4, 400))
def test_thinning_keeps_both_ends_and_every_extreme(values: list[float], most: int) -> None:
    array = np.array(values)
    kept = thinned(array, most)
    assert len(kept) <= max(most, 4)
    assert np.all(np.diff(kept) > 0)
    assert (kept[0], kept[-1]) == (0, len(array) - 1)
    finite = array[np.isfinite(array)]
    if len(finite):
        shown = array[kept]
        assert shown[np.isfinite(shown)].max() == finite.max()
        assert shown[np.isfinite(shown)].min() == finite.min()


# --- a log


def log_of(plan: str, steps: int = 10_000) -> str:
    at = np.arange(50, steps + 1, 50)
    lrs = dw.parse(plan).lrs(steps + 1)
    loss = 2.0 + 6.0 * (1.0 + at / 300.0) ** -0.5 + 0.01 * np.sin(at)
    rows = [f"{s},{lrs[s]:.17g},{value:.17g},{value + 0.1:.17g}" for s, value in zip(at, loss, strict=True)]
    return "\n".join(["step,lr,loss,val_loss", *rows, ""])


def sent(name: str, content: bytes) -> dict:
    return {"name": name, "data": base64.b64encode(content).decode()}


def test_a_log_is_told_as_the_library_reads_it(tmp_path: Path) -> None:
    text = log_of("peak 1e-3 | warmup 2%, cosine to 20%")
    path = tmp_path / "run1.csv"
    path.write_text(text)
    status, told = asked("log", sent("../run1.csv", text.encode()))
    run = logs.history(path)
    assert status == 200
    assert told["name"] == "run1.csv"
    assert told["roles"] == dict(run.roles)
    assert told["unit"] == "step"
    assert set(told["series"]) == set(run.series)
    for name, series in run.series.items():
        assert told["series"][name] == {"step": series.step.tolist(), "value": series.value.tolist()}
    assert told["findings"] == [finding.as_dict() for finding in findings.of_history(run)]
    assert told == asked("log", {}, Given(log=str(path)))[1]


def test_the_forecast_is_that_of_the_laws() -> None:
    text = log_of("peak 1e-3 | warmup 2%, cosine to 20%")
    _, told = asked("log", sent("run1.csv", text.encode()))
    step, lr, _, loss = np.loadtxt(text.splitlines()[1:], delimiter=",").T
    run = dw.laws.Run.logged(step, lr, loss)
    fitted = dw.laws.fit(run)
    held, falling = told["forecast"]["options"]
    more = np.full(len(run.lr) // 4, run.lr[-1])
    for option, tail in ((held, more), (falling, more * (1.0 - np.arange(len(more)) / len(more)))):
        expected = fitted.predict(np.concatenate((run.lr, tail)), at=option["step"])
        np.testing.assert_allclose(option["loss"], expected.loss, rtol=1e-9)
        np.testing.assert_allclose(option["upper"], expected.upper, rtol=1e-9)
        assert (option["supported"], option["why"]) == (expected.supported, expected.why)
    assert falling["loss"][-1] < held["loss"][-1]
    assert told["forecast"]["loss"] == "val_loss"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (log_of("peak 1e-3 | linear to 0"), "at its end"),
        ("step,loss\n1,3\n2,2\n3,1.5\n", "no learning rate"),
        ("epoch,loss,lr\n1,3,0.1\n2,2,0.1\n3,1.5,0.1\n", "steps of the optimiser"),
        ("step,lr,loss\n1,0.1,3\n2,0.1,2\n", "at least 4"),
        ("step,lr,loss\n1,0.1,3\n20000000,0.1,2\n", "10,000,000"),
    ],
)
def test_where_there_is_no_forecast_it_is_said_why(text: str, said: str) -> None:
    status, told = asked("log", sent("run.csv", text.encode()))
    assert status == 200
    assert told["forecast"] is None
    assert said in told["forecast_why"]


def test_without_a_log_there_is_nothing_to_draw() -> None:
    status, told = asked("log", {})
    assert (status, told["series"], told["forecast"]) == (200, {}, None)
    assert "--log" in told["forecast_why"]


def test_a_log_given_that_is_gone_is_said_so(tmp_path: Path) -> None:
    status, told = asked("log", {}, Given(log=str(tmp_path / "gone.csv")))
    assert status == 422
    assert "gone.csv" in told["error"]


def test_nan_in_a_log_is_null() -> None:
    _, told = asked("log", sent("run.csv", b"step,loss\n1,3\n2,nan\n3,inf\n4,2\n"))
    assert told["series"]["loss"]["value"] == [3.0, None, None, 2.0]


def test_a_log_of_very_many_columns_is_shown_in_part() -> None:
    columns = [f"c{i}" for i in range(500)]
    text = "\n".join([",".join(["step", *columns, "loss"]), *(",".join([str(s)] * 502) for s in range(1, 5)), ""])
    _, told = asked("log", sent("run.csv", text.encode()))
    assert len(told["series"]) == 100
    assert "loss" in told["series"]  # it has a role
    assert any("100 of them are shown" in note for note in told["notes"])


@given(st.text(min_size=1, max_size=300))
def test_a_file_is_never_named_by_its_sender(name: str) -> None:
    plain = harmless(name)
    assert plain
    assert plain.isascii()
    assert not set(plain) & set('/\\:\0 <>"|?*')
    assert plain[0] not in ".-"
    assert len(plain) <= 110


# --- a study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("study")
    tasks = Task(data=load("fashion"), hidden=(4,), epochs=1)
    best = study(
        tasks, "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0", seeds=2, folder=folder, halving=False
    )
    return folder, best.evidence


def test_a_study_is_told_as_its_evidence_has_it(finished: tuple[Path, dict]) -> None:
    folder, evidence = finished
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    status, told = asked("study", {}, Given((str(folder),)))
    (found,) = told["studies"]
    (setting,) = evidence["settings"]
    assert status == 200
    assert (found["state"], found["left_out"], found["settings"]) == ("done", 0, [setting["name"]])
    expected = {t["plan"]: t["final"]["validation_loss"] for t in setting["trials"]}
    assert {t["plan"]: t["score"] for t in found["trials"]} == expected
    assert found["best"]["score"] == min(expected.values())
    assert found["winner_of"] == {setting["name"]: setting["winner"]["plan"]}
    assert {t["state"] for t in found["trials"]} == {"done"}
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_study_is_read_while_it_is_written(finished: tuple[Path, dict], tmp_path: Path) -> None:
    lines = (finished[0] / "trials.jsonl").read_bytes().splitlines(keepends=True)
    trials = tmp_path / "trials.jsonl"
    assert studied(str(tmp_path))["state"] == "empty"
    for cut in (0, 1, 17, len(lines[3]) // 2, len(lines[3]) - 2):  # the fourth line, half written
        trials.write_bytes(b"".join(lines[:3]) + lines[3][:cut])
        found = studied(str(tmp_path))
        assert (len(found["trials"]), found["state"], found["left_out"]) == (3, "stopped", int(cut > 0))
        assert [*found["winner_of"].values()] == [None]
    (tmp_path / "lock").write_text(str(os.getpid()))
    assert studied(str(tmp_path))["state"] == "running"
    (tmp_path / "lock").write_text("999999999999999999999")
    assert studied(str(tmp_path))["state"] == "stopped"
    trials.write_bytes(
        b"\xff\x00 nonsense\n"
        + b"[" * 100_000
        + b"\n"
        + lines[0]
        + lines[0].replace(b"lam", b"mal")
        + b'{"format": 1}\n'
    )
    found = studied(str(tmp_path))
    assert (len(found["trials"]), found["left_out"]) == (1, 4)


def test_folds_of_a_plan_are_one_trial_and_whoever_was_let_go_has_no_score(tmp_path: Path) -> None:
    def record(key: str, plan: str, loss: float | None, **more: object) -> dict:
        return {
            "key": key, "stage": "sweep", "task": "t", "plan": plan, "lam": 0.0, "peak": 0.1, "schedule": "constant",
            "batch_size": 32,
            "diverged": False, "stopped_at": None, "final": {"validation_loss": loss}, **more,
        }  # fmt: skip

    store = Store.open(tmp_path)
    store.add(
        [
            record("a", "p", 0.5),
            record("b", "p", 0.7),
            record("c", "q", 0.1, stopped_at=2.5),
            record("d", "r", None, diverged=True),
        ]
    )
    store.close()
    found = studied(str(tmp_path))
    told = {
        trial["plan"]: (trial["score"], trial["state"], trial["stopped_at"], trial["trainings"])
        for trial in found["trials"]
    }
    assert told == {"p": (0.6, "done", None, 2), "q": (None, "let go", 2.5, 1), "r": (None, "diverged", None, 1)}
    assert found["best"]["plan"] == "p"


def test_of_several_studies_in_a_folder_the_last_is_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {f"{part}_x": draw.standard_normal((40, 3)) for part in ("train", "validation", "test")}
    arrays |= {f"{part}_y": draw.standard_normal(40) for part in ("train", "validation", "test")}
    task = Task(data=Dataset(**arrays, name="small", task="regression"), hidden=(3,), epochs=4)
    space, before = "lam 0 1 | peak 1e-3 1e-2 3e-2 | schedule constant; cosine to 0", 0  # trainings
    halved = {"folds": 3, "halving": True}  # the second and third fold are as without, and found
    changes = ({}, {"epochs": 8}, {"seed": 1}, halved, {"folds": 3})
    for change in changes:
        how = {"epochs": 4, "folds": 1, "halving": False, **change}
        changed = replace(task, epochs=how.pop("epochs"))
        (setting,) = study(changed, space, seeds=2, folder=tmp_path, **how).evidence["settings"]
        told = studied(str(tmp_path))
        wanted = {trial["plan"]: trial["final"]["validation_loss"] for trial in setting["trials"]}  # None: let go
        assert {trial["plan"]: trial["score"] for trial in told["trials"]} == pytest.approx(wanted)
        assert told["best"]["score"] == pytest.approx(min(loss for loss in wanted.values() if loss is not None))
        lines = [record_in(line) for line in (tmp_path / "trials.jsonl").read_bytes().splitlines()]
        trainings = sum(line["stage"] in ("sweep", "choice", "report") for line in lines)
        assert told["trainings"] == trainings - before
        assert {trial["trainings"] for trial in told["trials"] if trial["state"] == "done"} == {how["folds"]}
        before = before if change is halved else trainings


def test_a_training_done_again_in_other_company_counts_once(tmp_path: Path) -> None:
    def record(key: str, loss: float | None, stopped_at: float | None) -> dict:
        return {
            "key": key, "stage": "sweep", "task": "t", "study": "s", "division": "d", "plan": "p", "lam": 0.0, "peak": 0.1,
            "schedule": "constant", "batch_size": 32, "diverged": False, "stopped_at": stopped_at,
            "final": {"validation_loss": loss},
        }  # fmt: skip

    store = Store.open(tmp_path)
    store.add([record("a", None, 2.5), record("b", 0.5, None)])
    store.close()
    (trial,) = studied(str(tmp_path))["trials"]
    assert (trial["score"], trial["state"], trial["trainings"]) == (0.5, "done", 1)


def test_a_question_about_studies_has_no_keys() -> None:
    assert asked("study", {"a": 1}) == (422, {"error": "the question about studies has no keys; ask it with {}."})


# --- who may ask


@given(st.integers(0, 100), st.sampled_from([*range(9), 11, 12, *range(14, 32), 127]))
def test_a_control_character_anywhere_in_a_head_is_refused(at: int, code: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8721\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n"
    assert head_refusal(head) is None
    place = at % (len(head) - 4)
    assert head_refusal(head[:place] + bytes([code]) + head[place:]) is not None


@pytest.mark.law
@given(st.data())
def test_a_token_with_any_character_changed_is_none(data: st.DataObject) -> None:
    door = Door(8721)
    token = door.token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[at]))
    assert door.knows(token)
    assert not door.knows(token[:at] + other + token[at + 1 :])
    assert not door.knows(token[:at])
    assert token != door.token()


def refusal(door: Door, path: str = "/", query: str = "", method: str = "GET", **header: str) -> Refusal | None:
    told = {"host": f"127.0.0.1:{door.port}"} | {name.replace("_", "-"): value for name, value in header.items()}
    return door.refusal(method, path.encode(), query.encode(), told.get)


def test_the_names_of_this_machine_are_let_in_and_no_others() -> None:
    door = door_of("127.0.0.1", 8721)
    for host in ("127.0.0.1:8721", "localhost:8721", "LOCALHOST:8721", "[::1]:8721"):
        assert refusal(door, host=host) is None
        assert refusal(door, host=host, origin=f"http://{host.lower()}") is None
    for host in ("evil.example:8721", "192.168.1.5:8721", "127.0.0.1:80", "127.0.0.1", "", ":8721"):
        assert refusal(door, host=host).status == 403
    assert refusal(door_of("127.0.0.1", 80), host="localhost") is None  # as a browser writes it
    assert refusal(door_of("127.0.0.2", 8721), host="127.0.0.2:8721") is None


def test_a_question_has_one_address_and_one_form() -> None:
    door = Door(8721)
    good = {"content_type": "application/json", "x_dwindle_token": door.token(), "content_length": "2"}
    for kind in ("application/json", "Application/JSON; charset=UTF-8"):
        assert refusal(door, "/api/plan", method="POST", **{**good, "content_type": kind}) is None
    assert refusal(door, "/api/plan", "x=1", "POST", **good).status == 404
    assert refusal(door, "/api/plan", method="GET", **good)[::2] == (405, "POST")
    assert refusal(door, "/", method="POST", **good)[::2] == (405, "GET")
    assert refusal(door, "/api/plan", method="POST", **good, content_encoding="br").status == 415


def test_where_other_machines_get_in_the_page_needs_its_key() -> None:
    door = door_of("0.0.0.0", 8721)
    assert refusal(door, query=f"key={door.key}", host="192.168.1.5:8721") is None
    assert refusal(door, query=f"key={door.key}", host="[fe80::1]:8721") is None
    assert refusal(door, query=f"key={door.key}", host="rebound.example:8721").status == 403
    for query in ("", "key=", f"key={door.key}x", f"x=1&key={door.key}"):
        assert refusal(door, query=query).status == 403
    assert refusal(door, "/api/study", method="POST", content_type="application/json").status == 403
    assert door.key in address("0.0.0.0", door)
    assert refusal(door_of("192.0.2.7", 8721), query="key=", host="192.0.2.8:8721").status == 403


def test_header_and_page_have_one_policy() -> None:
    stated = "default-src 'none'; connect-src 'self'; script-src 'sha256-a+b='"
    page = f'<meta http-equiv="Content-Security-Policy" content="{stated}">'
    assert policy(page) == stated
    assert headers(page)["Content-Security-Policy"] == f"{policy(page)}; frame-ancestors 'none'"
    assert policy("<p>no policy") == "default-src 'none'; base-uri 'none'; form-action 'none'"


# --- the server


@pytest.fixture(scope="module")
def lab(finished: tuple[Path, dict]) -> LabProcess:
    with lab_process(studies=(str(finished[0]),)) as found:
        yield found


def test_the_page_comes_with_a_fresh_token_and_strict_headers(lab: LabProcess) -> None:
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n\r\n".encode()
    one, other = lab.raw(request), lab.raw(request)
    assert one.status == 200
    assert token_in(one.body.decode()) != token_in(other.body.decode())
    told = dict(line.split(": ", 1) for line in one.head.lower().split("\r\n")[1:])
    assert told["content-type"] == "text/html; charset=utf-8"
    assert told["content-security-policy"].endswith("frame-ancestors 'none'")
    assert told["x-content-type-options"] == "nosniff"
    assert told["x-frame-options"] == "deny"
    assert told["referrer-policy"] == "same-origin"
    assert told["cache-control"] == "no-store"
    assert told["cross-origin-resource-policy"] == told["cross-origin-opener-policy"] == "same-origin"
    assert not {"server", "date", "set-cookie", "access-control-allow-origin"} & set(told)


def test_every_question_is_answered(lab: LabProcess) -> None:
    plan = lab.call("/api/plan", {"plan": TEXT, "steps": 1000, "steps_per_epoch": None})
    assert plan.status == 200
    assert plan.json == json.loads(json.dumps(planned(TEXT, 1000)))
    log = lab.call("/api/log", sent("run.csv", log_of(TEXT).encode()))
    assert log.status == 200
    assert log.json["forecast"] is not None
    found = lab.call("/api/study", {})
    assert found.json["studies"][0]["state"] == "done"
    assert lab.raw(f"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n\r\n".encode()).status == 204


@pytest.mark.slow
def test_the_largest_log_is_taken(lab: LabProcess) -> None:
    rows = b"".join(b"%d,0.001,2.5\n" % step for step in range(1, 1_000_001))
    answer = lab.call("/api/log", sent("long.csv", b"step,lr,loss\n" + rows))
    assert answer.status == 200
    assert len(answer.json["series"]["loss"]["step"]) <= 400


@pytest.mark.skipif(os.name == "nt", reason="the system cannot limit it")
def test_a_worker_out_of_memory_is_replaced() -> None:
    with lab_process(Limits(workers=1, memory=250 * 2**20)) as small:
        refused = small.call("/api/plan", {"plan": TEXT, "steps": LONGEST})
        assert refused.status == 422
        assert "memory" in refused.json["error"]
        assert small.call("/api/plan", {"plan": TEXT, "steps": 100}).status == 200


# --- the command


def command(*words: str, before: str = "import sys") -> list[str]:
    return [sys.executable, "-c", f"{before}\nfrom dwindle.cli import main\nmain()", "lab", *words]


def ended(*words: str, before: str = "import sys") -> subprocess.CompletedProcess:
    return subprocess.run(command(*words, before=before), capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("sent_signal", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the workers in /proc")
def test_an_interrupt_ends_it_at_once_and_leaves_nothing(sent_signal: signal.Signals) -> None:
    process = subprocess.Popen(command("--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = process.stdout.readline().strip()
    port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/"))
    lab = LabProcess(process, port)
    assert lab.call("/api/plan", {"plan": TEXT, "steps": 100}).status == 200
    children = [int(c) for c in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    heavy = lab.question("/api/plan", {"plan": f"peak 0.1 | {'+'.join(300 * ['cosine'])}", "steps": LONGEST})
    with socket.create_connection(("127.0.0.1", port)) as busy, socket.create_connection(("127.0.0.1", port)):
        busy.sendall(heavy)
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(sent_signal)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begun < 10.0  # the plan takes longer
    assert process.returncode == (0 if sent_signal == signal.SIGINT else 143)
    assert err == ""
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ended("--port", str(port))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"port {port}" in done.stderr
        assert "--port" in done.stderr
        with pytest.raises(DataError, match="in use"):
            listening("127.0.0.1", port)
    with listening("127.0.0.1", 0) as one, listening("127.0.0.1", 0) as other:
        assert one.getsockname()[1] != other.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "70000"), "65535"),
        (("--port", "-1"), "65535"),
        (("--port", "x"), "port"),
        (("--host", "no.such.host.invalid"), "no address"),
        (("--host", "192.0.2.1", "--port", "0"), "cannot listen"),
        (("--study", "/no/such/folder"), "no such folder"),
        (("--log", "/no/such/file.csv"), "no such file"),
        (("--save", "/no/such/folder/lab.html"), "/no/such/folder/lab.html"),
        (("--save", "lab.html", "--study", "."), "--save"),
        (("--strange",), "--strange"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main(["lab", *words])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.count("\n") == 1
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("package", ["uvicorn", "starlette"])
def test_a_missing_extra_names_itself(package: str) -> None:
    done = ended("--port", "0", before=f"import sys; sys.modules[{package!r}] = None")
    assert done.returncode == 2
    assert (
        done.stderr
        == f"dwindle: {package} is not installed; this part of dwindle needs it. pip install 'dwindle[lab]'\n"
    )


def test_the_page_is_saved_without_the_extra(tmp_path: Path) -> None:
    done = ended(
        "--save",
        str(tmp_path / "lab.html"),
        before="import sys; sys.modules['uvicorn'] = sys.modules['starlette'] = None",
    )
    assert done.returncode == 0
    assert (tmp_path / "lab.html").read_text().lstrip().startswith("<")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_another_host_says_what_it_means_and_needs_the_key() -> None:
    process = subprocess.Popen(
        command("--host", "0.0.0.0", "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    url = process.stdout.readline().strip()
    port, key = int(url.split(":")[2].split("/")[0]), url.partition("?key=")[2]
    lab = LabProcess(process, port)
    host = f"Host: 127.0.0.1:{port}"
    assert lab.raw(f"GET / HTTP/1.1\r\n{host}\r\n\r\n".encode()).status == 403
    page = lab.raw(f"GET /?key={key} HTTP/1.1\r\n{host}\r\n\r\n".encode())
    assert page.status == 200
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "lets other machines in" in err
    assert "not encrypted" in err


def test_the_command_line_loads_no_server() -> None:
    code = "import dwindle.cli, sys; print(sorted({'uvicorn', 'starlette', 'dwindle.lab.app'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
