# SPDX-License-Identifier: Apache-2.0
"""Many cameras behind recorders that go away and come back together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for

HOSTS = [f"127.0.1.{n}" for n in range(1, 21)]
PER_HOST = 10
# The first host has more cameras than sessions.
BEYOND = 2
OUTAGE_SECONDS = 30.0
CONNECTS_PER_SECOND = 20
FOUND_WITHIN = 60.0

T = TypeVar("T")


class Recorders:
    """Passes connections to each of HOSTS on to one camera; can be away."""

    def __init__(self, camera_port: int) -> None:
        self._camera_port = camera_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        # When connections came, on the steady clock.
        self.connects: list[float] = []
        self.sessions = dict.fromkeys(HOSTS, 0)
        self.most_sessions = dict.fromkeys(HOSTS, 0)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def start(self) -> None:
        """The recorders are there."""
        self._run(self._start())

    def stop(self) -> None:
        """Every connection breaks, and new ones are refused."""
        self._run(self._stop())

    def close(self) -> None:
        """Ends it."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        for host in HOSTS:
            server = await asyncio.start_server(
                lambda r, w, host=host: self._serve(host, r, w), host, self.port, backlog=256
            )
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connects.append(time.monotonic())
        self.sessions[host] += 1
        self.most_sessions[host] = max(self.most_sessions[host], self.sessions[host])
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self.sessions[host] -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", self._camera_port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()

        copies = [asyncio.create_task(copy(reader, far)), asyncio.create_task(copy(near, writer))]
        try:
            with contextlib.suppress(OSError):
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in copies:
                one.cancel()
            far.transport.abort()


def most_in_a_second(times: list[float]) -> int:
    """Most of the times that lie within any second."""
    times, most, first = sorted(times), 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def states(herd: Herd) -> dict[str, int]:
    """How many streams are in each state."""
    counts: dict[str, int] = {}
    for stream in herd.streams():
        counts[stream["state"]] = counts.get(stream["state"], 0) + 1
    return counts


def wait_running(herd: Herd, count: int, timeout: float) -> list[float]:
    """Waits until so many streams run; returns when each was first seen to,
    in seconds from now."""
    begin = time.monotonic()
    seen: dict[str, float] = {}

    def enough() -> bool:
        for stream in herd.streams():
            if stream["state"] == "running":
                seen.setdefault(stream["stream_id"], time.monotonic() - begin)
        return len(seen) >= count

    wait_for(enough, timeout, lambda: f"{count} running: {states(herd)}", every=0.25)
    return sorted(seen.values())


def test_two_hundred_cameras_that_return_together_are_found_kindly(
    make_herd: HerdMaker,
) -> None:
    herd = make_herd(
        CAPTURE_RETRY_INITIAL_SECONDS="1",
        CAPTURE_RETRY_SOON_MAX_SECONDS="5",
        CAPTURE_RETRY_MAX_SECONDS="60",
        CAPTURE_CONNECTS_PER_SECOND=str(CONNECTS_PER_SECOND),
        CAPTURE_CONNECTS_PER_SECOND_PER_HOST="2",
        CAPTURE_SESSIONS_PER_HOST=str(PER_HOST),
        CAPTURE_STALL_TIMEOUT_SECONDS="10",
        CAPTURE_CONNECT_TIMEOUT_SECONDS="30",
    )
    count = PER_HOST * len(HOSTS)
    mount = f"demo,video={VTEST},fps=2,gop=0.5,size=160x120,seconds=10"
    with Camera(mount) as camera, contextlib.closing(Recorders(camera.port)) as recorders:
        recorders.start()
        names = [(host, n) for host in HOSTS for n in range(PER_HOST)]
        names += [(HOSTS[0], PER_HOST + n) for n in range(BEYOND)]

        def start(name: tuple[str, int]) -> None:
            host, n = name
            body = {
                "rtsp_url": f"rtsp://{host}:{recorders.port}/demo",
                "camera_id": f"{host}-{n}",
                "interval_seconds": 2,
            }
            answer = herd.request("POST", "/api/v1/streams", body)
            assert answer.status == 201, answer.text

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, names))
        wait_running(herd, count, 90)
        refused = [s for s in herd.streams() if s["state"] == "refused"]
        assert len(refused) == BEYOND
        for stream in refused:
            assert stream["state_reason"] == (
                f"{PER_HOST} of {PER_HOST} sessions to {HOSTS[0]} are in use (sessions_per_host)"
            )

        recorders.stop()
        wait_for(
            lambda: states(herd).get("running", 0) == 0, 30, lambda: f"all away: {states(herd)}"
        )
        # What is away, is away for some time.
        threading.Event().wait(OUTAGE_SECONDS)
        first_of_return = len(recorders.connects)
        recorders.start()
        found = wait_running(herd, count, 120)

        connects = recorders.connects[first_of_return:]
        figures = {
            "median": round(found[len(found) // 2], 1),
            "p95": round(found[len(found) * 95 // 100], 1),
            "last": round(found[-1], 1),
            "most_in_a_second": most_in_a_second(connects),
            "most_in_a_second_at_start": most_in_a_second(recorders.connects[:first_of_return]),
            "most_sessions": max(recorders.most_sessions.values()),
        }
        print(json.dumps(figures))
        assert figures["p95"] <= FOUND_WITHIN, figures
        assert figures["most_in_a_second"] <= CONNECTS_PER_SECOND, figures
        assert figures["most_in_a_second_at_start"] <= CONNECTS_PER_SECOND, figures
        assert figures["most_sessions"] <= PER_HOST, figures
