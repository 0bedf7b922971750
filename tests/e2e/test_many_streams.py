# SPDX-License-Identifier: Apache-2.0
"""Many streams for long: with workers that are killed and hang at random, over
and over started and stopped, and idle."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, check_identities, check_metrics, wait_for
from test_workers import workers

CAMERAS = 50
# Of these frames go on to records.
WITH_MODEL = 20
INTERVAL = 2.0
GO_ON_WITHIN = 5.0
# Where a worker is lost no more often than every so many seconds, samples are in
# time (99 %) with those counted that come late for a loss.
ONCE_IN = 60.0
# What the allocator may keep more of in one process than before.
SLACK_MIB = 12.0

AT_ONCE = 5

IDLE_MB = 2.0

SETTINGS = {
    "CAPTURE_WORKER_PROCESSES": "2",
    "CAPTURE_WORKER_ANSWER_TIMEOUT_SECONDS": "2",
    "CAPTURE_STALL_TIMEOUT_SECONDS": "10",
    "CAPTURE_CONNECT_TIMEOUT_SECONDS": "10",
}


def processes(herd: Herd) -> list[int]:
    """The capture service and its workers."""
    return [herd.services["capture"].process.pid, *workers(herd)]


def proportional_mib(pids: list[int]) -> float:
    """Memory of processes, where several share a page each its part (PSS)."""
    total = 0
    for pid in pids:
        # A worker may end meanwhile.
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def resident_mib(pids: list[int]) -> float:
    """Resident memory of processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def histogram(text: str, name: str) -> dict[float, float]:
    """Cumulative counts of a histogram by upper bound."""
    counts = {}
    for line in text.splitlines():
        if line.startswith(f'{name}_bucket{{le="'):
            bound, count = line.split('le="', 1)[1].split('"} ')
            counts[float(bound.replace("+Inf", "inf"))] = float(count)
    return counts


def workers_lost(herd: Herd) -> float:
    """Workers that ended unasked."""
    lines = herd.metrics("capture").splitlines()
    name = "camherd_capture_workers_lost_total{"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@dataclass
