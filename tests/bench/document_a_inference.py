#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer's model runner: loads YOLOv8n with ultralytics, looks, and ends.

    document_a_inference.py WEIGHTS PICTURE...

As ultralytics comes: all threads, the least rectangle (640x384 for 16:9), all
pictures in one call. Prints the section as JSON.
"""

from __future__ import annotations

import json
import os
import sys

CLASSES = ("person", "bird", "cat", "dog", "horse", "sheep", "cow")


def main() -> int:
    """One batch."""
    # What a library prints must not mix with the JSON.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from ultralytics import YOLO

    model = YOLO(sys.argv[1], task="detect")
    wanted = [number for number, name in model.names.items() if name in CLASSES]
    detections = [
        {
            "class": model.names[int(number)],
            "confidence": round(score, 4),
            "box": [round(side) for side in box],
        }
        for result in model.predict(sys.argv[2:], classes=wanted, device="cpu", verbose=False)
        for number, score, box in zip(
            result.boxes.cls.tolist(),
            result.boxes.conf.tolist(),
            result.boxes.xyxy.tolist(),
            strict=True,
        )
    ]
    json.dump({"stray_animal": {"detections": detections}}, out)
    out.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
