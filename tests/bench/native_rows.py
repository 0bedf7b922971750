# SPDX-License-Identifier: Apache-2.0
"""Native detection on one thread: JPEG in, boxes out."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
from measure import Contender, Samples, cpu_seconds, race, tree_cpu_seconds
from rig import ROOT, BenchError, Rig, Running
from table import CAMHERD, Line, Say

MODEL = "yolo_v8"
ULTRALYTICS, RAW = "ultralytics predict(rect=False)", "benchmark_app, the network alone"
SMALL = "camherd, 640x480"
ONE_CALLER, TWO_CALLERS = "camherd, 2 streams, 1 caller", "camherd, 2 streams, 2 callers"
# Most that ours may take over the raw network, ms.
OVERHEAD = {CAMHERD: 12, SMALL: 4}
# Pictures of one measurement.
PICTURES = 30

# name: settings of the service, and the most of ultralytics' CPU it may take.
WAYS: dict[str, tuple[dict[str, str], float | None]] = {
    CAMHERD: ({"precision": "f32", "input_shape": "square"}, 0.75),
    "camherd bf16": ({"precision": "bf16", "input_shape": "square"}, None),
    "camherd int8": ({"precision": "int8", "input_shape": "square"}, 0.45),
    "camherd bf16 640x384": ({"precision": "bf16"}, None),
    "camherd int8 640x384": ({"precision": "int8"}, 0.35),
}

# A resident ultralytics of one thread: a line in, that many pictures seen.
PREDICTOR = """
import sys
import cv2, torch
from ultralytics import YOLO
torch.set_num_threads(1)
cv2.setNumThreads(1)
model = YOLO(sys.argv[1], task="detect")
pictures = sys.argv[2:]
def look(count):
    for n in range(count):
        model.predict(pictures[n % len(pictures)], imgsz=640, rect=False, conf=0.25, iou=0.7,
                      device="cpu", verbose=False)
look(3)
print("ready", flush=True)
for line in sys.stdin:
    look(int(line))
    print("done", flush=True)
"""


def python_with(rig: Rig, name: str, requirements: Path, say: Say) -> Path:
    """An environment of the bench's own; kept."""
    folder = rig.work / "python" / name
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        say(f"  installing {requirements.name}")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)]
        subprocess.run(install, check=True)
        (folder / ".installed").touch()
    return python


def weights_with_int8(rig: Rig, quantizer: Path, say: Say) -> Path:
    """A folder with the network and its int8 form."""
    folder = rig.work / "weights"
    folder.mkdir(exist_ok=True)
    network = folder / "yolov8n_dynamic.onnx"
    if not network.exists():
        shutil.copyfile(rig.weights() / network.name, network)
    if not network.with_name("yolov8n_dynamic_int8.xml").exists():
        say("  quantizing")
        command = [str(quantizer), str(ROOT / "models/quantize.py"), str(ROOT / "models" / MODEL)]
        command += [str(network), "--pictures", str(rig.weights().parent / "calibration")]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder


def _detector(
    rig: Rig, service: Running, stack: contextlib.ExitStack, jpegs: list[Path], callers: int = 1
) -> Contender:
    """Detect, one picture after the other for each caller; CPU of the service alone."""
    messages = rig.messages("inference_service")
    requests = [messages.DetectRequest(model=MODEL, jpeg=path.read_bytes()) for path in jpegs]
    # One channel for all calls, as the gateway has it.
    channel = stack.enter_context(grpc.insecure_channel(service.address))
    detect = channel.unary_unary(
        "/camherd.v1.InferenceService/Detect",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=messages.DetectResponse.FromString,
    )

    def look(count: int) -> None:
        for n in range(count):
            detect(requests[n % len(requests)], timeout=60)

    look(3)

    def measure() -> tuple[float, dict[str, float]]:
        threads = [threading.Thread(target=look, args=(PICTURES,)) for _ in range(callers)]
        before, start = cpu_seconds(service.pid), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen = PICTURES * callers
        wall = (time.monotonic() - start) / seen
        return 1000 * (cpu_seconds(service.pid) - before) / seen, {"wall ms": 1000 * wall}

    return Contender("", measure)


