#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peer: document A's flow, rebuilt.

    document_a.py FOLDER INTERVAL COMMAND...

A line on standard input starts a camera, `start NAME URL`, or stops it,
`stop NAME`. A thread for each camera reads every frame with cv2.VideoCapture
and keeps one per INTERVAL seconds in FOLDER/NAME as a JPEG of quality 85. Each
ten frames are given to a new process of COMMAND, which prints the sections of
their record as JSON; the record is appended to FOLDER/predictions.json with the
first frame in base64, and the frames are deleted. The capturing thread does not
wait for that: each camera has a second thread for its batches.

FOLDER/events.jsonl says what happened, a JSON object a line, times in seconds
since 1970:

    {"event": "sample", "camera": NAME, "at": receipt of the frame,
     "read": frames read so far, "missed": samples that fell due without one}
    {"event": "record", "camera": NAME, "last": receipt of the batch's last
     frame, "at": the record is in the file}
    {"event": "failed", "camera": NAME}      the process failed, frames are lost
"""

from __future__ import annotations

import base64
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2

BATCH = 10
# Batches of a camera that may wait; past them its capturing waits.
WAITING = 4

Frame = tuple[Path, float]


class Files:
    """What all cameras append to."""

    def __init__(self, folder: Path) -> None:
        self._records = (folder / "predictions.json").open("a")
        self._events = (folder / "events.jsonl").open("a")
        self._lock = threading.Lock()

    def record(self, record: dict[str, object]) -> None:
        """A line of predictions.json."""
        line = json.dumps(record) + "\n"
        with self._lock:
            self._records.write(line)
            self._records.flush()

    def event(self, event: str, camera: str, **fields: float) -> None:
        """A line of events.jsonl."""
        line = json.dumps({"event": event, "camera": camera, **fields}) + "\n"
        with self._lock:
            self._events.write(line)
            self._events.flush()


class Camera:
    """A camera's two threads, which end by themselves after `stop`."""

    def __init__(
        self, name: str, url: str, folder: Path, interval: float, command: list[str], files: Files
    ) -> None:
        self._name, self._url, self._folder = name, url, folder
        self._interval, self._command, self._files = interval, command, files
        self._stopped = threading.Event()
        self._batches: queue.Queue[list[Frame]] = queue.Queue(WAITING)
        folder.mkdir(parents=True)
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._capture, self._infer)
        ]
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Returns at once."""
        self._stopped.set()

    def stop(self) -> None:
        """Waits for the frame and the batch in work, and forgets the others."""
        self.ask_to_stop()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._folder)

    def _capture(self) -> None:
        frames: list[Frame] = []
        read = kept = missed = 0
        due = time.monotonic()
        while not self._stopped.is_set():
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG)
            while not self._stopped.is_set():
                ok, frame = capture.read()
                if not ok:
                    break
                read += 1
                late = time.monotonic() - due
                if late < 0:
                    continue
                missed += int(late // self._interval)
                due += self._interval * (1 + late // self._interval)
                kept, at = kept + 1, time.time()
                path = self._folder / f"{kept:06d}.jpg"
                cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, 85])
                self._files.event("sample", self._name, at=at, read=read, missed=missed)
                frames.append((path, at))
                if len(frames) == BATCH:
                    self._hand_over(frames)
                    frames = []
            capture.release()

    def _hand_over(self, frames: list[Frame]) -> None:
        while not self._stopped.is_set():
            try:
                return self._batches.put(frames, timeout=0.5)
            except queue.Full:
                continue

    def _infer(self) -> None:
        while not self._stopped.is_set():
            try:
                frames = self._batches.get(timeout=0.5)
            except queue.Empty:
                continue
            paths = [path for path, _ in frames]
            run = subprocess.run([*self._command, *map(str, paths)], stdout=subprocess.PIPE)
            if run.returncode != 0:
                self._files.event("failed", self._name)
                continue
            self._files.record(
                {
                    "basic": {
                        "camID": self._name,
                        "Date": time.strftime("%d/%m/%Y"),
                        "timestamp": time.strftime("%H:%M:%S"),
                        "frame_base64": base64.b64encode(paths[0].read_bytes()).decode(),
                    },
                    **json.loads(run.stdout),
                }
            )
            self._files.event("record", self._name, last=frames[-1][1], at=time.time())
            for path in paths:
                path.unlink()


def main() -> int:
    """Runs until standard input ends."""
    folder, interval, command = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    files, cameras = Files(folder), {}
    for line in sys.stdin:
        order, name, *url = line.split()
        if order == "start":
            cameras[name] = Camera(name, url[0], folder / name, interval, command, files)
        else:
            cameras.pop(name).stop()
    for camera in cameras.values():
        camera.ask_to_stop()
    for camera in cameras.values():
        camera.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
