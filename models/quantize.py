# SPDX-License-Identifier: Apache-2.0
"""Makes the int8 form of a network for the engine `openvino`, by NNCF.

usage: quantize.py models/NAME WEIGHTS.onnx --pictures DIR [--eval DIR]

Writes WEIGHTS_int8.xml and .bin beside WEIGHTS.onnx, and WEIGHTS_int8.json, a
report. With --eval, a folder with images/ and labels/ (a line `class cx cy w h`
for each object, in parts of the picture), the report holds the mAP before and
after, and nothing is written where more is lost than --max-loss allows. The
pictures to calibrate on must not be those to score on.

Needs the packages of models/requirements_quantize.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import nncf
import numpy as np
import openvino as ov
import yaml
from labelled_pictures import Found, LabelledPictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The head that turns distributions into boxes stays in float: its sums and
# products of pixels do not fit 256 steps.
BOX_HEAD = r"/model\.\d+/(dfl|Concat|Sub|Add|Mul|Div|Sigmoid|Split).*"


class Network:
    """A network as its model.yaml says it is fed and read."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.names: list[str] = manifest.get("class_names") or manifest["classes"]
        spec = manifest["input"]
        self.width, self.height = spec["width"], spec["height"]
        self.rgb = spec.get("color", "rgb") == "rgb"
        self.scale = spec.get("scale", 255)
        self.centre = spec.get("letterbox", "center") == "center"
        self.pad = spec.get("pad", 114)
        if manifest["output"] != "yolov8":
            raise SystemExit(f"quantize.py: output must be yolov8, got {manifest['output']}")

    def load(self, path: Path) -> ov.Model:
        """Reads a network."""
        return ov.Core().read_model(path)

    def prepare(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float, int, int]:
        """[1, 3, H, W] float32 as the network wants it; scale, left and top of the letterbox."""
        height, width = picture.shape[:2]
        scale = min(self.width / width, self.height / height)
        size = (round(width * scale), round(height * scale))
        left = (self.width - size[0]) // 2 if self.centre else 0
        top = (self.height - size[1]) // 2 if self.centre else 0
        canvas = np.full((self.height, self.width, 3), self.pad, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size)
        if self.rgb:
            canvas = canvas[:, :, ::-1]
        planes = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        return planes / self.scale, scale, left, top

    def score(self, model: ov.Model, pictures: LabelledPictures) -> tuple[float, float]:
        """mAP50-95 and mAP50 at the square input."""
        model = model.clone()
        model.reshape([1, 3, self.height, self.width])
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = ov.Core().compile_model(model, "CPU", config)
        found: list[Found] = []
        for number, path in enumerate(pictures.jpegs, 1):
            planes, scale, left, top = self.prepare(cv2.imread(str(path)))
            output = compiled(planes)[0][0]
            for class_id, score, box in self.boxes(output):
                x1, y1, x2, y2 = (
                    (v - o) / scale for v, o in zip(box, (left, top) * 2, strict=True)
                )
                found.append(Found(number, class_id, score, (x1, y1, x2, y2)))
        return pictures.mean_average_precision(found)

    def boxes(self, output: NDArray[np.float32]) -> list[tuple[int, float, list[float]]]:
        """Class, score and box in input pixels, after NMS, at most 300."""
        classes, anchors = np.nonzero(output[4:] > 0.001)
        scores = output[4:][classes, anchors]
        cx, cy, w, h = output[:4, anchors]
        corners = np.stack([cx - w / 2, cy - h / 2, w, h], 1)
        kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), scores.tolist(), classes.tolist(), 0, 0.7)
        best = sorted((int(i) for i in np.ravel(kept)), key=lambda i: -scores[i])[:300]
        return [
            (
                int(classes[i]),
                float(scores[i]),
                [*corners[i, :2].tolist(), *(corners[i, :2] + corners[i, 2:]).tolist()],
            )
            for i in best
        ]


def quantize(network: Network, model: ov.Model, jpegs: list[Path], keep: str) -> ov.Model:
    """The int8 form, calibrated on the pictures."""

    def planes(path: Path) -> NDArray[np.float32]:
        return network.prepare(cv2.imread(str(path)))[0]

    transform: Callable[[Path], NDArray[np.float32]] = planes
    return nncf.quantize(
        model,
        nncf.Dataset(jpegs, transform),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(jpegs),
        ignored_scope=nncf.IgnoredScope(patterns=[keep], validate=False),
    )


def main() -> int:
    """Quantizes one network."""
    parser = argparse.ArgumentParser(description="Makes the int8 form of a network, by NNCF.")
    parser.add_argument("model", type=Path, help="folder of the model, with its model.yaml")
    parser.add_argument("weights", type=Path, help="the .onnx")
    parser.add_argument("--pictures", type=Path, required=True, help="JPEGs to calibrate on")
    parser.add_argument("--eval", type=Path, help="folder with images/ and labels/ to score on")
    parser.add_argument("--max-loss", type=float, default=1.0, help="points of mAP50-95; 1.0")
    parser.add_argument("--keep", default=BOX_HEAD, help="operations that stay in float")
    args = parser.parse_args()
    jpegs = sorted(args.pictures.rglob("*.jpg"))
    if not jpegs:
        parser.error(f"no JPEGs in {args.pictures}")
    network = Network(yaml.safe_load((args.model / "model.yaml").read_text()))
    scored = None
    if args.eval:
        scored = LabelledPictures.load(
            args.eval / "images", args.eval / "labels", len(network.names)
        )
        common = {path.name for path in jpegs} & {path.name for path in scored.jpegs}
        if common:
            parser.error(f"calibrated and scored on the same pictures: {sorted(common)[:3]}")
    model = network.load(args.weights)
    int8 = quantize(network, model, jpegs, args.keep)
    report: dict[str, Any] = {
        "weights": args.weights.name,
        "pictures": [path.name for path in jpegs],
    }
    loss = 0.0
    if scored is not None:
        before, after = network.score(model, scored), network.score(int8, scored)
        loss = 100 * (before[0] - after[0])
        report |= {
            "scored_pictures": len(scored.jpegs),
            "before": {"map50_95": round(before[0], 4), "map50": round(before[1], 4)},
            "after": {"map50_95": round(after[0], 4), "map50": round(after[1], 4)},
            "loss_points": round(loss, 2),
        }
        print(json.dumps({k: v for k, v in report.items() if k != "pictures"}, indent=2))
    if loss > args.max_loss:
        print(f"{loss:.2f} points of mAP50-95 lost, {args.max_loss} allowed: nothing is written")
        return 1
    target = args.weights.with_name(f"{args.weights.stem}_int8.xml")
    ov.save_model(int8, target, compress_to_fp16=False)
    target.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
