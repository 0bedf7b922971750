#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Camherd against its peers and prints a table.

Started by tests/bench/run.sh, which builds what is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import capture_rows  # noqa: E402
import curve_rows  # noqa: E402
import held_rows  # noqa: E402
import inference_rows  # noqa: E402
import native_rows  # noqa: E402
import rest_rows  # noqa: E402
import whole_way  # noqa: E402
from rig import ROOT, BenchError, Rig  # noqa: E402
from table import Line, Say, markdown  # noqa: E402

Row = Callable[[Rig, Say, argparse.Namespace], list[Line]]

ROWS: dict[str, tuple[str, Row]] = {
    "rpc": (
        "InferBatch of 10 x 250 KB, both ends, beside a plain socket",
        lambda rig, say, args: inference_rows.rpc(rig, say, args.rounds),
    ),
    "rest": (
        "the gateway: added latency, requests/s beside plain cpp-httplib, clients beside readers",
        lambda rig, say, args: rest_rows.rest(rig, say, args.rounds),
    ),
    "record-append": (
        "durable records of 310 KB",
        lambda rig, say, args: inference_rows.record_append(rig, say, args.rounds),
    ),
    "record-store": (
        "a store of a million records: opened, caught up, listed",
        lambda rig, say, args: inference_rows.record_store(rig, say),
    ),
    "venv-worker": (
        "10 pictures through the resident worker, beside a process per batch",
        lambda rig, say, args: inference_rows.venv_worker(rig, say, args.rounds, args.models),
    ),
    "native": (
        "one picture on one thread, JPEG in, boxes out, beside ultralytics and benchmark_app",
        lambda rig, say, args: native_rows.native(rig, say, args.rounds),
    ),
    "capture": (
        "one camera: camherd-capture, ffmpeg -skip_frame nokey, OpenCV loop, Frigate's arguments",
        lambda rig, say, args: capture_rows.capture(rig, say, args.rounds),
    ),
    "capture-exact": (
        "six cameras in mode exact, beside decoding every picture",
        lambda rig, say, args: capture_rows.capture_exact(rig, say, args.rounds),
    ),
    "capture10": (
        "ten cameras: camherd-capture and ffmpeg -skip_frame nokey",
        lambda rig, say, args: capture_rows.capture10(rig, say, args.rounds),
    ),
    "curves": (
        "1 camera to as many as capture carries: CPU and memory of each, and a plot",
        lambda rig, say, args: curve_rows.curves(rig, say),
    ),
    "whole-way1": (
        "one camera, from RTSP to predictions.json: the four processes and A's flow",
        lambda rig, say, args: whole_way.whole_way1(rig, say, args.rounds, args.models),
    ),
    "lateness": (
        "tenth frame to durable record, with 80 % of the machine in use, native",
        lambda rig, say, args: held_rows.lateness(rig, say, args.window),
    ),
    "whole-way": (
        "cameras that the machine holds, from RTSP to the record, native and A's flow",
        lambda rig, say, args: held_rows.whole_way(rig, say, args.window, args.minutes),
    ),
}


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """The machine in words."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} vCPU {cpu}, {gib:.0f} GiB"


def main() -> int:
    """Runs the rows asked for; 1 if one could not be run."""
    width = max(map(len, ROWS))
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.sh",
        description="Measures Camherd against its peers and prints a table.",
        epilog="rows:\n" + "\n".join(f"  {n:<{width}}  {text}" for n, (text, _) in ROWS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=ROWS,
        type=lambda text: text.replace("_", "-"),
        help="repeatable",
    )
    parser.add_argument(
        "--rounds", type=int, default=4, help="turns of each (default 4: ABBA ABBA)"
    )
    parser.add_argument(
        "--models",
        type=lambda text: text.split(","),
        default=["pothole"],
        help="for venv-worker and whole-way1 (default pothole; animals takes 6 GB)",
    )
    parser.add_argument(
        "--window", type=float, default=60, help="for whole-way, lateness: seconds (default 60)"
    )
    parser.add_argument(
        "--minutes", type=float, default=7, help="for whole-way: most for each flow (default 7)"
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="folder")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", help="folder")
    args = parser.parse_args()

    started, lines, failed = time.time(), [], False
    for name in args.only or ROWS:
        say(f"{name}: {ROWS[name][0]}")
        rig = Rig(args.build.resolve(), args.work.resolve())
        try:
            lines += ROWS[name][1](rig, say, args)
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            say(f"{name}: not measured: {error}")
            failed = True
        finally:
            rig.close()
    print(f"{machine()}, {time.strftime('%Y-%m-%d')}, {time.time() - started:.0f} s\n")
    print(markdown(lines))
    results = {"machine": machine(), "lines": [asdict(line) for line in lines]}
    (args.work / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
