"""The lab as an application: the page, and the answers to its questions; everything else is refused at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dwindle.lab.door import Door
from dwindle.lab.limits import Limits
from dwindle.lab.pool import Pool
from dwindle.lab.refusal import Refusal, headers

__all__ = ["application"]

App = Callable[[Any, Any, Any], Awaitable[None]]


def application(door: Door, pool: Pool, page: Callable[[str], str], limits: Limits) -> App:
    """Return the ASGI application; ``page(token)`` is the page, with the token that it asks with."""
    uploads = asyncio.Semaphore(limits.logs)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        with suppress(ClientDisconnect):
            await (await answered(request))(scope, receive, send)

    async def answered(request: Request) -> Response:
        path, query = request.scope["raw_path"], request.scope["query_string"]
        refusal = door.refusal(request.method, path, query, request.headers.get)
        if refusal is not None:
            return await refused(request, refusal)
        if path == b"/favicon.ico":
            return Response(status_code=204, headers=headers())
        if path == b"/":
            text = page(door.token())
            return Response(text, headers=headers(text), media_type="text/html")
        if path != b"/api/log":
            return await asked(request, limits.body_bytes, limits.body_seconds)
        if uploads.locked():
            return await refused(request, Refusal(429, "other logs are being read; ask again."))
        async with uploads:
            return await asked(request, limits.log_bytes, limits.log_seconds)

    async def asked(request: Request, most: int, seconds: float) -> Response:
        if int(request.headers["content-length"]) > most:
            return await refused(request, Refusal(413, f"a question of this kind has at most {most:,} bytes."))
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    body += chunk
        except TimeoutError:
            return said(Refusal(408, "the question did not come in time."))
        call = request.scope["raw_path"].decode("ascii").removeprefix("/api/")
        status, told = await pool.ask(call, body, request.is_disconnected)
        return Response(told, status, headers=headers(), media_type="application/json")

    async def refused(request: Request, refusal: Refusal) -> Response:
        """Refuse; a short body is read to its end before, or closing would tear the answer from a client still sending."""
        length = int(request.headers.get("content-length") or 0)
        if 0 < length <= limits.body_bytes and "expect" not in request.headers:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, limits.body_seconds)):
                    async for _ in request.stream():
                        pass
        return said(refusal)

    return app


def said(refusal: Refusal) -> Response:
    allowed = {"Allow": refusal.allow} if refusal.allow else {}
    return Response(refusal.body, refusal.status, headers={**headers(), **allowed}, media_type="application/json")
