# SPDX-License-Identifier: Apache-2.0
"""What each camera costs camherd-capture when there are more and more of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

from capture_rows import WINDOW, capture_service, now, settled
from google.protobuf.message import Message
from measure import Weather, cpu_seconds, proportional_mib, tree, tree_cpu_seconds
from native_rows import python_with
from rig import CLIP_SECONDS, ROOT, BenchError, Rig, Running, wait_for
from table import CAMHERD, Line, Say

# Feeds of the camera process; more cameras than that are shown one of these.
MOUNTS = 8
# Least share of the video sent that must have been received.
RECEIVED = 0.98
LARGE, SMALL = "1080p, 4 Mbit/s", "640x360, 512 kbit/s"


@dataclass(frozen=True)
class Level:
    """Some cameras at once."""

    cameras: int
    # CPU seconds per camera and minute: of all processes of the service, and of
    # the cameras' own process beside it.
    cpu: float
    camera_cpu: float
    # Memory of the service, what its processes share counted once.
    mib: float
    busy: float
    # Why they are too many; empty: they are not.
    why: str


def _levels(first: tuple[int, ...], step: int) -> Iterator[int]:
    return chain(first, count(first[-1] + step, step) if step else ())


def _curve(
    rig: Rig, say: Say, name: str, clip: Path, cameras: tuple[int, ...], step: int
) -> list[Level]:
    """Those numbers of cameras; with a step, more until they are too many."""
    camera = rig.camera([f"cam{n},codec=copy,video={clip}" for n in range(MOUNTS)])
    backend = rig.null_backend().address
    rate = clip.stat().st_size / CLIP_SECONDS
    levels: list[Level] = []
    with capture_service(rig, backend, backend, rig.folder("capture")) as capture:
        running = 0
        for wanted in _levels(cameras, step):
            for n in range(running, wanted):
                url = f"rtsp://{camera.address}/cam{n % MOUNTS}"
                rig.start_stream(capture.address, url, f"CAM-{n:04d}", "null")
            running = wanted
            level = _measure(rig, capture, camera, rate, wanted)
            levels.append(level)
            say(
                f"  {name}: {level.cameras} cameras: {level.cpu:.3g} CPU-s/cam-min,"
                f" {level.mib:.0f} MiB; machine {level.busy:.0%} busy; {level.why or 'held'}"
            )
            if level.why:
                break
    return levels


def _measure(rig: Rig, capture: Running, camera: Running, rate: float, cameras: int) -> Level:
    try:
        wait_for("all sampled", lambda: settled(rig, capture, "KEYFRAME"), 60)
        why = ""
    except BenchError:
        why = "not all are sampled within 60 s"
    weather, start = Weather(), now()
    before = rig.streams(capture.address)
    own, others = tree_cpu_seconds(capture.pid), cpu_seconds(camera.pid)
    time.sleep(WINDOW)
    own, others = tree_cpu_seconds(capture.pid) - own, cpu_seconds(camera.pid) - others
    after, per_minute = rig.streams(capture.address), 60 / (now() - start) / cameras
    missed = sum(map(_missed, after)) - sum(map(_missed, before))
    # What is received is told with each sample.
    seconds = sum(map(_last_sample, after)) - sum(map(_last_sample, before))
    video = sum(s.received_bytes for s in after) - sum(s.received_bytes for s in before)
    received = video / rate / max(seconds, 1e-9)
    if missed and not why:
        why = f"{missed} samples missed"
    elif received < RECEIVED and not why:
        why = f"{1 - received:.1%} of the video not received"
    mib = proportional_mib(tree(capture.pid))
    return Level(cameras, own * per_minute, others * per_minute, mib, weather.busy(), why)


def _missed(stream: Message) -> int:
    return sum(stream.accounting.missed.values())


def _last_sample(stream: Message) -> float:
    return stream.last_frame_at.ToMicroseconds() / 1e6


def curves(rig: Rig, say: Say) -> list[Line]:
    """1080p until it is too much, and as many second streams as a site has."""
    found = {
        LARGE: _curve(rig, say, LARGE, rig.clip(), (1, 10, 25, 50), 25),
        SMALL: _curve(rig, say, SMALL, rig.small_clip(), (1, 10, 50, 100, 200), 0),
    }
    plot = rig.work / "curves.svg"
    python = python_with(rig, "plot", ROOT / "tests/bench/requirements_plot.txt", say)
    points = {name: [asdict(level) for level in levels] for name, levels in found.items()}
    subprocess.run(
        [python, "-c", _PLOT, str(plot)], input=json.dumps(points), text=True, check=True
    )
    say(f"  {plot}")
    return [_line(name, levels[0], level) for name, levels in found.items() for level in levels]


def _line(name: str, first: Level, level: Level) -> Line:
    remark = f"{level.mib:.0f} MiB"
    if level.cameras > first.cameras:
        more = (level.mib - first.mib) / (level.cameras - first.cameras)
        remark += f", {more:.2f} for each camera over the first"
    remark += f"; beside it the cameras {level.camera_cpu:.2g}; machine {level.busy:.0%} busy"
    if level.why:
        remark += f"; too many: {level.why}"
    who = f"{CAMHERD}, {name}: {level.cameras}"
    return Line("curves", who, level.cpu, "CPU-s/cam-min", remark=remark)


_PLOT = """
import json, sys
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "camherd", "svg.fonttype": "none"})
from matplotlib import pyplot
curves = json.load(sys.stdin)
figure, (cpu, memory) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for name, levels in curves.items():
    cameras = [level["cameras"] for level in levels]
    cpu.plot(cameras, [level["cpu"] for level in levels], marker="o", label=name)
    memory.plot(cameras, [level["mib"] for level in levels], marker="o", label=name)
    for level in levels:
        if level["why"]:
            cpu.annotate("too many", (level["cameras"], level["cpu"]), ha="right", va="bottom")
cpu.set_title("CPU-seconds per camera and minute")
memory.set_title("MiB of camherd-capture, all processes")
for axes in (cpu, memory):
    axes.set_xlabel("cameras")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
figure.savefig(sys.argv[1], metadata={"Date": None})
"""
