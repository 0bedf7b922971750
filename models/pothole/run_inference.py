# SPDX-License-Identifier: Apache-2.0
"""Finds potholes with a YOLOv5n of 256x256 pixels, by ONNX Runtime."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camherd_worker import Detection, Detector, Options

CLASSES = ("pothole",)


def load(options: Options) -> Detector:
    """Loads the weights and says how a picture is looked at."""
    import cv2
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(options.weights), settings, providers=["CPUExecutionProvider"]
    )
    cv2.setNumThreads(options.threads)

    def detect(jpeg: bytes, min_score: float, nms_iou: float) -> list[Detection] | None:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            return None
        height, width = picture.shape[:2]
        scale = min(options.width / width, options.height / height)
        inner = (max(round(width * scale), 1), max(round(height * scale), 1))
        left, top = (options.width - inner[0]) // 2, (options.height - inner[1]) // 2
        canvas = np.full((options.height, options.width, 3), 114, np.uint8)
        canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner)
        # [1, 3, H, W] float32, RGB, 0..1 -> [1, 5, anchors]: cx, cy, w, h, score.
        tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        rows = session.run(None, {"images": tensor})[0][0].T
        rows = rows[rows[:, 4] >= min_score]
        boxes = rows[:, :4].copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 4].tolist(), min_score, nms_iou)
        found: list[Detection] = []
        for index in np.asarray(kept, int).flatten():
            x, y, w, h = boxes[index]
            corners = (x - left, y - top, x + w - left, y + h - top)
            found.append(("pothole", float(rows[index, 4]), tuple(c / scale for c in corners)))
        return found

    return detect


def main() -> int:
    """A's standalone runner, and the service's worker."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from camherd_worker import Model, run

    return run(
        Model(
            "pothole",
            "pothole",
            CLASSES,
            load,
            weights="pothole_yolov5nu_256.onnx",
            width=256,
            height=256,
            min_score=0.4,
        ),
        __file__,
    )


if __name__ == "__main__":
    sys.exit(main())
