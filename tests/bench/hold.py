# SPDX-License-Identifier: Apache-2.0
"""How many cameras a flow holds: more and more of them, then in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from capture_rows import INTERVAL, now
from measure import Weather, cpu_seconds
from table import Say

BATCH = 10
# Seconds between two batches of a camera.
PERIOD = BATCH * INTERVAL
# Least share of the video sent that must have been received.
RECEIVED = 0.98
# Seconds without a sample after which a camera is not held.
SILENT = 3 * INTERVAL
# Part of the machine that the next number of cameras is guessed to need.
GUESS = 0.95
# Longest wait until a backlog that was built is worked off, seconds.
DRAIN = 120


@dataclass(frozen=True)
class Seen:
    """One camera's counters at one moment."""

    captured: int
    missed: int
    # Frames given up after they were captured.
    dropped: int
    # Batches that are complete and have no record.
    waiting: int
    recorded: int
    # Receipt of the newest sample, seconds since 1970, and the seconds of video
    # received until then.
    at: float
    video: float


class Flow(Protocol):
    """From cameras to records."""

    name: str

    def start(self, camera: int) -> None:
        """Starts sampling a camera."""

    def stop(self, camera: int) -> None:
        """Stops it and forgets what it had."""

    def look(self) -> dict[int, Seen]:
        """What the cameras that run have counted."""

    def lateness(self, since: float, until: float) -> list[float]:
        """Seconds from a batch's last frame to its record, of each batch whose
        last frame was received in between."""

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each part so far."""


@dataclass
class Level:
    """What a number of cameras came to."""

    cameras: int
    seconds: float
    # CPU seconds per camera and minute, by part, and of the cameras themselves.
    cpu: dict[str, float]
    camera_cpu: float
    # Shares of the machine: used at all, and by strangers.
    busy: float
    foreign: float
    lateness: list[float] = field(default_factory=list)
    sampled: int = 0
    missed: int = 0
    dropped: int = 0
    waiting: int = 0
    # Why it does not hold; empty: it does.
    why: str = ""

    def late(self, share: float) -> float:
        """The nearest-rank quantile of lateness."""
        ordered = sorted(self.lateness)
        return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan

    def told(self) -> str:
        """One line."""
        parts = ", ".join(f"{part} {cost:.2f}" for part, cost in self.cpu.items())
        return (
            f"{self.cameras} cameras, {self.seconds:.0f} s: {self.why or 'held'};"
            f" lateness p50 {self.late(0.5):.2f} s, p99 {self.late(0.99):.2f} s of"
            f" {len(self.lateness)} batches; {self.sampled} sampled, {self.missed} missed,"
            f" {self.dropped} dropped, {self.waiting} batches waiting;"
            f" CPU-s/cam-min {parts}, cameras {self.camera_cpu:.2f};"
            f" machine {self.busy:.0%} busy, others {self.foreign:.0%}"
        )


def _phase(camera: int) -> float:
    """Van der Corput's sequence: any number of cameras is spread evenly over 0..1."""
    share, bit = 0.0, 0.5
    while camera:
        share, camera, bit = share + bit * (camera & 1), camera >> 1, bit / 2
    return share


def _wait(seconds: float) -> None:
    time.sleep(max(seconds, 0))


