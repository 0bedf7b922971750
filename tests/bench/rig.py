# SPDX-License-Identifier: Apache-2.0
"""What the rows run on: the clip, the camera, the services, the pictures."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import grpc
from google.protobuf.message import Message

T = TypeVar("T")
M = TypeVar("M", bound=Message)

ROOT = Path(__file__).resolve().parents[2]
PEDESTRIANS = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
CLIP_SECONDS = 20
COWS = Path("videos/cows_1080p.mp4")
COWS_SECONDS = 6
FPS = 25

# 25 fps, a keyframe every 2 s, no B frames; at 1080p and 4 Mbit/s the quotient
# of quantisers makes keyframes of 139 KB and P frames of 17 KB on average.
_CLIP_FILTERS = "setpts=PTS*10/25,fps=25,scale={size},noise=alls=8:allf=t"
_CLIP_CODEC = (
    "-c:v libx264 -preset veryfast -profile:v high -g 50 -keyint_min 50"
    " -sc_threshold 0 -bf 0 -pix_fmt yuv420p -x264-params ipratio=0.7"
).split()

_SERVING = re.compile(r'msg="?serving"?.* grpc=(\S+)')


class BenchError(Exception):
    """The row cannot be run; the message says why."""


@dataclass
class Running:
    """A process of ours, and where it serves."""

    process: subprocess.Popen[bytes]
    address: str = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


def wait_for(what: str, done: Callable[[], T], seconds: float = 30) -> T:
    """What `done` returns once it is true; BenchError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = done()
        if value:
            return value
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


