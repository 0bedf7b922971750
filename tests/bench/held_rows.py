# SPDX-License-Identifier: Apache-2.0
"""Cameras that the machine holds, from RTSP to the record, beside document A's flow."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from capture_rows import INTERVAL, capture_service
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hold import BATCH, PERIOD, Found, Holder, Level, Seen, search
from measure import cpu_seconds, tree_cpu_seconds
from native_rows import python_with, weights_with_int8
from rig import COWS_SECONDS, FPS, ROOT, BenchError, Rig, Running, wait_for
from table import Line, Say
from whole_way import document_a, tell

MODEL = "animals"
PEER = "A's flow rebuilt"
# Feeds of the camera process; more cameras than that are shown one of these.
MOUNTS = 8
# Cameras that ours begins with.
FIRST = 24
# Part of the machine that is in use where lateness has its budget, in seconds.
LOADED = 0.8
LATE = 1.0
# Niceness of what is measured. The cameras, elsewhere machines of their own,
# have the processor first.
NICE = 10


class Camherd:
    """The three services."""

    def __init__(
        self, rig: Rig, name: str, services: dict[str, Running], urls: list[str], rate: float
    ) -> None:
        self.name = name
        self._rig, self._services, self._urls, self._rate = rig, services, urls, rate

    def start(self, camera: int) -> None:
        """StartStream."""
        url = self._urls[camera % len(self._urls)]
        self._rig.start_stream(self._services["capture"].address, url, _name(camera), MODEL)

    def stop(self, camera: int) -> None:
        """DeleteStream."""
        self._rig.delete_stream(self._services["capture"].address, _name(camera))

    def look(self) -> dict[int, Seen]:
        """ListStreams."""
        seen = {}
        for stream in self._rig.streams(self._services["capture"].address):
            counted = stream.accounting
            seen[_number(stream.camera_id)] = Seen(
                captured=counted.captured,
                missed=sum(counted.missed.values()),
                dropped=sum(counted.dropped.values()),
                waiting=stream.batches_pending,
                recorded=counted.recorded,
                at=stream.last_frame_at.ToMicroseconds() / 1e6,
                video=stream.received_bytes / self._rate,
            )
        return seen

    def lateness(self, since: float, until: float) -> list[float]:
        """From the records: last_captured_at to recorded_at."""
        found = []
        for record in self._records(since - 2 * PERIOD):
            last = record.last_captured_at.ToMicroseconds() / 1e6
            if since <= last < until:
                found.append(record.recorded_at.ToMicroseconds() / 1e6 - last)
        return found

    def _records(self, since: float) -> Iterator[Message]:
        messages = self._rig.messages("aggregator_service")
        start = Timestamp()
        start.FromMicroseconds(int(since * 1e6))
        request = messages.ListRecordsRequest(page_size=200, since=start)
        address, answer = self._services["aggregator"].address, messages.ListRecordsResponse
        while True:
            page = self._rig.call(address, "AggregatorService", "ListRecords", request, answer)
            yield from page.records
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cpu(self) -> dict[str, float]:
        """Of each service with its workers."""
        return {name: tree_cpu_seconds(service.pid) for name, service in self._services.items()}


class DocumentA:
    """document_a.py, one process with two threads a camera and a process a batch."""

    name = PEER

    def __init__(self, flow: Running, folder: Path, urls: list[str]) -> None:
        self._flow, self._urls = flow, urls
        events = folder / "events.jsonl"
        wait_for("document_a.py: start", events.exists)
        self._events = events.open()
        self._seen: dict[int, Seen] = {}
        self._batches: list[tuple[float, float]] = []
        self._counts: dict[int, dict[str, float]] = {}

    def start(self, camera: int) -> None:
        """Two threads more."""
        self._counts[camera] = dict.fromkeys(
            ("captured", "missed", "records", "failed", "at", "read"), 0
        )
        tell(self._flow, f"start {_name(camera)} {self._urls[camera % len(self._urls)]}")

    def stop(self, camera: int) -> None:
        """Two threads less."""
        tell(self._flow, f"stop {_name(camera)}")
        self._read()
        del self._counts[camera]

    def _read(self) -> None:
        if self._flow.process.poll() is not None:
            raise BenchError("document_a.py ended; see document_a.log")
        for line in self._events:
            event = json.loads(line)
            counts = self._counts.get(_number(event["camera"]))
            if event["event"] == "record":
                self._batches.append((event["last"], event["at"]))
            if counts is None:
                continue
            if event["event"] == "sample":
                counts["captured"] += 1
                counts.update({name: event[name] for name in ("at", "read", "missed")})
            else:
                counts["records" if event["event"] == "record" else "failed"] += 1

    def look(self) -> dict[int, Seen]:
        """What its events say."""
        self._read()
        return {
            camera: Seen(
                captured=counts["captured"],
                missed=counts["missed"],
                dropped=BATCH * counts["failed"],
                waiting=counts["captured"] // BATCH - counts["records"] - counts["failed"],
                recorded=BATCH * counts["records"],
                at=counts["at"],
                video=counts["read"] / FPS,
            )
            for camera, counts in self._counts.items()
        }

    def lateness(self, since: float, until: float) -> list[float]:
        """From the last frame's receipt to the line in predictions.json."""
        self._read()
        return [at - last for last, at in self._batches if since <= last < until]

    def cpu(self) -> dict[str, float]:
        """Of the process with all loops, and of those it starts."""
        loops = cpu_seconds(self._flow.pid)
        return {"loops": loops, "processes": tree_cpu_seconds(self._flow.pid) - loops}


