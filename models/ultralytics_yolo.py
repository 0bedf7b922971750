# SPDX-License-Identifier: Apache-2.0
"""Loads a YOLO checkpoint with ultralytics; for the models that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camherd_worker import Detection, Detector, Options


def load(options: Options) -> Detector:
    """Loads the weights and says how a picture is looked at."""
    import cv2
    import numpy as np
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    model = YOLO(str(options.weights), task="detect")
    wanted = [number for number, name in model.names.items() if name in options.classes]

    def detect(jpeg: bytes, min_score: float, nms_iou: float) -> list[Detection] | None:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            return None
        # rect=False: the square input every engine of the model uses; the
        # minimal rectangle moves a quarter of the boxes.
        boxes = model.predict(
            picture,
            imgsz=(options.height, options.width),
            rect=False,
            conf=min_score,
            iou=nms_iou,
            classes=wanted,
            device="cpu",
            verbose=False,
        )[0].boxes
        rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True)
        return [(model.names[int(number)], score, tuple(box)) for number, score, box in rows]

    # The first picture is slow; it must not be one of a batch with a deadline.
    detect(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes(), 0.5, 0.5)
    return detect
