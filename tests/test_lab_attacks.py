"""The lab under attack, over raw sockets to a real server: every request is refused, and the next good one is answered."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dwindle.lab.limits import Limits
from lab_process import Answer, LabProcess, lab_process, read

MARK = "zqxEVIL"  # never to be echoed
LIMITS = Limits(  # so long that whatever is refused soon was not refused because its time was up
    head_seconds=60.0, body_seconds=60.0, log_seconds=60.0, work_seconds=60.0, log_work_seconds=60.0, queue_seconds=60.0,
    connections=64,
)  # fmt: skip
HASTY = Limits(
    head_seconds=1.5, body_seconds=1.5, log_seconds=2.0, work_seconds=4.0, log_work_seconds=6.0, queue_seconds=2.0, connections=64
)  # fmt: skip
SOON = (
    20.0  # seconds, on a machine that others load: well below the limits of the patient, well above those of the hasty
)
PLAN = {"plan": "peak 0.1 | cosine to 0 | decoupled 0.1", "steps": 100, "steps_per_epoch": None}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabProcess]:
    with lab_process(LIMITS) as found:
        assert found.call("/api/plan", PLAN).status == 200
        yield found


@pytest.fixture(scope="module")
def hasty() -> Iterator[LabProcess]:
    with lab_process(HASTY) as found:
        recovers(found)
        yield found


def recovers(lab: LabProcess) -> None:
    """A good plan is answered, where a worker may have to be started for it first."""
    ends = time.monotonic() + 3 * SOON
    while lab.call("/api/plan", PLAN).status != 200:
        assert time.monotonic() < ends


def serves(lab: LabProcess) -> None:
    """A good request is answered soon."""
    begun = time.monotonic()
    assert lab.call("/api/study", {}).json == {"studies": []}
    assert time.monotonic() - begun < SOON


def refused(answer: Answer, *, closed: bool = True) -> None:
    assert 400 <= answer.status < 500 or (closed and answer.status == 0), answer
    whole = (answer.head + answer.body.decode("latin-1")).lower()
    for leak in (
        MARK.lower(),
        "access-control",
        "traceback",
        "uvicorn",
        "starlette",
        "python",
        "server:",
        "set-cookie",
    ):
        assert leak not in whole
    if answer.body:  # there is none to HEAD
        assert set(answer.json) == {"error"}
        assert "\n" not in answer.json["error"]
        assert "nosniff" in whole
        assert "default-src 'none'" in whole


def get(path: str = "/", *headers: str, host: str | None = "127.0.0.1:{port}", line: str | None = None) -> str:
    """A request in which {port} stands for the server's."""
    first = line or f"GET {path} HTTP/1.1"
    return "\r\n".join([first, *([] if host is None else [f"Host: {host}"]), *headers, "", ""])


