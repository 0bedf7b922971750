# SPDX-License-Identifier: Apache-2.0
"""Checks of records, pictures and grids that several tests share."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
from harness import ROOT

GOLDEN = ROOT / "tests" / "golden" / "orchestrator_record"

# Document A's cells: three by three, 640x360 each.
CELL = (640, 360)


def check_schema(line: dict[str, Any]) -> None:
    """Fails unless a line has exactly document A's keys and formats."""
    schema = json.loads((GOLDEN / "schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(line)
    example = json.loads((GOLDEN / "example.json").read_text())
    assert list(line)[:3] == list(example), list(line)
    assert list(line)[-1] == "meta", list(line)
    assert list(line["basic"]) == list(example["basic"])
    shown = list(line["basic"]["complaint_type"])
    assert shown[:2] == list(example["basic"]["complaint_type"]), shown
    for section in ("stray_animal", "pothole"):
        for detection in (line[section] or {"detections": []})["detections"]:
            assert list(detection) == ["class", "confidence", "box"]


def first_frame(line: dict[str, Any]) -> bytes:
    """The JPEG of frame_base64."""
    return base64.b64decode(line["basic"]["frame_base64"], validate=True)


def decode(jpeg: bytes) -> np.ndarray:
    """A JPEG as BGR; fails if it is none."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def luma(jpeg: bytes) -> float:
    """Mean full-range Y' of a JPEG, 0..255: libjpeg's own grey is the Y plane."""
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE).mean())


def page_picture(page: str) -> bytes:
    """The one picture of /stop's page, from its data URI."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html.unescape(page))
    assert len(found) == 1, page[:400]
    return base64.b64decode(found[0], validate=True)


def cells(grid: bytes) -> list[np.ndarray]:
    """The nine pictures of a grid, in reading order."""
    picture = decode(grid)
    assert picture.shape == (3 * CELL[1], 3 * CELL[0], 3), picture.shape
    return [
        picture[y : y + CELL[1], x : x + CELL[0]]
        for y in range(0, 3 * CELL[1], CELL[1])
        for x in range(0, 3 * CELL[0], CELL[0])
    ]


def as_cell(jpeg: bytes) -> np.ndarray:
    """A frame as it is to look in a grid: letterboxed to a cell."""
    picture = decode(jpeg)
    height, width = picture.shape[:2]
    scale = min(CELL[0] / width, CELL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    inner = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cell = np.zeros((CELL[1], CELL[0], 3), np.uint8)
    left, top = (CELL[0] - size[0]) // 2, (CELL[1] - size[1]) // 2
    cell[top : top + size[1], left : left + size[0]] = inner
    return cell


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, dB."""
    return float(cv2.PSNR(a, b))


def kept_frames(folder: Path, session_id: str) -> dict[int, bytes]:
    """What a session ever spooled, by frame number; see keep_frames.cc."""
    frames = {}
    for path in folder.glob(f"*_{session_id}+*.jpg"):
        frames[int(path.stem.rsplit("+", 1)[1])] = path.read_bytes()
    return frames


def spooled_frames(data: Path, session_id: str) -> dict[int, bytes]:
    """What a session holds in the spool now, by frame number."""
    frames = {}
    for path in data.glob(f"frames/*_{session_id}/*.jpg"):
        frames[int(path.stem)] = path.read_bytes()
    return frames
