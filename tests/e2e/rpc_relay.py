# SPDX-License-Identifier: Apache-2.0
"""Stands between a service and its peer: passes calls on, and harms them.

Any method of any service, its messages as bytes. Each harm is one function of
HARMS; which call meets which is dealt as from a deck of cards, with a seed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from random import Random
from typing import Any

import grpc

Requests = list[bytes]
Answer = list[bytes]

OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    # A second server on the port would take half the calls.
    ("grpc.so_reuseport", 0),
]
# Metadata of an answer that its caller acts on.
PASSED_ON = ("grpc-retry-pushback-ms", "camherd-")
RETRY_MS = 100


class RpcRelay:
    """One address in front of another, from start() to stop(), repeatedly; its
    port stays."""

    def __init__(self, target: Callable[[], str], methods: Sequence[str]) -> None:
        """`target` is asked at each call. Only calls whose path ends with one of
        `methods` are harmed."""
        self._target = target
        self._methods = tuple(methods)
        self._port = 0
        self._server: grpc.Server | None = None
        self._channels: dict[str, grpc.Channel] = {}
        self._harms: Sequence[str] = ()
        # What the next calls meet: each harm once, before any comes again.
        self._deck: list[str] = []
        self._random = Random(1)
        self._mu = threading.Lock()
        # Copies of calls that are on their way later than their call.
        self._late: list[threading.Thread] = []
        # Calls by what was done to them.
        self.counts: dict[str, int] = {}
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens."""
        pool = futures.ThreadPoolExecutor(max_workers=64)
        self._server = grpc.server(pool, handlers=[_Handler(self)], options=OPTIONS)
        self._port = self._server.add_insecure_port(self.address)
        assert self._port
        self._server.start()

    def stop(self) -> None:
        """Is gone: connections are refused. Copies that are late still arrive."""
        self._server.stop(0).wait()

    def close(self) -> None:
        """Ends all of it."""
        self.stop()
        self.await_late()
        for channel in self._channels.values():
            channel.close()

    @contextlib.contextmanager
    def harming(self, *harms: str) -> Iterator[None]:
        """While it lasts, each call meets one of `harms`."""
        self._harms, self._deck = harms, []
        try:
            yield
        finally:
            self._harms = ()

    def await_late(self) -> None:
        """Waits until no copy is on its way."""
        with self._mu:
            late = list(self._late)
        for thread in late:
            thread.join()

    def serve(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:  # noqa: ANN401
        """One call."""
        harm = ""
        if self._harms and method.endswith(self._methods):
            with self._mu:
                if not self._deck:
                    self._deck = self._random.sample(self._harms, len(self._harms))
                harm = self._deck.pop()
                self.counts[harm] = self.counts.get(harm, 0) + 1
        try:
            if harm in ("", "pass"):
                yield from self._call(method, requests, context.time_remaining())
            elif harm == "refuse":
                self._refuse(context)
            else:
                yield from HARMS[harm](self, method, list(requests), context)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                # The caller has gone; `requests` end so.
                return
            context.set_trailing_metadata(
                [(k, v) for k, v in error.trailing_metadata() or () if k.startswith(PASSED_ON)]
            )
            context.abort(error.code(), error.details())

    def deliver(self, method: str, requests: Requests, timeout: float | None) -> Answer:
        """One call with all its messages; raises grpc.RpcError."""
        return list(self._call(method, iter(requests), timeout))

    def later(self, seconds: float, method: str, requests: Requests) -> None:
        """Delivers a copy, when `seconds` are over."""

        def run() -> None:
            with contextlib.suppress(grpc.RpcError):
                self.deliver(method, requests, 30)

        timer = threading.Timer(seconds, run)
        with self._mu:
            self._late = [t for t in self._late if t.is_alive()] + [timer]
        timer.start()

    def draw(self, low: float, high: float) -> float:
        """A number between two."""
        with self._mu:
            return self._random.uniform(low, high)

    def _call(
        self, method: str, requests: Iterator[bytes], timeout: float | None
    ) -> Iterator[bytes]:
        target = self._target()
        with self._mu:
            if target not in self._channels:
                self._channels[target] = grpc.insecure_channel(target, OPTIONS)
            channel = self._channels[target]
        return channel.stream_stream(method)(requests, timeout=timeout)

    def _refuse(self, context: Any) -> None:  # noqa: ANN401
        """Takes nothing, in one of the ways there are."""
        code = grpc.StatusCode.UNAVAILABLE
        if self.draw(0, 1) < 0.5:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
        if self.draw(0, 1) < 0.5:
            context.set_trailing_metadata([("grpc-retry-pushback-ms", str(RETRY_MS))])
        context.abort(code, "the relay refuses")


class _Handler(grpc.GenericRpcHandler):
    """Every method there is."""

    def __init__(self, relay: RpcRelay) -> None:
        self._relay = relay

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Bytes in, bytes out."""
        method = details.method
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._relay.serve(method, requests, context)
        )


def _lost(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Takes all of it and passes nothing on."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the call")
    raise AssertionError("abort returns")


def _unanswered(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Passes it on, and keeps the answer."""
    with contextlib.suppress(grpc.RpcError):
        relay.deliver(method, requests, context.time_remaining())
    context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the answer")
    raise AssertionError("abort returns")


def _silent(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Takes all of it and says nothing, until the caller's deadline."""
    while context.is_active():
        threading.Event().wait(0.05)
    return []


def _twice(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """One after the other; the answer is that of the second."""
    with contextlib.suppress(grpc.RpcError):
        relay.deliver(method, requests, context.time_remaining())
    return relay.deliver(method, requests, context.time_remaining())


def _both(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Twice at the same time."""
    relay.later(0, method, requests)
    return relay.deliver(method, requests, context.time_remaining())


def _late(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Answered as lost, and delivered when others have overtaken it."""
    relay.later(relay.draw(0.05, 3), method, requests)
    return _lost(relay, method, requests, context)


def _again(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Delivered, and once more when others have come after it."""
    relay.later(relay.draw(0.05, 3), method, requests)
    return relay.deliver(method, requests, context.time_remaining())


def _slow(relay: RpcRelay, method: str, requests: Requests, context: Any) -> Answer:  # noqa: ANN401
    """Ten times slower than it is, by half a second at the least, and by no more
    than leaves it within a deadline of 2.5 s."""
    start = time.monotonic()
    answer = relay.deliver(method, requests, context.time_remaining())
    threading.Event().wait(min(max(9 * (time.monotonic() - start), 0.5), 1.5))
    return answer


HARMS: dict[str, Callable[[RpcRelay, str, Requests, Any], Answer]] = {
    "lost": _lost,
    "unanswered": _unanswered,
    "silent": _silent,
    "twice": _twice,
    "both": _both,
    "late": _late,
    "again": _again,
    "slow": _slow,
}