class Watch:
    """Looks at everything every half second, from start to the end of `with`."""

    herd: Herd
    snapshots: int = 0
    # Steady time, and memory of the service and of all processes, MiB.
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Looks until the end of the block, which then fails with what was seen."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.5):
                try:
                    self._look()
                except (AssertionError, OSError) as error:
                    self.errors.append(str(error))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert self.errors == [], self.errors[:3]

    def _look(self) -> None:
        for stream in self.herd.streams():
            a = stream["accounting"]
            check_identities(a, stream["process_name"])
            assert a["dropped"] == {}, f"{stream['process_name']}: {a}"
        check_metrics(self.herd.metrics("capture"))
        pids = processes(self.herd)
        self.memory.append((time.monotonic(), resident_mib(pids[:1]), resident_mib(pids)))
        self.snapshots += 1

    def grown_mib(self) -> tuple[float, float]:
        """From the second third to the last: the service, and all processes."""
        n = len(self.memory)
        assert n >= 9
        middle, last = self.memory[n // 3 : 2 * n // 3], self.memory[2 * n // 3 :]
        service, tree = (
            statistics.median(m[k] for m in last) - statistics.median(m[k] for m in middle)
            for k in (1, 2)
        )
        return service, tree


def total_missed(streams: list[dict[str, Any]]) -> Counter[str]:
    """Missed samples of all streams, by reason."""
    total: Counter[str] = Counter()
    for stream in streams:
        total.update(stream["accounting"]["missed"])
    return total


def captured(herd: Herd) -> dict[str, int]:
    """Frames captured so far, by stream."""
    return {s["process_name"]: s["accounting"]["captured"] for s in herd.streams()}


@dataclass
class Mark:
    """Counters at one moment."""

    at: float
    # By stream.
    due: dict[str, int]
    missed: Counter[str]
    late: Counter[float]

    @classmethod
    def now(cls, herd: Herd) -> Mark:
        """Of all streams."""
        late = histogram(herd.metrics("capture"), "camherd_capture_sampling_lateness_seconds")
        streams = herd.streams()
        due = {s["process_name"]: s["accounting"]["due"] for s in streams}
        return cls(time.monotonic(), due, total_missed(streams), Counter(late))


def end_one_worker(herd: Herd, chance: random.Random, hang: bool) -> tuple[float, float]:
    """SIGKILL or SIGSTOP to one of the workers; returns seconds until that was
    seen, and from then until every stream has a new frame."""
    before = workers_lost(herd)
    begin = time.monotonic()
    os.kill(chance.choice(workers(herd)), signal.SIGSTOP if hang else signal.SIGKILL)
    wait_for(lambda: workers_lost(herd) > before, 15, "the loss is counted")
    seen = time.monotonic()
    counts = captured(herd)
    wait_for(
        lambda: all(n > counts[name] for name, n in captured(herd).items()),
        30,
        lambda: (
            f"all go on: {[s['state_reason'] for s in herd.streams() if s['state'] != 'running']}"
        ),
        every=0.2,
    )
    return seen - begin, time.monotonic() - seen


def lose_nothing(make_herd: HerdMaker, minutes: float, pauses: tuple[float, float]) -> None:
    """Fifty cameras, and between a recovery and the next fault that many seconds."""
    herd = make_herd(**SETTINGS)
    names = [f"cam{n}" for n in range(CAMERAS)]
    clip = f"video={VTEST},fps=10,gop=0.5,size=320x180,seconds=10"
    chance = random.Random(50)
    watch = Watch(herd)
    with Camera(*[f"{name},{clip}" for name in names]) as camera:
        for n, name in enumerate(names):
            fields: dict[str, Any] = {"rtsp_url": camera.url(name), "camera_id": name}
            fields |= {"interval_seconds": INTERVAL, "batch_size": 5}
            fields["models"] = ["animals"] if n < WITH_MODEL else []
            answer = herd.request("POST", "/api/v1/streams", fields)
            assert answer.status == 201, answer.text
        for name in names:
            herd.wait_captured(name, 1)
        herd.wait_records(1)
        seen: dict[str, list[float]] = {"killed": [], "hung": []}
        gone_on: list[float] = []
        calm: Counter[float] = Counter()
        # Without what fifty cameras that begin at once have missed.
        first = Mark.now(herd)
        begin = time.monotonic()
        with watch.watching():
            while time.monotonic() < begin + minutes * 60:
                # The second picture of a new connection has come.
                threading.Event().wait(INTERVAL)
                before = Mark.now(herd)
                threading.Event().wait(chance.uniform(*pauses))
                after = Mark.now(herd)
                assert after.missed == before.missed, "missed while nothing was amiss"
                calm.update(after.late)
                calm.subtract(before.late)
                how = ("hung", "killed")[len(gone_on) % 2]
                found, on = end_one_worker(herd, chance, how == "hung")
                seen[how].append(found)
                gone_on.append(on)
        streams = herd.streams()
        last = Mark.now(herd)
        losses = workers_lost(herd)
    missed = last.missed - first.missed
    late = last.late - first.late
    total = late[math.inf]
    service, tree = watch.grown_mib()
    figures = {
        "snapshots": watch.snapshots,
        "captured": int(total),
        "recorded": sum(s["accounting"]["recorded"] for s in streams),
        "losses": int(losses),
        "seen_after_most": {how: round(max(times), 1) for how, times in seen.items()},
        "gone_on_after_most": round(max(gone_on), 1),
        "missed": dict(missed),
        "late": {str(k): round(v / total, 4) for k, v in late.items() if 0.1 <= k <= 5},
        "late_while_calm": {
            str(k): round(v / calm[math.inf], 4) for k, v in calm.items() if 0.1 <= k <= 5
        },
        "service_grown_mib": round(service, 1),
        "tree_grown_mib": round(tree, 1),
        "tree_mib": round(watch.memory[-1][2], 1),
    }
    print(json.dumps(figures))
    assert losses == len(gone_on), figures
    # No due time is skipped, and none counted twice, whoever received it.
    passed = (last.at - first.at) / INTERVAL
    for name in names:
        assert abs(last.due[name] - first.due[name] - passed) <= 2.5, (name, passed, figures)
    assert max(gone_on) < GO_ON_WITHIN, figures
    # A worker has half of the streams. Each misses what falls due from when it
    # is ended until its streams go on, and before the second picture.
    assert set(missed) <= {"worker_lost", "not_connected", "late"}, figures
    away = max(map(max, seen.values())) + GO_ON_WITHIN
    assert missed.total() <= losses * CAMERAS / 2 * (1 + away / INTERVAL), figures
    assert calm[INTERVAL / 2] >= 0.99 * calm[math.inf], figures
    if sum(pauses) / 2 >= ONCE_IN:
        assert late[INTERVAL / 2] >= 0.99 * total, figures
    # What is late for a worker's sake is so by less than it was away.
    assert late[5] == total, figures
    assert service < SLACK_MIB, figures
    assert tree < 3 * SLACK_MIB, figures
    assert figures["recorded"] > 0, figures


def test_fifty_cameras_lose_nothing_while_workers_are_killed_and_hang(
    make_herd: HerdMaker,
) -> None:
    lose_nothing(make_herd, 1.1, (3.0, 9.0))


@pytest.mark.long
def test_fifty_cameras_lose_nothing_in_ten_minutes(make_herd: HerdMaker) -> None:
    lose_nothing(make_herd, 10.0, (20.0, 100.0))


@dataclass
class Held:
    """What the capture service and its workers hold."""

    threads: list[int]
    files: list[int]
    mib: float

    @classmethod
    def by(cls, pids: list[int]) -> Held:
        """Of these processes, now."""
        return cls(
            [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids],
            [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids],
            proportional_mib(pids),
        )


def leave_nothing_behind(make_herd: HerdMaker, warm_cycles: int, cycles_seen: int) -> None:
    """Starts and stops, of which the first are to warm up."""
    # The history of stopped streams is wanted, and limited.
    herd = make_herd(**SETTINGS, CAPTURE_HISTORY_STREAMS="5")
    chance = random.Random(1000)
    clip = f"video={VTEST},fps=10,gop=0.2,size=320x180,seconds=10"
    with Camera(f"demo,{clip}") as camera:

        def cycle(number: int, until_captured: bool) -> None:
            name = f"camera-{number}"
            herd.start_stream(camera.url(), camera_id=name, interval=0.2, models=[])
            if until_captured:
                herd.wait_captured(name, 1)
            assert herd.stop_stream(name).status in (200, 409)

        def cycles(first: int, count: int) -> None:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                # Some are stopped while they connect.
                jobs = [(first + n, chance.random() < 0.7) for n in range(count)]
                list(pool.map(lambda job: cycle(*job), jobs))
            wait_for(
                lambda: all(s["state"] == "stopped" for s in herd.streams()), 30, "all stopped"
            )

        def settled(like: Held | None) -> Held:
            """When connections and idle threads have ended."""
            pids = processes(herd)
            assert len(pids) == 3
            held = Held.by(pids)

            def as_before() -> bool:
                nonlocal held
                held = Held.by(pids)
                pairs = [*zip(held.threads, like.threads, strict=True)]
                pairs += zip(held.files, like.files, strict=True)
                return all(now <= then for now, then in pairs)

            if like is not None:
                with contextlib.suppress(AssertionError):
                    wait_for(as_before, 30)
            return held

        cycles(0, warm_cycles)
        # What runs on for a moment after the last stop, has ended.
        threading.Event().wait(3)
        before = settled(None)
        cycles(warm_cycles, cycles_seen)
        after = settled(before)
    print(json.dumps({"cycles": cycles_seen, "before": vars(before), "after": vars(after)}))
    assert workers_lost(herd) == 0
    for now, then in zip(after.threads, before.threads, strict=True):
        assert now <= then, (before, after)
    for now, then in zip(after.files, before.files, strict=True):
        assert now <= then, (before, after)
    assert after.mib - before.mib < SLACK_MIB, (before, after)


def test_starting_and_stopping_over_and_over_leaves_nothing_behind(
    make_herd: HerdMaker,
) -> None:
    leave_nothing_behind(make_herd, 20, 60)


@pytest.mark.long
def test_a_thousand_starts_and_stops_leave_nothing_behind(make_herd: HerdMaker) -> None:
    leave_nothing_behind(make_herd, 100, 1000)


CLIPS = {
    "1080p": "fps=25,gop=2,size=1920x1080,seconds=8,filter=noise=alls=9:allf=t",
    "360p": "fps=25,gop=2,size=640x360,seconds=8,filter=noise=alls=9:allf=t",
}


@pytest.mark.parametrize("clip", CLIPS)
def test_an_idle_stream_costs_little_memory(make_herd: HerdMaker, clip: str) -> None:
    herd = make_herd(**SETTINGS)
    running = 0
    pss: list[float] = []
    with Camera(f"demo,video={VTEST},{CLIPS[clip]}") as camera:
        for count in (1, 11, 51):
            while running < count:
                fields = {"rtsp_url": camera.url(), "camera_id": f"camera-{running}"}
                fields |= {"interval_seconds": 3600, "sampling_mode": "keyframe"}
                assert herd.request("POST", "/api/v1/streams", fields).status == 201
                running += 1
            wait_for(lambda: all(s["state"] == "running" for s in herd.streams()), 60)
            # Several keyframes of each.
            threading.Event().wait(6)
            pss.append(proportional_mib(processes(herd)))
        received = [s["received_bytes"] for s in herd.streams()]
    each = [(pss[1] - pss[0]) / 10, (pss[2] - pss[0]) / 50]
    figures = {"clip": clip, "pss_mib": pss, "mib_each": each, "bytes_of_the_first": max(received)}
    print(json.dumps(figures))
    assert each[1] * 2**20 <= IDLE_MB * 1e6, (pss, each)
