#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peer: capturing as document A describes it.

    opencv_loop.py URL FOLDER INTERVAL [PYTHON SCRIPT RESULTS]

Reads every frame with cv2.VideoCapture and writes one per INTERVAL seconds to
FOLDER as a JPEG of quality 85. With PYTHON and SCRIPT it is A's whole flow:
each 10 frames are given to a new process of that model runner, its section is
written to RESULTS as one line with the first frame in base64, and the frames
are deleted.
"""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2

BATCH = 10


def infer(python: str, script: str, results: Path, batches: queue.Queue[list[Path]]) -> None:
    """Runs the batches, one process each."""
    while True:
        frames = batches.get()
        run = subprocess.run([python, script, *map(str, frames)], capture_output=True, check=True)
        record = {
            "basic": {
                "camID": "CAM-001",
                "Date": time.strftime("%d/%m/%Y"),
                "timestamp": time.strftime("%H:%M:%S"),
                "frame_base64": base64.b64encode(frames[0].read_bytes()).decode(),
            },
            **json.loads(run.stdout),
        }
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for frame in frames:
            frame.unlink()


def main() -> int:
    """Captures until it is killed."""
    url, folder, interval = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    batches: queue.Queue[list[Path]] = queue.Queue(4)
    if len(sys.argv) > 4:
        arguments = (sys.argv[4], sys.argv[5], Path(sys.argv[6]), batches)
        threading.Thread(target=infer, args=arguments, daemon=True).start()
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    frames: list[Path] = []
    due, number = time.monotonic(), 0
    while True:
        ok, frame = capture.read()
        if not ok:
            print("opencv_loop.py: the stream ended", file=sys.stderr)
            return 1
        if time.monotonic() < due:
            continue
        due += interval
        number += 1
        path = folder / f"{number:06d}.jpg"
        cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, 85])
        frames.append(path)
        if len(sys.argv) > 4 and len(frames) == BATCH:
            batches.put(frames)
            frames = []


if __name__ == "__main__":
    sys.exit(main())