HEADS = {
    # Host: DNS rebinding
    "foreign host": get(host=f"{MARK}.example"),
    "foreign host with our port": get(host=MARK + ".example:{port}"),
    "no host": get(host=None),
    "no host in HTTP/1.0": get(host=None, line="GET / HTTP/1.0"),
    "empty host": get(host=""),
    "two hosts, ours first": get("/", f"Host: {MARK}.example"),
    "two equal hosts": get("/", "Host: 127.0.0.1:{port}"),
    "host of another port": get(host="127.0.0.1:1"),
    "host without port": get(host="127.0.0.1"),
    "host with a tail": get(host="127.0.0.1:{port}." + MARK),
    "host that begins like ours": get(host="127.0.0.1." + MARK + ".example:{port}"),
    "host that ends like ours": get(host=MARK + ".localhost:{port}"),
    "host as a number": get(host="2130706433:{port}"),
    "host in octal": get(host="0177.0.0.1:{port}"),
    "host with a user": get(host=MARK + "@127.0.0.1:{port}"),
    "host list": get(host="127.0.0.1:{port}, " + MARK),
    "host any": get(host="0.0.0.0:{port}"),
    "absolute form of another": get("http://" + MARK + ".example/"),
    "absolute form of ours": get("http://127.0.0.1:{port}/"),
    "authority form": get(line="CONNECT " + MARK + ".example:443 HTTP/1.1"),
    "asterisk form": get(line="OPTIONS * HTTP/1.1"),
    # other sites
    "foreign origin": get("/", "Origin: https://" + MARK + ".example"),
    "null origin": get("/", "Origin: null"),
    "origin of another port": get("/", "Origin: http://127.0.0.1:1"),
    "origin by https": get("/", "Origin: https://127.0.0.1:{port}"),
    "origin of the other name": get("/", "Origin: http://localhost:{port}"),
    "two origins": get("/", "Origin: http://127.0.0.1:{port}", "Origin: null"),
    "cross-site": get("/", "Sec-Fetch-Site: cross-site"),
    "same-site": get("/", "Sec-Fetch-Site: same-site"),
    "preflight": get("/api/plan", "Origin: https://" + MARK + ".example", "Access-Control-Request-Method: POST",
                     line="OPTIONS /api/plan HTTP/1.1"),
    "preflight from here": get("/", "Origin: http://127.0.0.1:{port}", "Access-Control-Request-Headers: x-dwindle-token",
                               line="OPTIONS /api/log HTTP/1.1"),
    "preflight of a private network": get("/", "Access-Control-Request-Private-Network: true", line="OPTIONS / HTTP/1.1"),
    # paths
    **{f"path {path[:40]}": get(path) for path in (
        "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "/%2e", "/%2f", "//", "//" + MARK, "/./",
        "/%00", "/\\..\\..\\windows\\win.ini", "/..%5c..%5cboot.ini", "/%c0%ae%c0%ae/etc/passwd", "/etc/passwd", "/file:///etc/passwd",
        "/CON", "/aux.html",
        "/dev/zero", "/proc/self/environ", "/C:/Windows", "/.git/config", "/assets/", "/index.html",
        "/" + MARK,
        "/?" + MARK, "/api", "/api/", "/api/plan/", "/api/plan%00", "/api/plan?x=1", "/API/PLAN", "/api//plan", "/api/plan;x",
        "/" + 5000 * "a", "/" + 12_000 * "../", "/%", "/%zz", "/favicon.ico?" + MARK,
    )},
    # methods and protocols
    **{f"method {method}": get(line=f"{method} / HTTP/1.1") for method in (
        "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "POST", "PROPFIND", "get", "G\x00T", "M" * 50, MARK,
    )},
    "GET of a call": get("/api/plan"),
    "HTTP/0.9": "GET /\r\n\r\n",
    "HTTP/2.0": get(line="GET / HTTP/2.0"),
    "HTTP/1.2": get(line="GET / HTTP/1.2"),
    "HTTP/9": get(line="GET / HTTP/9"),
    "preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c": get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "websocket": get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + 100 * "\x00" + "\r\n\r\n",
    "noise": "\xff\xfe\x00" + MARK + "\r\n\r\n",
    "empty lines": "\r\n\r\n\r\n\r\n",
    "two spaces": get(line="GET  / HTTP/1.1"),
    "tab": get(line="GET\t/\tHTTP/1.1"),
    "bare LF": get().replace("\r\n", "\n") + "\r\n\r\n",
    "bare LF in a field": get("/", "X: a\nOrigin: null"),
    "bare CR in a field": get("/", "X: a\rOrigin: null"),
    "NUL in a field": get("/", "X: a\x00b"),
    "folded field": get("/", "X: a", " b: c"),
    "folded host": get(host="127.0.0.1:{port}\r\n " + MARK),
    "space before the colon": get("/", "Origin : null"),
    "field without a name": get("/", ": x"),
    "field without a colon": get("/", MARK),
    "field with a bad name": get("/", "X(y): z"),
    "long field": get("/", "X: " + 20_000 * "a"),
    "many fields": get("/", *(f"X{i}: a" for i in range(500))),
    "body of a GET": get("/", "Content-Length: 5") + "hello",
    "chunked GET": get("/", "Transfer-Encoding: chunked") + "0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_refused(lab: LabProcess, name: str) -> None:
    answer = lab.raw(HEADS[name].replace("{port}", str(lab.port)).encode("latin-1"))
    refused(answer)
    assert answer.status != 408, "it was not understood before its time was up"
    serves(lab)


def nested(depth: int) -> bytes:
    return b'{"plan": ' + depth * b"[" + depth * b"]" + b"}"


GOOD = json.dumps(PLAN).encode()
HOSTILE = (
    "", "peak", "peak 1e999", "peak nan", "peak -1", f"peak 0.1 | formula \"__import__('os').system('{MARK}')\"",
    'peak 0.1 | formula "9**9**9**9"', 'peak 0.1 | formula "step.__class__"', 'peak 0.1 | formula "().__class__.__bases__"',
    'peak 0.1 | formula "' + 3000 * "(" + "step" + 3000 * ")" + '"', 'peak 0.1 | formula "exec(1)"', "peak 0.1 | " + 60 * "(",
    "peak 0.1 | cosine " + 60 * "stretch by 2 ", "peak 0.1 | custom", "<script>alert(1)</script>", "peak 0.1\x00", "\ud800",
    "peak 0.1 | " + 30_000 * "x", 'peak 0.1 | mask regex "(a+)+$" decays, ' + 100 * "|", "peak 0.1 | table [" + 9000 * "1,",
    "peak 0.1 | decoupled 1e308", "peak 0.1 | step by 0.5 every 0", "peak 0.1 | cosine over 1e400st", "peak 1 | decoupled 30",
)  # fmt: skip

# What is sent to /api/plan beside good headers: the body, and the headers that are other than good.
BODIES: dict[str, tuple[bytes, dict[str, str | None]]] = {
    "no token": (GOOD, {"X_Dwindle_Token": None}),
    "empty token": (GOOD, {"X_Dwindle_Token": ""}),
    "wrong token": (GOOD, {"X_Dwindle_Token": 96 * "0"}),
    "token of letters outside ASCII": (GOOD, {"X_Dwindle_Token": 96 * "\xe9"}),
    "long token": (GOOD, {"X_Dwindle_Token": 5000 * "a"}),
    "form": (GOOD, {"Content_Type": "application/x-www-form-urlencoded"}),
    "plain text": (GOOD, {"Content_Type": "text/plain"}),
    "multipart": (GOOD, {"Content_Type": "multipart/form-data; boundary=x"}),
    "no content type": (GOOD, {"Content_Type": None}),
    "nearly JSON's type": (GOOD, {"Content_Type": "application/jsonp"}),
    "two types in one": (GOOD, {"Content_Type": "application/json, text/plain"}),
    "other charset": (GOOD, {"Content_Type": "application/json; charset=utf-7"}),
    "cross-site with token": (GOOD, {"Sec_Fetch_Site": "cross-site"}),
    "foreign origin with token": (GOOD, {"Origin": "https://" + MARK}),
    "null origin with token": (GOOD, {"Origin": "null"}),
    "foreign host with token": (GOOD, {"Host": MARK + ".example"}),
    "gzip that is none": (GOOD, {"Content_Encoding": "gzip"}),
    "gzip": (gzip.compress(b"{}"), {"Content_Encoding": "gzip"}),
    "gzip bomb": (gzip.compress(bytes(10_000_000)), {"Content_Encoding": "gzip"}),
    "gzip unsaid": (gzip.compress(b"{}"), {}),
    "no length": (GOOD, {"Content_Length": None}),
    "negative length": (GOOD, {"Content_Length": "-1"}),
    "signed length": (GOOD, {"Content_Length": f"+{len(GOOD)}"}),
    "length in hexadecimal": (GOOD, {"Content_Length": hex(len(GOOD))}),
    "length as a list": (GOOD, {"Content_Length": f"{len(GOOD)}, {len(GOOD)}"}),
    "length with a space": (GOOD, {"Content_Length": "2 2"}),
    "length beyond any": (GOOD, {"Content_Length": 40 * "9"}),
    "length of a terabyte": (GOOD, {"Content_Length": "1000000000000"}),
    "length beyond the limit": (GOOD, {"Content_Length": "65537"}),
    "length shorter than the body": (json.dumps(PLAN).encode(), {"Content_Length": "7"}),
    "chunked": (b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), {"Content_Length": None, "Transfer_Encoding": "chunked"}),
    "chunked bomb": (b"1\r\n{\r\n" * 100_000, {"Content_Length": None, "Transfer_Encoding": "chunked"}),
    "chunk that is too long": (b"FFFFFFFFFFFFFFFF\r\n", {"Content_Length": None, "Transfer_Encoding": "chunked"}),
    "length and chunks": (b"0\r\n\r\nGET /" + MARK.encode(), {"Transfer_Encoding": "chunked"}),
    "chunks in disguise": (b"0\r\n\r\n", {"Transfer_Encoding": "xchunked"}),
    "chunks, identity": (b"0\r\n\r\n", {"Transfer_Encoding": "chunked, identity"}),
    "gzip, chunks": (b"0\r\n\r\n", {"Transfer_Encoding": "gzip, chunked"}),
    "no JSON": (MARK.encode(), {}),
    "empty body": (b"", {}),
    "half of JSON": (json.dumps(PLAN).encode()[:-5], {}),
    "JSON and more": (json.dumps(PLAN).encode() + b"{}", {}),
    "array": (b"[]", {}),
    "text": (b'"plan"', {}),
    "null": (b"null", {}),
    "number": (b"1", {}),
    "not UTF-8": (b'{"plan": "\xff\xfe"}', {}),
    "UTF-16": (json.dumps(PLAN).encode("utf-16"), {}),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(PLAN).encode(), {}),
    "deep": (nested(50), {}),
    "deeper": (nested(30_000), {}),
    "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {}),
    "NaN": (b'{"plan": "peak 0.1", "steps": NaN}', {}),
    "Infinity": (b'{"plan": "peak 0.1", "steps": -Infinity}', {}),
    "1e999": (b'{"plan": "peak 0.1", "steps": 1e999}', {}),
    "long number": (b'{"plan": "peak 0.1", "steps": ' + 60_000 * b"9" + b"}", {}),
    "key twice": (b'{"plan": "peak 0.1", "steps": 10, "steps": 10}', {}),
    "unknown key": (b'{"plan": "peak 0.1", "steps": 10, "__proto__": {}}', {}),
    "no plan": (b'{"steps": 10}', {}),
    "no steps": (b'{"plan": "peak 0.1"}', {}),
    **{
        f"plan {value}": (b'{"plan": %s, "steps": 10}' % value.encode(), {})
        for value in ("null", "1", "true", "[]", "{}", '["peak 0.1"]')
    },
    **{
        f"steps {value}": (b'{"plan": "peak 0.1", "steps": %s}' % value.encode(), {})
        for value in ("null", '"10"', "true", "[]", "{}", "1.5", "10.0", "0", "-1", "1" + 18 * "0", "1" + 300 * "0", "5000001")
    },
    **{
        f"{name} {value}": (b'{"plan": "peak 0.1", "steps": 10, "%s": %s}' % (name.encode(), value.encode()), {})
        for name in ("steps_per_epoch", "batch_size", "tokens_per_step")
        for value in ('"10"', "false", "[]", "{}", "1.5", "0", "-1")
    },
    **{
        f"hostile plan {i}": (json.dumps({"plan": plan, "steps": 1000}).encode(), {})
        for i, plan in enumerate(HOSTILE)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_question_is_refused(lab: LabProcess, name: str) -> None:
    body, headers = BODIES[name]
    answer = lab.raw(lab.question("/api/plan", body, **headers))
    assert 400 <= answer.status < 500 or answer.status == 0, answer
    if "hostile" not in name:  # the words of a plan may stand in the reason why it is none
        refused(answer)
    assert answer.seconds < SOON
    serves(lab)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x.csv"}, {"data": ""}, {"name": "", "data": ""}, {"name": 1, "data": ""}, {"name": "x.csv", "data": None},
        {"name": "x.csv", "data": "@@@@"}, {"name": "x.csv", "data": "YQ"}, {"name": "x.csv", "data": ""},
        {"name": "../../" + MARK, "data": base64.b64encode(b"\x00" * 1000).decode()}, {"name": "/etc/passwd", "data": "AAAA"},
        {"name": "x.csv", "data": "YQ==", "path": "/etc/passwd"},
    ],
)  # fmt: skip
def test_a_log_that_is_none_is_refused(lab: LabProcess, body: dict) -> None:
    answer = lab.call("/api/log", body)
    assert 400 <= answer.status < 500
    assert "/tmp" not in answer.body.decode()
    serves(lab)


