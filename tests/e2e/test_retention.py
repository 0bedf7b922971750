# SPDX-License-Identifier: Apache-2.0
"""A day of records sent fast into an aggregator that may keep so many bytes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from conftest import HerdMaker
from harness import VTEST, Herd, import_protos, wait_for

DAY = 86400
# 2026-08-01T00:00:00Z.
BEGIN = 1785542400
CAMERAS = 2
SENDERS = 4


def pictures() -> list[bytes]:
    """720p pictures of a street, some 200 KB each."""
    video = cv2.VideoCapture(str(VTEST))
    made = []
    for _ in range(12):
        read, picture = video.read()
        assert read
        picture = cv2.resize(picture, (1280, 720), interpolation=cv2.INTER_CUBIC)
        noise = np.random.default_rng(len(made)).integers(-6, 7, picture.shape)
        picture = np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)
        coded, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])
        assert coded
        made.append(jpeg.tobytes())
    return made


def disk_use(folder: Path) -> int:
    """What `du` says, in bytes."""
    blocks = 0
    for parent, _, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in names)]:
            with contextlib.suppress(FileNotFoundError):
                blocks += os.lstat(path).st_blocks
    return 512 * blocks


@dataclass
class Day:
    """What is sent: batch `n` of each camera is captured n * `interval` seconds
    after the day began."""

    herd: Herd
    interval: int
    jpegs: list[bytes] = field(default_factory=pictures)
    # Seconds of each call, with the time it ended.
    calls: list[tuple[float, float]] = field(default_factory=list)
    sent_bytes: int = 0

    @property
    def batches(self) -> int:
        """Of one camera."""
        return DAY // self.interval

    def header(self, camera: int, seq: int) -> Any:  # noqa: ANN401
        """A batch of ten frames, of which the first has a picture."""
        from camherd.v1 import aggregator_service_pb2, detection_pb2

        header = aggregator_service_pb2.AddBatchResultHeader()
        manifest = header.manifest
        manifest.stream_id = f"stream-{camera}"
        manifest.session_id = f"session-{camera}"
        manifest.camera_id = f"CAM-{camera}"
        manifest.process_name = f"gate-{camera}"
        manifest.batch_seq = seq
        for i in range(10):
            frame = manifest.frames.add()
            frame.frame_seq = 10 * (seq - 1) + i + 1
            frame.captured_at.seconds = BEGIN + seq * self.interval + i
            frame.width, frame.height = 1280, 720
            frame.sha256 = hashlib.sha256(self.jpeg(camera, seq)).digest()
        result = header.results.add()
        result.model = result.section = "stray_animal"
        result.outcome = detection_pb2.OUTCOME_CODE_OK
        detection = result.detections.add()
        detection.class_name, detection.confidence = "dog", 0.5
        detection.box.x2 = detection.box.y2 = 100
        header.manifest_sha256 = hashlib.sha256(manifest.SerializeToString()).digest()
        return header

    def jpeg(self, camera: int, seq: int) -> bytes:
        """No two are the same file."""
        return self.jpegs[seq % len(self.jpegs)] + f"{camera} {seq}".encode()

    def add(self, stub: Any, camera: int, seq: int, header: Any = None) -> Any:  # noqa: ANN401
        """AddBatchResult."""
        from camherd.v1 import aggregator_service_pb2 as pb

        def messages() -> Iterator[Any]:
            yield pb.AddBatchResultRequest(header=header or self.header(camera, seq))
            picture = pb.BatchPicture(frame_index=0, jpeg=self.jpeg(camera, seq))
            yield pb.AddBatchResultRequest(picture=picture)

        return stub.AddBatchResult(messages(), timeout=60)

    def send(self) -> None:
        """All of it, in order of time, by SENDERS at once."""
        order = itertools.product(range(1, self.batches + 1), range(CAMERAS))
        lock = threading.Lock()

        def sender() -> None:
            with self.herd.stub("aggregator") as stub:
                while True:
                    with lock:
                        item = next(order, None)
                    if item is None:
                        return
                    seq, camera = item
                    start = time.monotonic()
                    answer = self.add(stub, camera, seq)
                    assert answer.record_id > 0 and not answer.already_recorded
                    with lock:
                        end = time.monotonic()
                        self.calls.append((end, end - start))
                        self.sent_bytes += len(self.jpeg(camera, seq))

        with ThreadPoolExecutor(SENDERS) as pool:
            for done in [pool.submit(sender) for _ in range(SENDERS)]:
                done.result()


@dataclass
class Watch:
    """Looks at the disk use all the time, and exports meanwhile."""

    herd: Herd
    most: int = 0
    removing_since: float | None = None
    looks: int = 0
    exported: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Until `stop`."""
        records = self.herd.data / "predictions-1.json"
        seen = False
        while not self.stop.wait(0.02):
            self.most = max(self.most, disk_use(self.herd.data))
            self.looks += 1
            seen = seen or records.exists()
            if seen and self.removing_since is None and not records.exists():
                self.removing_since = time.monotonic()

    def export(self) -> None:
        """Lists and exports, until `stop`: whole records only."""
        from camherd.v1 import aggregator_service_pb2 as pb

        with self.herd.stub("aggregator") as stub:
            while not self.stop.wait(0.1):
                request = pb.ExportRecordsRequest(format=pb.EXPORT_FORMAT_JSONL)
                text = b"".join(p.chunk for p in stub.ExportRecords(request, timeout=600))
                for line in text.splitlines():
                    assert json.loads(line)["basic"]["frame_base64"]
                    self.exported += 1


