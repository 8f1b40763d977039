"""A connection that cannot be held: its head comes whole, soon and strict, or not at all, and its whole life has an end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from dwindle.lab.head import head_refusal
from dwindle.lab.limits import Limits
from dwindle.lab.refusal import Refusal

__all__ = ["guarded"]

_END = b"\r\n\r\n"


def guarded(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol of a connection, guarded by ``limits``; uvicorn itself waits for a head for ever."""

    class Guarded(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.head = bytearray()
            self.waits = True  # for its head
            self.since = self.loop.time()
            self.end = self.loop.call_later(limits.head_seconds, self._late)
            if len(self.connections) > limits.connections:
                _drop_one(self.connections, self)

        def data_received(self, data: bytes) -> None:
            if not self.waits:
                super().data_received(data)
                return
            self.head += data
            if not self.head[:1].isalpha():  # TLS, or no HTTP at all
                self.refuse(Refusal(400, "this is no request of HTTP/1.1."))
                return
            at = self.head.find(_END)
            if at < 0 or at > limits.head_bytes:
                if len(self.head) > limits.head_bytes:
                    self.refuse(Refusal(431, f"a request has at most {limits.head_bytes} bytes before its body."))
                return
            self.waits = False
            why = head_refusal(bytes(self.head[: at + len(_END)]))
            if why is not None:
                self.refuse(why)
                return
            self.end.cancel()
            self.end = self.loop.call_later(limits.connection_seconds, self.transport.abort)
            whole, self.head = bytes(self.head), bytearray()
            super().data_received(whole)

        def connection_lost(self, exc: Exception | None) -> None:
            self.end.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            if self.cycle is None or not self.cycle.response_started:
                self.refuse(Refusal(400, "this is no request of HTTP/1.1."))
            else:
                self.transport.abort()

        def refuse(self, why: Refusal) -> None:
            """Answer in place of the app, and close."""
            self.waits = False
            if self.cycle is not None:
                self.cycle.disconnected = True
            self.transport.write(why.raw())
            self.transport.close()
            self.end.cancel()
            self.end = self.loop.call_later(limits.head_seconds, self.transport.abort)  # who does not read it

        def _late(self) -> None:
            self.refuse(Refusal(408, "the request did not come in time."))

    return Guarded


def _drop_one(connections: Any, newest: Any) -> None:
    """Close the connection that has waited longest for its head; where all others are being answered, the newest."""
    waiting = [each for each in connections if each.waits and each is not newest]
    dropped = min(waiting, key=lambda each: each.since, default=newest)
    dropped.waits = False
    dropped.transport.abort()