def test_a_head_without_end_is_cut_at_its_limit(lab: LabProcess) -> None:
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n".encode()
    answer = lab.raw(head + b"X: y\r\n" * 100_000)
    assert answer.status in (0, 431)
    assert answer.seconds < SOON
    serves(lab)


def test_a_study_of_ones_own_choice_is_refused(lab: LabProcess) -> None:
    assert lab.call("/api/study", {"folder": "/etc"}).status == 422


def test_a_second_request_behind_the_first_is_not_read(lab: LabProcess) -> None:
    hidden = f"GET /{MARK} HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n\r\n".encode()
    answer = lab.raw(lab.question("/api/study", b"{}") + hidden)
    assert answer.status == 200
    assert answer.body == b'{"studies": []}'  # and then the connection was closed


# --- what takes time or memory


def test_a_log_beyond_the_limit_is_refused_and_costs_no_memory(lab: LabProcess) -> None:
    before = lab.memory()
    for length in (LIMITS.log_bytes + 1, 10**12):
        answer = lab.raw(lab.question("/api/log", b"x" * 200_000, Content_Length=str(length)))
        refused(answer)
        assert answer.status in (0, 413)
        assert answer.seconds < SOON  # not when its time is up
    assert lab.memory() - before < 50 * 2**20
    serves(lab)


