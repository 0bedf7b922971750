#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peer: capturing as document A describes it.

    opencv_loop.py URL FOLDER INTERVAL

Reads every frame with cv2.VideoCapture and writes one per INTERVAL seconds to
FOLDER as a JPEG of quality 85. document_a.py is the whole flow.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2


def main() -> int:
    """Captures until it is killed."""
    url, folder, interval = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
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


if __name__ == "__main__":
    sys.exit(main())
