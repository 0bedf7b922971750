# SPDX-License-Identifier: Apache-2.0
"""mAP of the whole way, JPEG in and boxes out, through Detect."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import ROOT, SHARED, Herd, import_protos, wait_for, weights_dir
from labelled_pictures import Found, LabelledPictures

CLASSES = 80
# The models as they are shipped, but keeping all classes.
MODELS = ("yolo_v8", "animals_yolox", "pothole")


def need_data() -> None:
    """Skips where the pictures or the weights are not on this machine."""
    for folder in (SHARED / "coco128", SHARED / "potholes"):
        if not folder.is_dir():
            pytest.skip(f"no labelled pictures: {folder} is not there")
    if weights_dir() is None:
        pytest.skip("no weights: CAMHERD_WEIGHTS_DIR is not set")


def make_models(folder: Path) -> Path:
    """The model folders, with `classes` widened to all that the network knows."""
    for name in MODELS:
        target = folder / "models" / name
        target.mkdir(parents=True)
        text = (ROOT / "models" / name / "model.yaml").read_text()
        names = re.search(r"^class_names:\n(  \[.*?\n  \])\n", text, re.MULTILINE | re.DOTALL)
        if names:
            text = re.sub(r"^classes: .*\n", "", text, flags=re.MULTILINE)
            text += f"classes:\n{names.group(1)}\n"
        (target / "model.yaml").write_text(text)
    return folder / "models"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Herd]]:
    """Starts an inference service with settings."""
    need_data()
    herds: list[Herd] = []

    def start(**settings: str) -> Herd:
        folder = tmp_path / str(len(herds))
        herd = Herd(folder, {"INFERENCE_MODELS_DIR": str(make_models(folder)), **settings})
        herds.append(herd)
        return herd.start(["aggregator", "inference"])

    yield start
    for herd in herds:
        herd.stop()
        shutil.rmtree(herd.folder)


def detect_all(herd: Herd, model: str, pictures: LabelledPictures) -> list[Found]:
    """All boxes of all pictures, unrounded."""
    import_protos()
    from camherd.v1 import inference_service_pb2, model_pb2

    names = {}
    with herd.stub("inference") as inference:
        next(inference.PrepareModel(inference_service_pb2.PrepareModelRequest(name=model)))

        def ready() -> bool:
            for listed in inference.ListModels(inference_service_pb2.ListModelsRequest()).models:
                if listed.name == model:
                    assert listed.state != model_pb2.MODEL_STATE_FAILED, listed.reason
                    names.update({name: i for i, name in enumerate(listed.classes)})
                    return listed.state == model_pb2.MODEL_STATE_READY
            raise AssertionError(f"no model {model}")

        wait_for(ready, 60, f"{model} ready")

        def detect(number: int) -> list[Found]:
            request = inference_service_pb2.DetectRequest(
                model=model,
                jpeg=pictures.jpegs[number - 1].read_bytes(),
                min_score=0.001,
                nms_iou=0.7,
                every_class=True,
            )
            answer = inference.Detect(request, timeout=60)
            assert answer.engine == "openvino"
            return [
                Found(number, names[d.class_name], d.confidence, (b.x1, b.y1, b.x2, b.y2))
                for d in answer.detections
                for b in [d.box]
            ]

        with ThreadPoolExecutor(2) as pool:
            each = list(pool.map(detect, range(1, len(pictures.jpegs) + 1)))
    return [found for one in each for found in one]


def coco() -> LabelledPictures:
    """128 pictures of COCO val2017."""
    folder = SHARED / "coco128"
    return LabelledPictures.load(
        folder / "images" / "val2017", folder / "labels" / "val2017", CLASSES
    )


PLAIN = {"INFERENCE_INPUT_SHAPE": "square", "INFERENCE_SCALED_DECODING": "false"}


@pytest.mark.parametrize(
    ("text", "settings", "least"),
    [
        ("f32 640x640", {**PLAIN, "INFERENCE_PRECISION": "f32"}, 0.429),
        ("bf16 640x640", {**PLAIN, "INFERENCE_PRECISION": "bf16"}, 0.425),
        (
            "f32 640x640, scaled decoding",
            {"INFERENCE_INPUT_SHAPE": "square", "INFERENCE_PRECISION": "f32"},
            0.42,
        ),
        (
            "f32, least rectangle, scaled decoding",
            {"INFERENCE_PRECISION": "f32"},
            0.40,
        ),
    ],
)
def test_yolov8n_on_coco(
    serve: Callable[..., Herd], text: str, settings: dict[str, str], least: float
) -> None:
    """YOLOv8n sees as well as its publisher's way does, whatever saves time."""
    pictures = coco()
    both = pictures.mean_average_precision(detect_all(serve(**settings), "yolo_v8", pictures))
    print(f"yolov8n {text}: mAP50-95 {both[0]:.4f}, mAP50 {both[1]:.4f}")
    assert both[0] >= least