def kept(stub: Any) -> list[Any]:  # noqa: ANN401
    """All records, the oldest capture first, by pages."""
    from camherd.v1 import aggregator_service_pb2 as pb

    records: list[Any] = []
    token = ""
    while True:
        page = stub.ListRecords(pb.ListRecordsRequest(page_size=100, page_token=token), timeout=60)
        records += page.records
        token = page.next_page_token
        if not token:
            return records[::-1]


def check_files(data: Path, last_id: int) -> int:
    """predictions-<n>.json and predictions.json: lines without a gap up to the
    last record. The first record in them."""
    numbers = sorted(
        int(match.group(1))
        for path in data.iterdir()
        if (match := re.fullmatch(r"predictions-(\d+)\.json", path.name))
    )
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    ids = []
    for name in [f"predictions-{n}.json" for n in numbers] + ["predictions.json"]:
        for line in (data / name).read_bytes().splitlines():
            ids.append(json.loads(line)["meta"]["record_id"])
    assert ids == list(range(ids[0], last_id + 1))
    return ids[0]


def metric(herd: Herd, name: str) -> float:
    """One of the aggregator's, without `camherd_aggregator_`."""
    text = herd.metrics("aggregator")
    found = re.search(rf"^camherd_aggregator_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found.group(1))


def day_is_kept_within(herd: Herd, limit: int, interval: int) -> None:
    """Sends a day, and checks the disk use all along and what is left."""
    import_protos()
    from camherd.v1 import aggregator_service_pb2 as pb

    day = Day(herd, interval)
    watch = Watch(herd)
    threads = ThreadPoolExecutor(2)
    watching = [threads.submit(watch.look), threads.submit(watch.export)]
    start = time.monotonic()
    day.send()
    took = time.monotonic() - start
    last_id = CAMERAS * day.batches

    seen: tuple[float, int] = (0, 0)
    since = time.monotonic()

    def removed() -> bool:
        nonlocal seen, since
        behind = metric(herd, "predictions_behind_records")
        used = disk_use(herd.data)
        if (behind, used) != seen:
            seen = (behind, used)
            since = time.monotonic()
        # Retention looks every second: twice it has found nothing to remove.
        settled = time.monotonic() - since > 2
        return settled and behind == 0 and used <= 1.02 * limit

    wait_for(removed, 60, "all written, and the rest removed")
    watch.stop.set()
    for done in watching:
        done.result()
    threads.shutdown()

    before = [s for end, s in day.calls if not watch.removing_since or end < watch.removing_since]
    while_removing = [s for end, s in day.calls if s not in before]
    with herd.stub("aggregator") as stub:
        records = kept(stub)
        print(
            f"{day.sent_bytes / 1e6:.0f} MB of pictures in {len(day.calls)} batches"
            f" in {took:.1f} s; disk use at most {watch.most / 1e6:.1f} MB of {limit / 1e6:.0f}"
            f" ({watch.looks} looks); {len(records)} records left"
            f" of {last_id}; {watch.exported} exported meanwhile"
        )
        for name, seconds in (("before", before), ("while removing", while_removing)):
            if len(seconds) > 10:
                p99 = statistics.quantiles(seconds, n=100)[98]
                print(f"append {name}: p50 {statistics.median(seconds) * 1e3:.1f} ms,", end=" ")
                print(f"p99 {p99 * 1e3:.1f} ms, most {max(seconds) * 1e3:.1f} ms")
        # A picture and its line, in base64.
        assert 2.3 * day.sent_bytes > 1.5 * limit, "too little to need any removal"
        assert watch.looks > 20
        assert watch.most <= 1.1 * limit
        assert watch.most >= 0.8 * limit, "removed far too much"

        # No gap: of each camera the last ones, from about the same time on.
        firsts = []
        for camera in range(CAMERAS):
            numbers = [r.batch_seq for r in records if r.camera_id == f"CAM-{camera}"]
            assert numbers == list(range(numbers[0], day.batches + 1))
            firsts.append(numbers[0])
        assert min(firsts) > 1
        assert max(firsts) - min(firsts) <= 1
        for record in records[:: max(1, len(records) // 20)]:
            request = pb.GetRecordImageRequest(record_id=record.record_id)
            image = stub.GetRecordImage(request, timeout=10).jpeg
            assert image == day.jpeg(int(record.camera_id[-1]), record.batch_seq)
        assert len(list(herd.data.glob("records/*/*/*.jpg"))) == len(records)
        # The files go about as far back as the records.
        first_line = check_files(herd.data, last_id)
        assert abs(first_line - records[0].record_id) < 0.5 * len(records)

        # What was removed is known.
        again = day.add(stub, 0, 1)
        assert again.already_recorded and again.record_id == 0
        other = day.header(0, 1)
        other.manifest_sha256 = bytes(32)
        for call, code in (
            (lambda: day.add(stub, 0, 1, other), grpc.StatusCode.ALREADY_EXISTS),
            (lambda: stub.GetRecord(pb.GetRecordRequest(record_id=1)), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call()
            assert raised.value.code() == code
            assert "has been removed" in raised.value.details()

    assert metric(herd, 'removed_total{kind="record",reason="bytes"}') == last_id - len(records)
    assert metric(herd, 'removed_total{kind="predictions",reason="bytes"}') > 0
    assert metric(herd, 'removed_total{kind="record",reason="age"}') == 0
    assert metric(herd, "oldest_record_timestamp_seconds") == records[0].captured_at.seconds
    used = sum(
        metric(herd, f'used_bytes{{kind="{kind}"}}')
        for kind in ("pictures", "database", "predictions", "grids")
    )
    assert used == pytest.approx(disk_use(herd.data), rel=0.05)
    assert "removed what was too old or too much" in herd.log("aggregator")

    # A restart changes nothing.
    herd.terminate("aggregator")
    herd.restart("aggregator")
    with herd.stub("aggregator") as stub:
        assert [r.record_id for r in kept(stub)] == [r.record_id for r in records]
        assert day.add(stub, 0, 1).already_recorded
        assert day.add(stub, 0, day.batches + 1).record_id == last_id + 1


def test_a_day_in_little_room_keeps_the_newest_without_a_gap(make_herd: HerdMaker) -> None:
    limit = 96 << 20
    herd = make_herd(
        start=False,
        AGGREGATOR_RETENTION_BYTES=str(limit),
        AGGREGATOR_PREDICTIONS_ROTATE_BYTES="4MiB",
        AGGREGATOR_PREDICTIONS_SYNC_SECONDS="0.1",
    )
    herd.start(["aggregator"])
    day_is_kept_within(herd, limit, interval=270)


@pytest.mark.long
def test_a_day_at_1_gb_keeps_the_newest_without_a_gap(make_herd: HerdMaker) -> None:
    limit = 10**9
    herd = make_herd(
        start=False,
        AGGREGATOR_RETENTION_BYTES=str(limit),
        AGGREGATOR_PREDICTIONS_ROTATE_BYTES="64MiB",
    )
    herd.start(["aggregator"])
    day_is_kept_within(herd, limit, interval=30)