class Holder:
    """Starts and stops cameras of a flow, and watches it for a while."""

    def __init__(self, flow: Flow, camera_pid: int, say: Say) -> None:
        self._flow, self._camera_pid, self._say = flow, camera_pid, say
        self._running = 0

    @property
    def running(self) -> int:
        """Cameras that run."""
        return self._running

    def change(self, cameras: int) -> None:
        """Until so many run, all in step, with no backlog of more before."""
        if cameras < self._running:
            for camera in range(cameras, self._running):
                self._flow.stop(camera)
            self._running = cameras
            self._until(DRAIN, lambda seen: _waiting(seen) <= 1 + cameras // BATCH)
            return
        # Batches of the cameras are to fall due one after the other, not at once.
        start = now()
        for camera in sorted(range(self._running, cameras), key=lambda n: self._after(start, n)):
            _wait(start + self._after(start, camera) - now())
            self._flow.start(camera)
        self._running = cameras
        # Where that does not come about, `hold` says why.
        self._until(
            3 * PERIOD,
            lambda seen: (
                _waiting(seen) > cameras or all(one.captured > BATCH for one in seen.values())
            ),
        )

    @staticmethod
    def _after(start: float, camera: int) -> float:
        """Seconds from `start` to the camera's turn."""
        return (_phase(camera) * PERIOD - start) % PERIOD

    def _until(self, seconds: float, done: Callable[[dict[int, Seen]], bool]) -> bool:
        end = now() + seconds
        while not done(self._flow.look()):
            if now() > end:
                return False
            _wait(1)
        return True

    def hold(self, window: float, most: float) -> Level:
        """What becomes of the cameras that run, for `window` seconds, where
        batches may be late by `most` seconds."""
        flow, cameras = self._flow, self.running
        weather, start, since = Weather(), now(), time.time()
        before, parts, camera_cpu = flow.look(), flow.cpu(), cpu_seconds(self._camera_pid)
        while True:
            _wait(min(INTERVAL, start + window - now()))
            after = flow.look()
            level = self._level(before, after)
            if level.why or now() >= start + window:
                break
        level.seconds, until = now() - start, time.time()
        per_minute = 60 / level.seconds / cameras
        level.cpu = {part: (cpu - parts[part]) * per_minute for part, cpu in flow.cpu().items()}
        level.camera_cpu = (cpu_seconds(self._camera_pid) - camera_cpu) * per_minute
        level.busy, level.foreign = weather.busy(), weather.read()[1]
        if not level.why:
            level.why = _backlog(before, after, most)
        # What fell due in the window may be recorded after it.
        due = {camera: seen.recorded + BATCH * seen.waiting for camera, seen in after.items()}

        def unrecorded(seen: dict[int, Seen]) -> int:
            return sum(max(due[n] - seen[n].recorded, 0) for n in due) // BATCH

        missing, waited = 0, 0.0
        if not level.why:
            self._until(most + 1, lambda seen: not unrecorded(seen))
            missing, waited = unrecorded(flow.look()), time.time() - until
        # Those that have no record yet are at least so late.
        level.lateness = flow.lateness(since, until) + [waited] * missing
        if not level.why and not level.late(0.99) < most:
            level.why = f"p99 lateness {'over ' if missing else ''}{level.late(0.99):.2f} s"
        self._say(f"  {flow.name}: {level.told()}")
        return level

    def _level(self, before: dict[int, Seen], after: dict[int, Seen]) -> Level:
        def grown(name: str) -> int:
            return sum(getattr(after[n], name) - getattr(before[n], name) for n in before)

        level = Level(len(before), 0, {}, 0, 0, 0)
        level.sampled, level.missed = grown("captured"), grown("missed")
        level.dropped, level.waiting = grown("dropped"), _waiting(after)
        if level.missed or level.dropped:
            level.why = f"{level.missed} samples missed, {level.dropped} frames dropped"
        elif level.waiting > level.cameras:
            level.why = f"{level.waiting} batches wait"
        silent = sum(seen.at < time.time() - SILENT for seen in after.values())
        if silent and not level.why:
            level.why = f"no sample of {silent} cameras for {SILENT} s"
        return level


def _backlog(before: dict[int, Seen], after: dict[int, Seen], most: float) -> str:
    """Why cameras of which nothing is lost yet do not keep up; empty: they do."""
    passed = sum(after[n].at - before[n].at for n in before)
    received = sum(after[n].video - before[n].video for n in before) / max(passed, 1e-9)
    if received < RECEIVED:
        return f"{1 - received:.1%} of the video not received"
    # As many as fall due in the time allowed are no backlog.
    usual = 1 + math.ceil(len(after) * most / PERIOD)
    if _waiting(after) > max(usual, _waiting(before)):
        return f"{_waiting(before)} batches waited, then {_waiting(after)}"
    return ""


def _waiting(seen: dict[int, Seen]) -> int:
    return sum(one.waiting for one in seen.values())


@dataclass
class Found:
    """The most cameras that held, and the fewest that did not."""

    held: Level | None = None
    failed: Level | None = None


def search(holder: Holder, first: int, window: float, most: float, limit: float) -> Found:
    """Looks for as long as `limit` seconds allow, from `first` cameras on."""
    end, cameras, found = now() + limit, first, Found()
    while True:
        holder.change(cameras)
        # The first number is only to guess from, unless there is no smaller one.
        guess = found == Found() and cameras > 1
        level = holder.hold(min(PERIOD, window) if guess else window, most)
        if level.why:
            found.failed = level
        else:
            found.held = level
        cameras = _next(found)
        change = 2 * PERIOD if cameras > holder.running else DRAIN / 4
        if not cameras or now() + change + window > end:
            return found


def _next(found: Found) -> int:
    """The next number of cameras to try; 0: it is known well enough."""
    held, failed = found.held, found.failed
    if held is None:
        return failed.cameras // 2
    guess = min(8 * held.cameras, math.floor(held.cameras * GUESS / held.busy))
    if failed is None:
        return max(held.cameras + 1 + held.cameras // 16, guess)
    if failed.cameras - held.cameras <= 1 + held.cameras // 16:
        return 0
    return (held.cameras + failed.cameras) // 2