def _name(camera: int) -> str:
    return f"CAM-{camera:03d}"


def _number(name: str) -> int:
    return int(name.removeprefix("CAM-"))


@contextlib.contextmanager
def _camherd(
    rig: Rig, precision: str, weights: Path, urls: list[str], rate: float, say: Say
) -> Iterator[Camherd]:
    data = rig.folder("held")
    with contextlib.ExitStack() as stack:
        aggregator = stack.enter_context(
            rig.service("aggregator", rig.work / "aggregator.log", data, {})
        )
        settings = {
            "aggregator": aggregator.address,
            "models_dir": str(ROOT / "models"),
            "weights_dir": str(weights),
            "precision": precision,
        }
        inference = stack.enter_context(
            rig.service("inference", rig.work / "inference.log", data, settings)
        )
        rig.prepare_model(inference.address, MODEL, say)
        capture = stack.enter_context(
            capture_service(rig, inference.address, aggregator.address, data)
        )
        services = {"capture": capture, "inference": inference, "aggregator": aggregator}
        name = f"camherd {precision}"
        used = _precision(rig, inference)
        if precision == "auto":
            name += f" ({used})"
        elif used != precision:
            raise BenchError(f"{MODEL} runs in {used}, not in {precision}")
        yield Camherd(rig, name, services, urls, rate)


def _precision(rig: Rig, inference: Running) -> str:
    messages = rig.messages("inference_service")
    request, answer = messages.ListModelsRequest(), messages.ListModelsResponse
    models = rig.call(inference.address, "InferenceService", "ListModels", request, answer).models
    return next(model.precision for model in models if model.name == MODEL)


def _ours(rig: Rig, urls: list[str], camera: Running, say: Say) -> Iterator[tuple[str, Holder]]:
    """The services, in one precision after the other."""
    quantizer = python_with(rig, "quantizer", ROOT / "models/requirements_quantize.txt", say)
    weights = weights_with_int8(rig, quantizer, say)
    rate = rig.cows().stat().st_size / COWS_SECONDS
    rig.nice = NICE
    for precision in ("auto", "int8"):
        with _camherd(rig, precision, weights, urls, rate, say) as ours:
            yield ours.name, Holder(ours, camera.pid, say)


def _cameras(rig: Rig) -> tuple[Running, list[str]]:
    camera = rig.camera([f"cows{n},codec=copy,video={rig.cows()}" for n in range(MOUNTS)])
    return camera, [f"rtsp://{camera.address}/cows{n}" for n in range(MOUNTS)]