def _ultralytics(rig: Rig, python: Path, stack: contextlib.ExitStack) -> Contender:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "true"}
    environment["YOLO_CONFIG_DIR"] = str(rig.work / "python")
    command = [str(python), "-c", PREDICTOR, str(rig.weights() / "yolov8n.pt")]
    process = stack.enter_context(
        subprocess.Popen(
            [*command, *map(str, rig.jpegs())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
    )
    stack.callback(process.kill)

    def await_line(word: str) -> None:
        for line in process.stdout:
            if line.strip() == word:
                return
        raise BenchError("ultralytics ended")

    await_line("ready")

    def measure() -> tuple[float, dict[str, float]]:
        before = tree_cpu_seconds(process.pid)
        process.stdin.write(f"{PICTURES}\n")
        process.stdin.flush()
        await_line("done")
        return 1000 * (tree_cpu_seconds(process.pid) - before) / PICTURES, {}

    return Contender(ULTRALYTICS, measure)


def _raw(python: Path, network: Path) -> Contender:
    """OpenVINO's own benchmark of the network, which tells the latency on one thread."""
    command = [str(python.parent / "benchmark_app"), "-m", str(network), "-d", "CPU"]
    command += ["-shape", "[1,3,640,640]", "-hint", "none", "-nstreams", "1", "-nthreads", "1"]
    command += ["-nireq", "1", "-api", "sync", "-niter", str(PICTURES)]
    command += ["-infer_precision", "f32"]

    def measure() -> tuple[float, dict[str, float]]:
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"Median:\s+([\d.]+) ms", out)
        if found is None:
            raise BenchError(f"benchmark_app told no latency: {out[-500:]}")
        return float(found[1]), {}

    return Contender(RAW, measure)


def _small(rig: Rig) -> list[Path]:
    """The same pictures at 640x480."""
    large = rig.jpegs()
    folder = rig.folder("jpegs_640x480")
    for path in large:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(path)]
        command += ["-vf", "scale=640:480", "-q:v", "2", str(folder / path.name)]
        subprocess.run(command, check=True)
    return [folder / path.name for path in large]


def native(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """One picture of 1080p, one thread; and two callers of two threads."""
    quantizer = python_with(rig, "quantizer", ROOT / "models/requirements_quantize.txt", say)
    requirements = ROOT / "models/animals/requirements_animals.txt"
    ultralytics = python_with(rig, "ultralytics", requirements, say)
    os.environ["CAMHERD_WEIGHTS_DIR"] = str(weights_with_int8(rig, quantizer, say))
    with contextlib.ExitStack() as stack:
        contenders = []

        def start(number: int, settings: dict[str, str]) -> Running:
            fixed = {
                "aggregator": rig.null_backend().address,
                "models_dir": str(ROOT / "models"),
                "streams": "1",
                "prepare": MODEL,
            }
            data = rig.folder(f"native{number}")
            log = rig.work / f"native{number}.log"
            service = stack.enter_context(rig.service("inference", log, data, fixed | settings))
            rig.prepare_model(service.address, MODEL, say)
            return service

        def add(name: str, service: Running, jpegs: list[Path], callers: int = 1) -> None:
            measure = _detector(rig, service, stack, jpegs, callers).measure
            contenders.append(Contender(name, measure))

        services = [start(n, settings) for n, (settings, _) in enumerate(WAYS.values())]
        for name, service in zip(WAYS, services, strict=True):
            add(name, service, rig.jpegs())
        add(SMALL, services[0], _small(rig))
        two = start(len(WAYS), WAYS[CAMHERD][0] | {"streams": "2"})
        add(ONE_CALLER, two, rig.jpegs())
        add(TWO_CALLERS, two, rig.jpegs(), callers=2)
        os.environ.pop("CAMHERD_WEIGHTS_DIR")
        contenders.append(_ultralytics(rig, ultralytics, stack))
        contenders.append(_raw(quantizer, rig.work / "weights" / "yolov8n_dynamic.onnx"))
        result = race(contenders, rounds, say)
    lines = [_line(samples, result.samples) for samples in result.samples.values()]
    if result.disturbed:
        lines[0].remark += f"; DISTURBED: others used up to {result.foreign:.0%} of the machine"
    return lines


def _line(samples: Samples, all_samples: dict[str, Samples]) -> Line:
    name = samples.name
    remark = f"{min(samples.costs):.3g} to {max(samples.costs):.3g}"
    line = Line("native", name, samples.median, "CPU-ms per picture", remark=remark)
    raw = all_samples[RAW].median
    if name in WAYS:
        line.ratio, line.budget = samples.median / all_samples[ULTRALYTICS].median, WAYS[name][1]
        line.remark += f"; of {ULTRALYTICS}"
    if name in OVERHEAD:
        line.remark += f"; {samples.median - raw:.3g} ms over the network, of {OVERHEAD[name]}"
    if name == TWO_CALLERS:
        walls = [statistics.median(all_samples[who].notes["wall ms"]) for who in (ONE_CALLER, name)]
        line.remark += f"; {walls[0] / walls[1]:.3g} times the throughput of one, of at least 1.6"
    return line
