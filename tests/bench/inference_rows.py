# SPDX-License-Identifier: Apache-2.0
"""Batches: the way to inference, and the resident worker."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from capture_rows import INTERVAL
from google.protobuf.message import Message
from measure import Contender, cpu_seconds, race, tree_cpu_seconds
from rig import ROOT, BenchError, Rig, Running
from table import CAMHERD, Line, Say, race_lines


def model_python(rig: Rig, model: str) -> Path:
    python = rig.work / "inference/venvs" / model / "bin/python"
    if not python.exists():
        raise BenchError(f"{python} is missing")
    return python


def python_models(rig: Rig) -> Path:
    """The model folders, with the engine `venv` alone: what is compared here is
    Python that stays with Python that is started for each batch."""
    folder = rig.folder("models")
    ignored = shutil.ignore_patterns("*.pt", "*.onnx", "__pycache__")
    shutil.copytree(ROOT / "models", folder, dirs_exist_ok=True, ignore=ignored)
    for manifest in folder.glob("*/model.yaml"):
        text = manifest.read_text()
        manifest.write_text(
            text.replace("engines: [onnxruntime, openvino, venv]", "engines: [venv]")
        )
    return folder


@contextlib.contextmanager
def inference_service(rig: Rig, aggregator: str, models: list[str], say: Say) -> Iterator[Running]:
    """camherd-inference with its models loaded; environments are kept."""
    data = rig.work / "inference"
    data.mkdir(exist_ok=True)
    settings = {"aggregator": aggregator, "models_dir": str(python_models(rig))}
    os.environ["CAMHERD_WEIGHTS_DIR"] = str(rig.weights())
    with rig.service("inference", rig.work / "inference.log", data, settings) as inference:
        for model in models:
            rig.prepare_model(inference.address, model, say)
        yield inference


class _Batches:
    """Sends batches of pictures over InferBatch."""

    def __init__(self, rig: Rig, address: str, model: str) -> None:
        self._messages = rig.messages("inference_service")
        self._frames = rig.messages("frame")
        self._model = model
        self._jpegs = [path.read_bytes() for path in rig.jpegs()]
        self._channel = grpc.insecure_channel(address)
        self._call = self._channel.stream_unary(
            "/camherd.v1.InferenceService/InferBatch",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self._messages.InferBatchResponse.FromString,
        )
        self._session = f"01900000-0000-7000-8000-{time.time_ns() % 10**12:012d}"
        self._batch_seq = 0

    def close(self) -> None:
        self._channel.close()

    def send(self) -> Message:
        """One batch; its answer."""
        self._batch_seq += 1
        infos = [
            self._frames.FrameInfo(
                frame_seq=n + 1,
                width=1920,
                height=1080,
                sha256=hashlib.sha256(jpeg).digest(),
                size_bytes=len(jpeg),
            )
            for n, jpeg in enumerate(self._jpegs)
        ]
        manifest = self._frames.BatchManifest(
            stream_id="01900000-0000-7000-8000-000000000001",
            session_id=self._session,
            camera_id="CAM-001",
            batch_seq=self._batch_seq,
            process_name="CAM-001",
            host_ip="127.0.0.1",
            models=[self._model],
            frames=infos,
            interval_seconds=INTERVAL,
        )
        manifest.sealed_at.GetCurrentTime()
        for info in manifest.frames:
            info.captured_at.GetCurrentTime()
        header = self._messages.InferBatchHeader(
            manifest=manifest,
            manifest_sha256=hashlib.sha256(manifest.SerializeToString()).digest(),
        )
        parts = [self._messages.InferBatchRequest(header=header)]
        for info, jpeg in zip(manifest.frames, self._jpegs, strict=True):
            frame = self._frames.Frame(info=info, jpeg=jpeg)
            parts.append(self._messages.InferBatchRequest(frame=frame))
        try:
            return self._call(iter(parts), timeout=120)
        except grpc.RpcError as error:
            raise BenchError(f"InferBatch: {error.code().name}: {error.details()}") from error


def venv_worker(rig: Rig, say: Say, rounds: int, models: list[str]) -> list[Line]:
    """A batch of 10 pictures: the resident worker, and a process per batch."""
    lines: list[Line] = []
    backend = rig.null_backend().address
    peer = "a process per batch"
    jpegs = [str(path) for path in rig.jpegs()]
    with inference_service(rig, backend, models, say) as inference:
        for model in models:
            batches = _Batches(rig, inference.address, model)
            boxes = sum(len(result.detections) for result in batches.send().results)
            batches.send()
            say(f"  {model}: {boxes} boxes in the batch")
            runner = [
                str(model_python(rig, model)),
                str(ROOT / f"models/{model}/run_inference.py"),
            ]

            def resident(batches: _Batches = batches) -> tuple[float, dict[str, float]]:
                cpu, own = tree_cpu_seconds(inference.pid), cpu_seconds(inference.pid)
                for _ in range(3):
                    batches.send()
                service = (cpu_seconds(inference.pid) - own) / 3
                return (tree_cpu_seconds(inference.pid) - cpu) / 3, {"service": service}

            def process(runner: list[str] = runner) -> tuple[float, dict[str, float]]:
                with subprocess.Popen([*runner, *jpegs], stdout=subprocess.DEVNULL) as run:
                    _, status, usage = os.wait4(run.pid, 0)
                    run.returncode = os.waitstatus_to_exitcode(status)
                if run.returncode != 0:
                    raise BenchError(f"{runner[1]} exited {run.returncode}")
                return usage.ru_utime + usage.ru_stime, {}

            process()  # Files into the cache.
            result = race([Contender(CAMHERD, resident), Contender(peer, process)], rounds, say)
            batches.close()
            row = f"venv-worker {model}"
            found = race_lines(row, result, "CPU-s/batch", {peer: 1 / 2})
            service = result.samples[CAMHERD].note("service")
            found[0].remark += f"; of it the service {service:.2g}"
            lines += found
        return lines


def rpc(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """InferBatch of 10 x 250 KB between two processes, both ends together."""
    backend = rig.null_backend()
    size = ["200", "10", "250000"]
    client = rig.program("camherd_bench_infer_batch")
    peer = "plain TCP socket"

    def run(command: list[str | Path]) -> tuple[float, dict[str, float]]:
        printed = subprocess.run([str(c) for c in command], check=True, capture_output=True)
        costs = json.loads(printed.stdout)
        both = costs["client_cpu_seconds"] + costs["server_cpu_seconds"]
        server = costs["server_cpu_seconds"] / costs["batches"] * 1e3
        return both / costs["batches"] * 1e3, {"server": server}

    grpc_command = [client, backend.address, str(backend.pid), *size]
    tcp_command = ["/usr/bin/python3", ROOT / "tests/bench/tcp_peer.py", *size]
    result = race(
        [
            Contender(CAMHERD, lambda: run(grpc_command)),
            Contender(peer, lambda: run(tcp_command)),
        ],
        rounds * 2,
        say,
    )
    lines = race_lines("rpc", result, "CPU-ms/batch", {})
    ours = result.samples[CAMHERD]
    lines[0].remark += f"; server {ours.note('server'):.2g}; budget 5 ms"
    return lines


def record_append(rig: Rig, say: Say, _rounds: int) -> list[Line]:
    """Durable records of 310 KB a second, and the CPU of one."""
    program = rig.program("camherd_bench_record_append")
    folder = rig.folder("record_append")
    env = {**os.environ, "TMPDIR": str(folder)}
    run = subprocess.run([program, "1000"], check=True, capture_output=True, text=True, env=env)
    shutil.rmtree(folder)
    lines = []
    for printed in run.stdout.splitlines()[1:]:
        say(f"  {printed}")
        senders, file, durable, with_lines, cpu_ms = printed.split()
        row = f"record-append, {senders} senders"
        what = "predictions.json too" if file == "yes" else "store only"
        rate = with_lines if file == "yes" else durable
        remark = f"{rate} records/s; budget 1 ms, 500/s"
        lines.append(Line(row, what, float(cpu_ms), "CPU-ms/record", remark=remark))
    return lines


def record_store(rig: Rig, say: Say) -> list[Line]:
    """A million records: time to open, to catch up and to list, for each filter."""
    program = rig.program("camherd_bench_record_store")
    folder = rig.folder("record_store")
    env = {**os.environ, "TMPDIR": str(folder)}
    lines = []
    with subprocess.Popen([program, "1000000"], stdout=subprocess.PIPE, text=True, env=env) as run:
        for printed in run.stdout:
            say(f"  {printed.rstrip()}")
            what, value, unit = printed.rstrip().rsplit(maxsplit=2)
            lines.append(Line("record-store", what, float(value), unit))
    shutil.rmtree(folder)
    if run.returncode != 0:
        raise BenchError(f"{program.name} ended with {run.returncode}")
    return lines
