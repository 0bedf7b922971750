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
FRIGATE = "ffmpeg, Frigate's default detect arguments"
FULL = "camherd, every picture decoded (mode full)"


def _pictures(folder: Path) -> int:
    return len(list(folder.glob("*.jpg")))


def _frames(folder: Path) -> int:
    """By ffmpeg's -progress."""
    progress = folder / "progress"
    text = progress.read_text() if progress.exists() else ""
    return int(text.rpartition("frame=")[2].partition("\n")[0] or 0)


def _peer(
    rig: Rig,
    urls: list[str],
    name: str,
    command: Callable[[str, Path], list[str | Path]],
    samples: Callable[[Path], int] = _pictures,
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
            lambda: all(samples(f) >= 2 for f in folders),
            60,
        )
        before, cpu, start = (
            sum(map(samples, folders)),
            sum(map(cpu_seconds, pids)),
            now(),
        )
        time.sleep(WINDOW)
        minutes = (now() - start) / 60 * len(urls)
        cost = (sum(map(cpu_seconds, pids)) - cpu) / minutes
        notes = {
            "samples/min": (sum(map(samples, folders)) - before) / minutes,
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


def _frigate(rig: Rig, urls: list[str]) -> tuple[float, dict[str, float]]:
    """Its pictures go nowhere, where Frigate's go on to Python."""

    def command(url: str, out: Path) -> list[str | Path]:
        read = ["ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin", "-threads", "2"]
        read += ["-avoid_negative_ts", "make_zero", "-fflags", "+genpts+discardcorrupt"]
        read += ["-rtsp_transport", "tcp", "-timeout", "5000000"]
        read += ["-use_wallclock_as_timestamps", "1", "-i", url]
        read += ["-progress", str(out / "progress"), "-y", "-r", "5"]
        write = ["-vf", "fps=5,scale=1280:720", "-threads", "2", "-f", "rawvideo"]
        return [*read, *write, "-pix_fmt", "yuv420p", "/dev/null"]

    return _peer(rig, urls, "frigate", command, _frames)


@contextlib.contextmanager
def capture_service(rig: Rig, inference: str, aggregator: str, data: Path) -> Iterator[Running]:
    settings = {"inference": inference, "aggregator": aggregator}
    # All cameras are on one host.
    settings |= {"connects_per_second_per_host": "100", "connects_per_second": "100"}
    with rig.service("capture", rig.work / "capture.log", data, settings) as capture:
        yield capture


def settled(rig: Rig, capture: Running, mode: str) -> bool:
    """Whether every stream samples in that mode, and did twice."""
    wanted = rig.messages("stream").SamplingMode.Value(f"SAMPLING_MODE_{mode}")
    return all(
        stream.effective_mode == wanted and stream.accounting.captured >= 2
        for stream in rig.streams(capture.address)
    )


def _captured(rig: Rig, capture: Running) -> int:
    return sum(stream.accounting.captured for stream in rig.streams(capture.address))


def _camherd_capture(
    rig: Rig, urls: list[str], backend: str, mode: str = ""
) -> tuple[float, dict[str, float]]:
    """The whole camherd-capture: spool, batches and sending them included. The
    default mode is keyframe here, since there is one every 2 s."""
    modes = rig.messages("stream").SamplingMode
    asked = modes.Value(f"SAMPLING_MODE_{mode}") if mode else 0
    with capture_service(rig, backend, backend, rig.folder("capture")) as capture:
        for n, url in enumerate(urls):
            rig.start_stream(capture.address, url, f"CAM-{n:03d}", "null", asked)
        wait_for("camherd: sampling", lambda: settled(rig, capture, mode or "KEYFRAME"), 60)
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
            Contender(FRIGATE, lambda: _frigate(rig, urls)),
        ],
        rounds,
        say,
    )
    budgets = {OPENCV: 1 / 10, NOKEY: 1 / 1.6, FRIGATE: 1 / 9}
    return _with_notes(race_lines("capture", result, "CPU-s/cam-min", budgets), result)


def capture_exact(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """Mode exact: the picture shown at the due time. Several cameras, since it
    matters how long after a keyframe that is."""
    urls, backend = rig.cameras(6), rig.null_backend().address
    result = race(
        [
            Contender(CAMHERD, lambda: _camherd_capture(rig, urls, backend, "EXACT")),
            Contender(FULL, lambda: _camherd_capture(rig, urls, backend, "FULL")),
        ],
        rounds,
        say,
    )
    return _with_notes(race_lines("capture-exact", result, "CPU-s/cam-min", {FULL: 0.45}), result)


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
