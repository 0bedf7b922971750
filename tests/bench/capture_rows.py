# SPDX-License-Identifier: Apache-2.0
"""Capturing: camherd-capture beside the programs that people use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import Contender, Race, cpu_seconds, race, resident_mib, tree, tree_cpu_seconds
from rig import ROOT, Rig, Running, wait_for
from table import CAMHERD, Line, Say, race_lines

# Seconds between samples.
INTERVAL = 3
# Seconds of a measurement: a whole number of samples and of keyframes.
WINDOW = 24
OPENCV, NOKEY = "A's OpenCV loop", "ffmpeg -skip_frame nokey"


def _pictures(folder: Path) -> int:
    return len(list(folder.glob("*.jpg")))


def _peer(
    rig: Rig,
    urls: list[str],
    name: str,
    command: Callable[[str, Path], list[str | Path]],
) -> tuple[float, dict[str, float]]:
    """CPU seconds per camera and minute of a capture program, once it runs."""
    folders = [rig.folder(f"{name}/{n}") for n in range(len(urls))]
    with contextlib.ExitStack() as stack:
        pids = [
            stack.enter_context(rig.run(command(url, folder), rig.work / f"{name}.log")).pid
            for url, folder in zip(urls, folders, strict=True)
        ]
        wait_for(
            f"{name}: first pictures",
            lambda: all(_pictures(f) >= 2 for f in folders),
            60,
        )
        before, cpu, start = (
            sum(map(_pictures, folders)),
            sum(map(cpu_seconds, pids)),
            now(),
        )
        time.sleep(WINDOW)
        minutes = (now() - start) / 60 * len(urls)
        cost = (sum(map(cpu_seconds, pids)) - cpu) / minutes
        notes = {
            "samples/min": (sum(map(_pictures, folders)) - before) / minutes,
            "MiB": resident_mib(pids),
        }
    return cost, notes


def now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _opencv(rig: Rig, urls: list[str]) -> tuple[float, dict[str, float]]:
    script = ROOT / "tests/bench/opencv_loop.py"
    command = ["/usr/bin/python3", script]
    return _peer(rig, urls, "opencv", lambda url, out: [*command, url, out, str(INTERVAL)])


def _nokey(rig: Rig, urls: list[str]) -> tuple[float, dict[str, float]]:
    def command(url: str, out: Path) -> list[str | Path]:
        # -q:v 2 makes pictures of the size of quality 85.
        read = ["ffmpeg", "-v", "error", "-nostdin", "-skip_frame", "nokey"]
        read += ["-rtsp_transport", "tcp", "-i", url, "-an", "-vf", f"fps=1/{INTERVAL}"]
        return [*read, "-q:v", "2", out / "%06d.jpg"]

    return _peer(rig, urls, "nokey", command)


@contextlib.contextmanager
def capture_service(rig: Rig, inference: str, aggregator: str, data: Path) -> Iterator[Running]:
    settings = {"inference": inference, "aggregator": aggregator}
    # All cameras are on one host.
    settings["connects_per_second_per_host"] = "100"
    with rig.service("capture", rig.work / "capture.log", data, settings) as capture:
        yield capture


def _keyframe_mode(rig: Rig, capture: Running) -> bool:
    """Whether every stream has settled: the GOP is known, two samples taken."""
    keyframe = rig.messages("stream").SAMPLING_MODE_KEYFRAME
    return all(
        stream.effective_mode == keyframe and stream.accounting.captured >= 2
        for stream in rig.streams(capture.address)
    )


def _captured(rig: Rig, capture: Running) -> int:
    return sum(stream.accounting.captured for stream in rig.streams(capture.address))


def _camherd_capture(rig: Rig, urls: list[str], backend: str) -> tuple[float, dict[str, float]]:
    """The whole camherd-capture: spool, batches and sending them included."""
    with capture_service(rig, backend, backend, rig.folder("capture")) as capture:
        for n, url in enumerate(urls):
            rig.start_stream(capture.address, url, f"CAM-{n:03d}", "null")
        wait_for("camherd: keyframe sampling", lambda: _keyframe_mode(rig, capture), 60)
        before, cpu, start = _captured(rig, capture), tree_cpu_seconds(capture.pid), now()
        time.sleep(WINDOW)
        minutes = (now() - start) / 60 * len(urls)
        cost = (tree_cpu_seconds(capture.pid) - cpu) / minutes
        notes = {
            "samples/min": (_captured(rig, capture) - before) / minutes,
            "MiB": resident_mib(tree(capture.pid)),
        }
    return cost, notes


def capture(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """1080p25 4 Mbit/s, a sample per 3 s with JPEG q85: one camera."""
    urls, backend = rig.cameras(1), rig.null_backend().address
    result = race(
        [
            Contender(CAMHERD, lambda: _camherd_capture(rig, urls, backend)),
            Contender(NOKEY, lambda: _nokey(rig, urls)),
            Contender(OPENCV, lambda: _opencv(rig, urls)),
        ],
        rounds,
        say,
    )
    lines = race_lines("capture", result, "CPU-s/cam-min", {OPENCV: 1 / 10, NOKEY: 1 / 1.6})
    return _with_notes(lines, result)


def capture10(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """The same with ten cameras in one camherd-capture; ten ffmpeg."""
    urls, backend = rig.cameras(10), rig.null_backend().address
    result = race(
        [
            Contender(CAMHERD, lambda: _camherd_capture(rig, urls, backend)),
            Contender(NOKEY, lambda: _nokey(rig, urls)),
        ],
        max(2, rounds // 2),
        say,
    )
    lines = race_lines("capture10", result, "CPU-s/cam-min", {NOKEY: 1 / 1.6})
    return _with_notes(lines, result)


def _with_notes(lines: list[Line], result: Race) -> list[Line]:
    for line in lines:
        samples = result.samples[line.who]
        line.remark += f"; {samples.note('samples/min'):.3g} samples/min"
        line.remark += f", {samples.note('MiB'):.0f} MiB"
    return lines
