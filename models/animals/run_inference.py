# SPDX-License-Identifier: Apache-2.0
"""Finds people and animals with YOLOv8n, by ultralytics on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

CLASSES = ("person", "bird", "cat", "dog", "horse", "sheep", "cow")


def main() -> int:
    """A's standalone runner, and the service's worker."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from camherd_worker import Model, run
    from ultralytics_yolo import load

    return run(Model("animals", "stray_animal", CLASSES, load, weights="yolov8n.pt"), __file__)


if __name__ == "__main__":
    sys.exit(main())