@pytest.fixture(scope="module")
def quantizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the packages of models/requirements_quantize.txt."""
    need_data()
    folder = tmp_path_factory.mktemp("quantizer")
    uv = str(Path(sys.executable).parent / "uv")
    python = folder / "venv" / "bin" / "python"
    requirements = ROOT / "models" / "requirements_quantize.txt"
    for command in (
        [uv, "venv", "-q", "--python", "/usr/bin/python3", str(folder / "venv")],
        [uv, "pip", "install", "-q", "--python", str(python), "-r", str(requirements)],
    ):
        subprocess.run(command, check=True)
    return python


def quantize(
    python: Path, weights: Path, pictures: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """Runs models/quantize.py to its end."""
    command = [str(python), str(ROOT / "models" / "quantize.py"), str(ROOT / "models" / "yolo_v8")]
    command += [str(weights), "--pictures", str(pictures), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_yolov8n_quantized_on_coco(
    serve: Callable[..., Herd], quantizer: Path, tmp_path: Path
) -> None:
    """int8, calibrated on other pictures, loses less than a point."""
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = folder / "yolov8n_dynamic.onnx"
    shutil.copyfile(weights_dir() / weights.name, weights)
    out = quantize(quantizer, weights, SHARED / "calibration", "--eval", str(SHARED / "coco128"))
    assert out.returncode == 0, out.stderr[-2000:]
    report = json.loads(weights.with_name("yolov8n_dynamic_int8.json").read_text())
    assert report["loss_points"] <= 1.0
    assert len(report["pictures"]) == len(list((SHARED / "calibration").glob("*.jpg")))
    pictures = coco()
    herd = serve(**PLAIN, INFERENCE_PRECISION="int8", WEIGHTS_DIR=str(folder))
    both = pictures.mean_average_precision(detect_all(herd, "yolo_v8", pictures))
    print(f"yolov8n int8 640x640: mAP50-95 {both[0]:.4f}, mAP50 {both[1]:.4f}; {report['before']}")
    with herd.stub("inference") as inference:
        from camherd.v1 import inference_service_pb2

        listed = inference.ListModels(inference_service_pb2.ListModelsRequest()).models
    used = next(model for model in listed if model.name == "yolo_v8")
    assert (used.precision, used.weights_file) == ("int8", "yolov8n_dynamic_int8.xml")
    assert both[0] >= 0.424


def test_too_great_a_loss_and_scoring_on_the_same_pictures_are_refused(
    quantizer: Path, tmp_path: Path
) -> None:
    """Nothing is written then."""
    weights = tmp_path / "yolov8n.onnx"
    shutil.copyfile(weights_dir() / weights.name, weights)
    some = tmp_path / "some"
    for kind in ("images", "labels"):
        (some / kind).mkdir(parents=True)
        for path in sorted((SHARED / "coco128" / kind / "val2017").iterdir())[:2]:
            shutil.copyfile(path, some / kind / path.name)
    out = quantize(quantizer, weights, some / "images", "--eval", str(some))
    assert out.returncode == 2
    assert "the same pictures" in out.stderr
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((SHARED / "calibration").glob("*.jpg"))[:2]:
        shutil.copyfile(path, few / path.name)
    out = quantize(quantizer, weights, few, "--eval", str(some), "--max-loss=-101")
    assert out.returncode == 1
    assert "nothing is written" in out.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["yolov8n.onnx"]


def test_yolox_nano_on_coco(serve: Callable[..., Herd]) -> None:
    """The second output format."""
    pictures = coco()
    herd = serve(**PLAIN, INFERENCE_PRECISION="f32")
    both = pictures.mean_average_precision(detect_all(herd, "animals_yolox", pictures))
    print(f"yolox_nano f32 416x416: mAP50-95 {both[0]:.4f}, mAP50 {both[1]:.4f}")
    assert both[0] >= 0.335


def test_potholes(serve: Callable[..., Herd]) -> None:
    """Potholes, as shipped."""
    folder = SHARED / "potholes"
    pictures = LabelledPictures.load(folder / "images", folder / "labels", 1)
    both = pictures.mean_average_precision(detect_all(serve(), "pothole", pictures))
    print(f"pothole as shipped: mAP50-95 {both[0]:.4f}, mAP50 {both[1]:.4f}")
    assert both[1] >= 0.68
