# SPDX-License-Identifier: Apache-2.0
"""The real model `animals`: by ultralytics in its environment of 6 GB, and
natively."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import HerdMaker
from harness import ROOT, SHARED, VTEST, Camera, Herd, import_protos, wait_for, weights_dir
from records import check_schema, kept_frames

# Disk that the environment needs while it is built, GB.
NEEDED_GB = 12

# Run by the environment's own interpreter: ultralytics, without our code.
REFERENCE = """
import json, sys
from ultralytics import YOLO
model = YOLO(sys.argv[1])
keep = {"person", "bird", "cat", "dog", "horse", "sheep", "cow"}
found = {}
for path in sys.argv[2:]:
    result = model.predict(path, conf=0.25, iou=0.7, rect=False, device="cpu", verbose=False)
    boxes = result[0].boxes
    rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist())
    found[path] = [(model.names[int(c)], s, b) for c, s, b in rows if model.names[int(c)] in keep]
print("RESULT" + json.dumps(found))
"""


def skip_unless_it_can_be_built(folder: Path) -> Path:
    """The weights; skips with the reason where the real model cannot run."""
    weights = weights_dir()
    if weights is None:
        pytest.skip("no yolov8n.pt in $CAMHERD_WEIGHTS_DIR or ../shared/data/weights")
    free = shutil.disk_usage(folder).free / 1e9
    if free < NEEDED_GB:
        pytest.skip(f"{free:.1f} GB free, the environment needs {NEEDED_GB}")
    return weights


def iou(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (areas - shared)


def has_partner(one: tuple[str, float, list[float]], others: list[Any], score: float) -> bool:
    """True if the other side saw the same object."""
    return any(
        other[0] == one[0] and iou(other[2], one[2]) >= 0.9 and abs(other[1] - one[1]) <= score
        for other in others
    )


def build_progress(herd: Herd) -> list[str]:
    """Waits until the model is ready; the texts of its progress on the way."""
    seen: list[str] = []
    end = time.monotonic() + 800

    def ready() -> bool:
        model = herd.get("/api/v1/models/animals").json
        text = f"{model['state']} {model['progress_text']}"
        if not seen or seen[-1] != text:
            seen.append(text)
        if model["state"] == "failed" and is_unreachable(model):
            pytest.skip(f"the registry cannot be reached: {model['log_tail'][-1:]}")
        assert model["state"] != "failed", model
        return model["state"] == "ready"

    wait_for(ready, end - time.monotonic(), lambda: f"ready: {seen[-5:]}", every=0.2)
    return seen


def is_unreachable(model: dict[str, Any]) -> bool:
    """True if the build failed because there is no network."""
    log = "\n".join(model["log_tail"]).lower()
    words = ("name resolution", "connection refused", "network is unreachable", "dns error")
    return any(word in log for word in words)


def log_since_start(herd: Herd) -> str:
    """What the inference service has logged since it was started last."""
    return herd.log("inference").rpartition("msg=starting")[2]


def detect(
    herd: Herd, picture: str, engine: str = "openvino"
) -> list[tuple[str, float, list[float]]]:
    """What an engine finds in a picture."""
    import_protos()
    from camherd.v1 import inference_service_pb2

    request = inference_service_pb2.DetectRequest(
        model="animals", jpeg=Path(picture).read_bytes(), min_score=0.25, nms_iou=0.7
    )
    with herd.stub("inference") as inference:
        next(inference.PrepareModel(inference_service_pb2.PrepareModelRequest(name="animals")))
        wait_for(
            lambda: '"model ready"' in log_since_start(herd), 90, lambda: herd.tail("inference")
        )
        answer = inference.Detect(request, timeout=60)
    assert answer.engine == engine
    return [
        (d.class_name, d.confidence, [d.box.x1, d.box.y1, d.box.x2, d.box.y2])
        for d in answer.detections
    ]


def test_animals_finds_what_ultralytics_finds_on_the_same_frames(
    make_herd: HerdMaker, tmp_path: Path
) -> None:
    weights = skip_unless_it_can_be_built(tmp_path)
    cows = SHARED / "videos" / "cows_1080p.mp4"
    mounts = [f"people,video={VTEST},gop=2"]
    if cows.exists():
        mounts.append(f"cows,codec=copy,video={cows}")
    only_pt = tmp_path / "only_pt"
    only_pt.mkdir()
    (only_pt / "yolov8n.pt").symlink_to(weights / "yolov8n.pt")
    # As document A has it: in Python alone.
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models, ignore=shutil.ignore_patterns("*.pt", "*.onnx"))
    manifest = models / "animals" / "model.yaml"
    manifest.write_text(
        manifest.read_text().replace("engines: [onnxruntime, openvino, venv]", "engines: [venv]")
    )
    herd = make_herd(
        start=False, keep_frames=True, INFERENCE_MODELS_DIR=str(models), WEIGHTS_DIR=str(only_pt)
    )
    plain = {
        "INFERENCE_MODELS_DIR": str(ROOT / "models"),
        "INFERENCE_PRECISION": "f32",
        "INFERENCE_INPUT_SHAPE": "square",
        "INFERENCE_SCALED_DECODING": "false",
    }
    native = make_herd(start=False, **plain).start(["aggregator", "inference"])
    # The real registry, and a cache that is gone afterwards.
    herd.environment = {"UV_CACHE_DIR": str(herd.folder / "uv-cache"), "UV_LINK_MODE": "hardlink"}
    herd.environment |= {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_"))}
    herd.start()
    with Camera(*mounts) as camera:
        started = time.monotonic()
        sessions = {}
        for mount in mounts:
            name = mount.split(",")[0]
            answer = herd.start_stream(camera.url(name), model_name="animals", interval=1)
            sessions[name] = answer["session_id"]
        # What is captured while the environment is built waits in the spool.
        for name in sessions:
            herd.wait_captured(name, 12)
            herd.stop_stream(name)
        progress = build_progress(herd)
        print(f"environment ready after {time.monotonic() - started:.0f} s: {progress}")
        assert any("installing" in text for text in progress), progress
        for name in sessions:
            herd.wait_stream(name, lambda s: s["accounting"]["spooled"] == 0, 180)
        herd.wait_records(4)
    compared = 0
    # Boxes over 0.3 of one way, and how many the other has too: the native
    # engine beside ultralytics, and beside the same in our environment.
    boxes = {"ultralytics": 0, "venv": 0}
    same = dict(boxes)
    interpreter = herd.data / "venvs" / "animals" / "bin" / "python"
    for name, session in sessions.items():
        line = next(
            x
            for x in herd.lines()
            if (x["meta"]["session_id"], x["meta"]["batch_seq"]) == (session, 1)
        )
        check_schema(line)
        model = line["meta"]["models"]["animals"]
        assert (model["outcome"], model["engine"]) == ("ok", "venv")
        kept = kept_frames(herd.folder / "kept", session)
        pictures = []
        for frame in line["meta"]["frames"]:
            path = tmp_path / f"{name}-{frame['frame_seq']}.jpg"
            path.write_bytes(kept[frame["frame_seq"]])
            pictures.append(str(path))
        out = subprocess.run(
            [str(interpreter), "-c", REFERENCE, str(weights / "yolov8n.pt"), *pictures],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        ).stdout
        reference = json.loads(out[out.index("RESULT") + 6 :])

        ours: dict[str, list[tuple[str, float, list[float]]]] = {p: [] for p in pictures}
        indexes = line["meta"]["detection_frames"]["stray_animal"]
        found = line["stray_animal"]["detections"]
        for index, d in zip(indexes, found, strict=True):
            ours[pictures[index]].append((d["class"], d["confidence"], d["box"]))
        natively = {p: detect(native, p) for p in pictures}
        by_venv = {p: detect(herd, p, "venv") for p in pictures}
        for picture in pictures:
            others = {"ultralytics": reference[picture], "venv": by_venv[picture]}
            for whose, other in others.items():
                for one_way, other_way in ((other, natively[picture]), (natively[picture], other)):
                    over = [one for one in one_way if one[1] > 0.3]
                    boxes[whose] += len(over)
                    same[whose] += sum(has_partner(one, other_way, 0.05) for one in over)
            for one in reference[picture]:
                if one[1] >= 0.5:
                    compared += 1
                    assert has_partner(one, ours[picture], 0.05), (picture, one, ours[picture])
            for one in ours[picture]:
                if one[1] >= 0.5:
                    assert has_partner(one, reference[picture], 0.05), (picture, one)
    assert compared >= 10, "too few objects to compare"
    print(f"{compared} objects compared; native: {same} of {boxes} boxes over 0.3 the same")
    for whose, count in boxes.items():
        assert same[whose] >= 0.99 * count, whose

    # Document A's standalone runner prints the section.
    out = subprocess.run(
        [str(interpreter), str(ROOT / "models" / "animals" / "run_inference.py"), pictures[0]],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "CAMHERD_WEIGHTS_DIR": str(weights)},
    ).stdout
    assert "detections" in json.loads(out)["stray_animal"]

    # The same checkpoint, exported in that environment, runs natively.
    herd.terminate("inference")
    herd.settings.update(plain)
    herd.restart("inference")
    exported = detect(herd, pictures[0])
    for one in natively[pictures[0]]:
        assert has_partner(one, exported, 0.05), (one, exported)
    assert "weights exported" in herd.log("inference")
    herd.terminate("inference")
    herd.restart("inference")
    assert len(detect(herd, pictures[0])) == len(exported)
    assert herd.log("inference").count("weights exported") == 1
