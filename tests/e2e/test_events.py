# SPDX-License-Identifier: Apache-2.0
"""What changes, told as it does: events that resume, and live pictures."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness import VTEST, Camera, Herd, wait_for
from records import decode


@dataclass
class Event:
    """One event as a browser would take it."""

    name: str = ""
    id: str = ""
    data: Any = field(default_factory=dict)


class Reader:
    """A GET that goes on, by HTTP/1.0: the body as it comes."""

    def __init__(self, herd: Herd, path: str, header: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", herd.port()), timeout=20)
        self.socket.sendall(f"GET {path} HTTP/1.0\r\n{header}\r\n".encode())
        self.bytes = b""
        self.head = self.until(b"\r\n\r\n").decode()
        assert " 200 " in self.head, self.head

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def more(self) -> bool:
        """Reads some; false at the end."""
        piece = self.socket.recv(1 << 16)
        self.bytes += piece
        return bool(piece)

    def until(self, end: bytes) -> bytes:
        """What comes before `end`, which is taken too."""
        while end not in self.bytes:
            assert self.more(), f"ended: {self.bytes[-200:]!r}"
        found, _, self.bytes = self.bytes.partition(end)
        return found

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self.bytes) < count:
            assert self.more()
        found, self.bytes = self.bytes[:count], self.bytes[count:]
        return found


class Listener(Reader):
    """A page that listens; `heard` is all it has."""

    def __init__(self, herd: Herd, query: str = "", last_event_id: str = "") -> None:
        header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        super().__init__(herd, f"/api/v1/events{query}", header)
        self.heard: list[Event] = []
        self.last_id = last_event_id

    def next(self) -> Event:
        """The next event."""
        while True:
            event = Event()
            for line in self.until(b"\n\n").decode().splitlines():
                key, _, value = line.partition(": ")
                if key == "event":
                    event.name = value
                elif key == "id":
                    event.id = self.last_id = value
                elif key == "data":
                    event.data = json.loads(value)
            if event.name:
                self.heard.append(event)
                return event

    def wait(self, name: str, wanted: Callable[[Any], Any], seconds: float) -> Event:
        """Waits for an event."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            event = self.next()
            if event.name == name and wanted(event.data):
                return event
        raise AssertionError(f"no such {name}: {self.heard}")


def part(reader: Reader) -> tuple[int, bytes]:
    """The next picture of a live.mjpeg: its number and its bytes."""
    head = reader.until(b"\r\n\r\n").decode()
    assert "Content-Type: image/jpeg" in head
    length = int(re.search(r"Content-Length: (\d+)", head).group(1))
    picture = reader.exactly(length)
    assert reader.exactly(11) == b"\r\n--frame\r\n"
    return int(re.search(r"X-Frame-Seq: (\d+)", head).group(1)), picture


def test_a_page_hears_of_a_camera_and_its_records_and_resumes(herd: Herd) -> None:
    with Camera(f"demo,video={VTEST},gop=1,seconds=20,size=320x240") as camera:
        with Listener(herd, "?types=stream,record") as page:
            # Both services are there before anything is asked of them.
            page.wait("peer", lambda d: d["service"] == "capture" and d["connected"], 10)
            page.wait("peer", lambda d: d["service"] == "aggregator" and d["connected"], 10)
            started = herd.start_stream(camera.url(), camera_id="CAM-001", interval=0.2)
            stream_id = started["stream_id"]
            page.wait("stream", lambda d: d["state"] == "starting", 5)
            running = page.wait("stream", lambda d: d["state"] == "running", 20)
            assert running.data["stream_id"] == stream_id
            assert set(running.data) == set(herd.stream("CAM-001"))
            page.wait("stream", lambda d: d["accounting"]["captured"] > 1, 10)
            record = page.wait("record", lambda d: d["camera_id"] == "CAM-001", 20)
            answer = herd.get(f"/api/v1/records/{record.data['record_id']}")
            assert record.data == answer.json

            # Its pictures as they come.
            with Reader(herd, "/api/v1/streams/CAM-001/live.mjpeg") as live:
                assert "multipart/x-mixed-replace; boundary=frame" in live.head
                assert live.exactly(9) == b"--frame\r\n"
                parts = [part(live) for _ in range(3)]
            numbers = [number for number, _ in parts]
            assert numbers == sorted(set(numbers)), numbers
            assert len({picture for _, picture in parts}) == 3
            assert decode(parts[0][1]).shape == (240, 320, 3)

            killed = time.monotonic()
            camera.kill()
            lost = page.wait("stream", lambda d: d["state"] == "reconnecting", 5)
            assert time.monotonic() - killed < 5
            assert lost.data["state_reason"]
        # No record is under way any more when the gateway goes.
        herd.wait_stream("CAM-001", lambda s: s["batches_pending"] == 0, 20, "all is recorded")
        before = page.heard

        herd.terminate("gateway")
        camera.start()
        time_of_run = time.monotonic()
        herd.restart("gateway")
        with Listener(herd, "?types=stream,record", page.last_id) as again:
            again.wait("stream", lambda d: d["state"] == "running", 30)
            again.wait("record", lambda d: True, 30)
            herd.stop_stream("CAM-001")
            again.wait("stream", lambda d: d["state"] == "stopped", 20)
            assert time.monotonic() - time_of_run < 60
        assert not [e for e in before + again.heard if e.name == "reset"]
        # Each record once, and none left out, over both.
        heard = [e.data["record_id"] for e in before + again.heard if e.name == "record"]
        listed = herd.get("/api/v1/records?page_size=1000").json["records"]
        assert sorted(heard) == sorted(r["record_id"] for r in listed)
        assert len(heard) == len(set(heard))


def test_a_service_that_is_away_is_told_and_when_it_is_back(herd: Herd) -> None:
    with Listener(herd, "?types=record") as page:
        page.wait("peer", lambda d: d["connected"], 10)
        herd.kill("aggregator")
        away = page.wait("peer", lambda d: not d["connected"], 5)
        assert away.data["service"] == "aggregator"
        assert away.data["reason"]
        herd.restart("aggregator")
        page.wait("peer", lambda d: d["connected"], 20)
        # It knows nothing of what it told before: the list is to be read again.
        page.wait("reset", lambda d: d["type"] == "record", 10)


def test_a_stop_ends_live_pictures(herd: Herd, camera: Camera) -> None:
    herd.start_stream(camera.url("third"), camera_id="CAM-002", interval=0.5)
    with Reader(herd, "/api/v1/streams/CAM-002/live.mjpeg") as live:
        assert live.exactly(9) == b"--frame\r\n"
        part(live)
        herd.stop_stream("CAM-002")
        while live.more():
            pass
    assert herd.get("/api/v1/streams/CAM-002/live.mjpeg").status == 409
    assert herd.get("/api/v1/streams/nobody/live.mjpeg").status == 404
    wait_for(
        lambda: 'live_answers{kind="pictures"} 0' in herd.metrics("gateway"), 5, "nobody watches"
    )