class Rig:
    """Owns the work folder and every process that the bench starts."""

    def __init__(self, build: Path, work: Path) -> None:
        self.bin = build / "bin"
        self.work = work
        self.work.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        self._messages: dict[str, ModuleType] = {}
        # Niceness of what is started from now on.
        self.nice = 0

    def close(self) -> None:
        """Ends what still runs."""
        self._stack.close()

    def folder(self, name: str) -> Path:
        """An empty folder for one measurement."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def program(self, name: str) -> Path:
        """A program of the build."""
        path = self.bin / name
        if not path.is_file():
            raise BenchError(f"{path} is not built")
        return path

    @contextlib.contextmanager
    def run(
        self,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Iterator[Running]:
        """A process with its output in `log`, ended on leaving."""
        nice = ["nice", "-n", str(self.nice)] if self.nice else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*nice, *(str(part) for part in command)],
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        try:
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def server(
        self,
        command: Sequence[str | Path],
        log: Path,
        pattern: re.Pattern[str],
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Running]:
        """A process that says where it serves, in a line of `pattern`."""
        with self.run(command, log, env) as running:

            def address() -> str:
                text = log.read_text(errors="replace")
                if running.process.poll() is not None:
                    raise BenchError(f"{Path(command[0]).name} ended: {text[-2000:].strip()}")
                match = pattern.search(text)
                return match[1] if match else ""

            running.address = wait_for(f"{log.name}: serving", address)
            yield running

    def service(
        self, name: str, log: Path, data: Path, settings: Mapping[str, str]
    ) -> contextlib.AbstractContextManager[Running]:
        """One of the four, configured by its environment, on free ports."""
        env = {f"CAMHERD_{name.upper()}_{key.upper()}": value for key, value in settings.items()}
        env.setdefault(f"CAMHERD_{name.upper()}_METRICS_LISTEN", "127.0.0.1:0")
        if name != "gateway":
            env.setdefault(f"CAMHERD_{name.upper()}_LISTEN", "127.0.0.1:0")
        if name == "capture":
            # A bench goes past what a box should carry.
            env.setdefault("CAMHERD_CAPTURE_ADMISSION", "off")
        command = [self.program(f"camherd-{name}"), "--data-dir", data]
        pattern = re.compile(r'msg="?serving"?.* http=([^\s,]+)') if name == "gateway" else _SERVING
        return self.server(command, log, pattern, env)

    def null_backend(self) -> Running:
        """Inference and aggregator that answer OK; runs until the end."""
        return self._stack.enter_context(
            self.server(
                [self.program("camherd_bench_null_backend")],
                self.work / "null_backend.log",
                re.compile(r"^serving (\S+)$", re.MULTILINE),
            )
        )

    def clip(self) -> Path:
        """The video that the camera loops; made once."""
        filters = ["-vf", _CLIP_FILTERS.format(size="1920:1080")]
        return self._encoded("clip_1080p25_4m.mp4", PEDESTRIANS, CLIP_SECONDS, filters)

    def small_clip(self) -> Path:
        """The same as a camera's second stream: 640x360, 512 kbit/s; made once."""
        filters = ["-vf", _CLIP_FILTERS.format(size="640:360")]
        name = "clip_360p25_512k.mp4"
        return self._encoded(name, PEDESTRIANS, CLIP_SECONDS, filters, rate="512k")

    def cows(self) -> Path:
        """Real 1080p25, coded as a camera would; made once."""
        source = self.weights().parent / COWS
        return self._encoded("cows_1080p25_4m.mp4", source, COWS_SECONDS, [])

    def _encoded(
        self, name: str, source: Path, seconds: int, filters: list[str], rate: str = "4M"
    ) -> Path:
        path = self.work / name
        if not path.exists():
            if not source.is_file():
                raise BenchError(f"{source} is missing; README.md says where it comes from")
            part = path.with_suffix(".part.mp4")
            command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(source), "-an"]
            command += [*filters, "-t", str(seconds), *_CLIP_CODEC, "-b:v", rate, str(part)]
            subprocess.run(command, check=True)
            part.rename(path)
        return path

    def cameras(self, count: int) -> list[str]:
        """URLs of `count` cameras of one camera process; runs until the end."""
        camera = self.camera([f"cam{n},codec=copy,video={self.clip()}" for n in range(count)])
        return [f"rtsp://{camera.address}/cam{n}" for n in range(count)]

    def camera(self, mounts: Sequence[str]) -> Running:
        """A camera process with these mounts; runs until the end."""
        command = ["/usr/bin/python3", ROOT / "tests/rtsp/camera.py", "--with-parent"]
        command += ["--cache", self.work / "loops"]
        for mount in mounts:
            command += ["--mount", mount]
        camera = self._stack.enter_context(
            self.server(command, self.work / "camera.log", re.compile(r"ready port=(\d+)"))
        )
        camera.address = f"127.0.0.1:{camera.address}"
        return camera

    def jpegs(self, count: int = 10) -> list[Path]:
        """Pictures as capture would store them: 1080p, quality 85."""
        folder = self.work / "jpegs"
        paths = [folder / f"{n:02d}.jpg" for n in range(1, count + 1)]
        if not all(path.exists() for path in paths):
            self.folder("jpegs")
            command = [
                "ffmpeg",
                "-v",
                "error",
                "-nostdin",
                "-y",
                "-skip_frame",
                "nokey",
            ]
            command += ["-i", str(self.clip()), "-frames:v", str(count), "-vsync", "0"]
            subprocess.run([*command, "-q:v", "2", str(folder / "%02d.jpg")], check=True)
        return paths

    def messages(self, name: str) -> ModuleType:
        """The messages of proto/camherd/v1/NAME.proto."""
        if not self._messages:
            out = self.folder("proto")
            protos = sorted((ROOT / "proto/camherd/v1").glob("*.proto"))
            command = ["protoc", f"--python_out={out}", "-I", str(ROOT / "proto")]
            subprocess.run([*command, *map(str, protos)], check=True)
            sys.path.insert(0, str(out))
        if name not in self._messages:
            self._messages[name] = importlib.import_module(f"camherd.v1.{name}_pb2")
        return self._messages[name]

    def call(self, address: str, service: str, method: str, request: Message, answer: type[M]) -> M:
        """A unary call; BenchError with the status's message if it fails."""
        with grpc.insecure_channel(address) as channel:
            stub = channel.unary_unary(
                f"/camherd.v1.{service}/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            try:
                return stub(request, timeout=30)
            except grpc.RpcError as error:
                raise BenchError(f"{method}: {error.code().name}: {error.details()}") from error

    def start_stream(
        self,
        address: str,
        url: str,
        camera_id: str,
        model: str,
        sampling_mode: int = 0,
        interval_seconds: float = 3,
    ) -> None:
        """Starts a stream; 0 is the default mode."""
        messages = self.messages("capture_service")
        request = messages.StartStreamRequest(
            rtsp_url=url,
            camera_id=camera_id,
            models=[model],
            interval_seconds=interval_seconds,
            sampling_mode=sampling_mode,
        )
        answer = messages.StartStreamResponse
        self.call(address, "CaptureService", "StartStream", request, answer)

    def delete_stream(self, address: str, camera_id: str) -> None:
        """Stops a stream and forgets it."""
        messages = self.messages("capture_service")
        request = messages.DeleteStreamRequest(stream=camera_id)
        answer = messages.DeleteStreamResponse
        self.call(address, "CaptureService", "DeleteStream", request, answer)

    def streams(self, address: str) -> list[Message]:
        """What ListStreams answers."""
        messages = self.messages("capture_service")
        request, answer = (
            messages.ListStreamsRequest(page_size=1000),
            messages.ListStreamsResponse,
        )
        return list(self.call(address, "CaptureService", "ListStreams", request, answer).streams)

    def prepare_model(self, address: str, model: str, say: Callable[[str], None]) -> None:
        """Builds a model's environment if need be and loads it."""
        messages = self.messages("inference_service")
        with grpc.insecure_channel(address) as channel:
            stub = channel.unary_stream(
                "/camherd.v1.InferenceService/PrepareModel",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=messages.PrepareModelResponse.FromString,
            )
            last = ""
            try:
                for step in stub(messages.PrepareModelRequest(name=model), timeout=1800):
                    if step.model.progress_text != last:
                        last = step.model.progress_text
                        say(f"  {model}: {last}")
            except grpc.RpcError as error:
                raise BenchError(f"{model}: {error.code().name}: {error.details()}") from error

    def weights(self) -> Path:
        """The folder of weights; BenchError where there is none."""
        folder = Path(os.environ.get("CAMHERD_WEIGHTS_DIR") or ROOT.parent / "shared/data/weights")
        if not folder.is_dir():
            raise BenchError("no weights: set CAMHERD_WEIGHTS_DIR")
        return folder