def lateness(rig: Rig, say: Say, window: float) -> list[Line]:
    """From a batch's last frame to its record, with 80 % of the machine in use."""
    camera, urls = _cameras(rig)
    lines = []
    for name, holder in _ours(rig, urls, camera, say):
        holder.change(FIRST)
        for _ in range(2):
            busy = holder.hold(PERIOD, PERIOD).busy
            holder.change(round(holder.running * LOADED / busy))
        level = holder.hold(window, PERIOD)
        line = Line("lateness", name, level.late(0.99), "s, p99")
        line.remark = (
            f"p50 {level.late(0.5):.2f} s of {len(level.lateness)} batches; budget {LATE:g} s;"
            f" {level.cameras} cameras, machine {level.busy:.0%} busy, of it the cameras"
            f" {level.camera_cpu * level.cameras / 60 / (os.cpu_count() or 1):.0%}"
        )
        if level.foreign > 0.1:
            line.remark += f"; DISTURBED: others used {level.foreign:.0%}"
        lines.append(line)
    return lines


def whole_way(rig: Rig, say: Say, window: float, minutes: float) -> list[Line]:
    """As many cameras as hold, and what they cost."""
    requirements = ROOT / "models/animals/requirements_animals.txt"
    ultralytics = python_with(rig, "ultralytics", requirements, say)
    camera, urls = _cameras(rig)
    limit = 60 * minutes
    found: list[tuple[str, Found]] = []
    for name, holder in _ours(rig, urls, camera, say):
        found.append((name, search(holder, FIRST, window, INTERVAL, limit)))
    os.environ["YOLO_CONFIG_DIR"] = str(rig.work / "python")
    os.environ["YOLO_OFFLINE"] = "true"
    runner = [ultralytics, ROOT / "tests/bench/document_a_inference.py"]
    with document_a(rig, [*runner, rig.weights() / "yolov8n.pt"]) as flow:
        peer = DocumentA(flow, rig.work / "document_a", urls)
        holder = Holder(peer, camera.pid, say)
        in_time = search(holder, 1, window, INTERVAL, limit)
        found.append((PEER, in_time))
        if in_time.held is None:
            # Not one camera in time: as many as it keeps up with at all.
            keeps_up = search(holder, 2, window, PERIOD, limit)
            found.append((f"{PEER}, late by up to a batch", keeps_up))
    return _lines(found)


def _lines(found: list[tuple[str, Found]]) -> list[Line]:
    # The last one is the peer as far as it holds anything at all.
    peer = found[-1][1].held
    held = [_held_line(name, one, peer) for name, one in found]
    return held + [_cost_line(name, one.held, peer) for name, one in found if one.held]


def _held_line(name: str, found: Found, peer: Level | None) -> Line:
    held, failed = found.held, found.failed
    line = Line("whole-way", name, held.cameras if held else 0, "cameras held")
    if held:
        line.remark = (
            f"lateness p50 {held.late(0.5):.2f} s, p99 {held.late(0.99):.2f} s of"
            f" {len(held.lateness)} batches; {held.sampled} sampled, {held.missed} missed,"
            f" {held.dropped} dropped in {held.seconds:.0f} s"
        )
        if peer and held is not peer:
            # What a camera takes of the machine.
            line.ratio = peer.cameras / held.cameras
            line.remark += f"; a camera's share of the machine beside {PEER}"
    if failed:
        line.remark += f"{'; ' if line.remark else ''}{failed.cameras} do not: {failed.why}"
    return line


def _cost_line(name: str, held: Level, peer: Level | None) -> Line:
    line = Line("whole-way", name, sum(held.cpu.values()), "CPU-s/cam-min")
    if peer and held is not peer:
        line.ratio = line.cost / sum(peer.cpu.values())
    parts = ", ".join(f"{part} {cost:.2g}" for part, cost in held.cpu.items())
    share = held.camera_cpu * held.cameras / 60 / os.cpu_count()
    line.remark = (
        f"{parts}; beside it the cameras {held.camera_cpu:.2g}, {share:.0%} of the machine"
    )
    line.remark += f", which was {held.busy:.0%} busy"
    if held.foreign > 0.1:
        line.remark += f"; DISTURBED: others used {held.foreign:.0%}"
    return line