@pytest.mark.slow
def test_memory_is_bounded_by_the_limits(lab: LabProcess) -> None:
    """The largest log of nothing, and of as many values as fit, then the longest plan."""
    whole = LIMITS.log_bytes - 100
    refused(lab.call("/api/log", b'{"name": "x.csv", "data": "' + b"A" * whole + b'"}'))
    refused(lab.call("/api/log", b'{"name": [' + b"[]," * (whole // 3) + b"[]]}"))
    refused(lab.call("/api/log", b'{"name": ' + b"[" * whole + b"}"))
    assert lab.memory() < 800 * 2**20
    assert lab.call("/api/plan", PLAN | {"steps": 5_000_000}).status in (200, 422)
    assert lab.memory() < 1200 * 2**20
    serves(lab)


def in_threads(*tasks: object) -> None:
    failed: list[BaseException] = []

    def run(task) -> None:
        try:
            task()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def dripped(lab: LabProcess, start: bytes, drop: bytes, most: float) -> None:
    """Send a start, then a drop every tenth of a second: the connection is cut within ``most`` seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", lab.port), timeout=0.1) as connection:
        connection.sendall(start)
        while time.monotonic() - begun < most:
            try:
                connection.sendall(drop)
                if not connection.recv(1 << 16):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail(f"still open after {most} seconds")


def test_the_slow_are_cut_off_while_others_are_served(hasty: LabProcess) -> None:
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{hasty.port}\r\n".encode()
    tasks = [
        lambda: dripped(hasty, b"", b"", SOON),
        lambda: dripped(hasty, b"G", b"", SOON),
        lambda: dripped(hasty, head, b"X: y\r\n", SOON),
        lambda: dripped(hasty, head, b"a", SOON),
        lambda: dripped(hasty, hasty.question("/api/plan", b"", Content_Length="60000"), b"x", SOON),
        lambda: dripped(hasty, hasty.question("/api/log", b"", Content_Length="600000"), b"x", SOON),
        lambda: dripped(
            hasty, hasty.question("/api/plan", b"", Content_Length="600", X_Dwindle_Token="no"), b"x", SOON
        ),
        *[lambda: serves(hasty)] * 5,
    ]
    in_threads(*tasks, *tasks[2:6] * 4)
    serves(hasty)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(5)


def test_idle_connections_do_not_shut_others_out(lab: LabProcess) -> None:
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=SOON)) for _ in range(200)
        ]
        for _ in range(3):
            serves(lab)
        assert sum(is_closed(each) for each in idle) >= 200 - LIMITS.connections  # the oldest, to let others in
    serves(lab)


def test_idle_connections_come_to_an_end(hasty: LabProcess) -> None:
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", hasty.port), timeout=SOON)) for _ in range(50)
        ]
        for each in idle:
            read(each, time.monotonic())  # until it is closed
    serves(hasty)


def test_half_closed_and_abandoned_connections(lab: LabProcess) -> None:
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n".encode()
    assert lab.raw(b"", half_close=True).status == 0
    assert lab.raw(head, half_close=True).status == 0
    assert lab.raw(lab.question("/api/plan", b"{", Content_Length="100"), half_close=True).status in (0, 400)
    question = lab.question("/api/plan", PLAN | {"steps": 2_000_000})
    for _ in range(30):  # gone before the answer, for which no more than the workers at hand work
        with socket.create_connection(("127.0.0.1", lab.port), timeout=SOON) as connection:
            connection.sendall(question)
    serves(lab)


def test_those_who_do_not_read_hold_nothing(lab: LabProcess) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=SOON))
            connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n\r\n".encode())
        serves(lab)


@pytest.mark.slow
def test_plans_that_take_long_hold_neither_the_page_nor_the_server(hasty: LabProcess) -> None:
    """More of the heaviest plans than there are workers: the page still comes, and after them every answer does."""
    heavy = PLAN | {"plan": f"peak 0.1 | {'+'.join(300 * ['cosine'])}", "steps": 5_000_000}
    token = hasty.token
    came: list[float] = []
    ended: list[float] = []

    def page_comes() -> None:
        time.sleep(0.5)
        answer = hasty.raw(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{hasty.port}\r\n\r\n".encode())
        assert answer.status == 200
        came.append(time.monotonic())

    def ask() -> None:
        answer = hasty.raw(hasty.question("/api/plan", heavy, X_Dwindle_Token=token), timeout=90)
        assert answer.status in (422, 429)
        assert "takes longer" in answer.json["error"] or "busy" in answer.json["error"]
        ended.append(time.monotonic())

    in_threads(*[ask] * 4, page_comes)
    assert came[0] < max(ended)  # while the plans were worked at
    recovers(hasty)
    serves(hasty)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason=f"no /proc on {sys.platform}")
def test_after_all_of_it_the_server_is_small(lab: LabProcess) -> None:
    status = Path(f"/proc/{lab.process.pid}/status").read_text()
    resident = 1024 * int(status.split("VmRSS:")[1].split()[0])
    assert resident < 300 * 2**20
