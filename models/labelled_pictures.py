# SPDX-License-Identifier: Apache-2.0
"""Folders of labelled pictures, and their mAP as pycocotools computes it."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@dataclass
class Found:
    """One box that a model found, in pixels of its picture."""

    picture: int
    class_id: int
    score: float
    box: tuple[float, float, float, float]


@dataclass
class LabelledPictures:
    """JPEGs, and labels `class cx cy w h` in parts of the picture's size."""

    jpegs: list[Path]
    truth: COCO

    @staticmethod
    def load(images: Path, labels: Path, classes: int) -> LabelledPictures:
        """Reads a folder of pictures and its folder of labels of the same names, with
        their folders."""
        jpegs = sorted(images.rglob("*.jpg"))
        pictures, annotations = [], []
        for number, jpeg in enumerate(jpegs, 1):
            width, height = jpeg_size(jpeg.read_bytes())
            pictures.append({"id": number, "width": width, "height": height})
            label = labels / jpeg.relative_to(images).with_suffix(".txt")
            for line in label.read_text().splitlines():
                class_id, cx, cy, w, h = (float(part) for part in line.split())
                w, h = w * width, h * height
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": int(class_id),
                        "bbox": [cx * width - w / 2, cy * height - h / 2, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                    }
                )
        truth = COCO()
        truth.dataset = {
            "images": pictures,
            "annotations": annotations,
            "categories": [{"id": n} for n in range(classes)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
        return LabelledPictures(jpegs, truth)

    def mean_average_precision(self, found: list[Found]) -> tuple[float, float]:
        """mAP50-95 and mAP50 of `found`; pictures count from 1."""
        results = [
            {
                "image_id": f.picture,
                "category_id": f.class_id,
                "bbox": [f.box[0], f.box[1], f.box[2] - f.box[0], f.box[3] - f.box[1]],
                "score": f.score,
            }
            for f in found
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.truth, self.truth.loadRes(results), "bbox")
            # All boxes count, also where a picture has more than 100.
            evaluation.params.maxDets = [1, 10, 300]
            evaluation.evaluate()
            evaluation.accumulate()
        # [IoU 0.50:0.05:0.95, recall, class, all areas, 300 boxes]; -1: no such class.
        precision = evaluation.eval["precision"][:, :, :, 0, 2]

        def mean(values) -> float:  # noqa: ANN001
            values = values[values > -1]
            return float(values.mean()) if values.size else 0.0

        return mean(precision), mean(precision[0])


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height, from the frame header (ITU-T T.81 B.2.2)."""
    at = 2
    while at + 9 < len(jpeg):
        marker, length = jpeg[at + 1], struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", jpeg[at + 5 : at + 9])
            return width, height
        at += 2 + length
    raise ValueError("not a JPEG")
