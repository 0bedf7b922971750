# SPDX-License-Identifier: Apache-2.0
"""REST against openapi.json: schemathesis makes requests from the document,
right ones and wrong ones, and holds every answer against it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import schemathesis
from conftest import HerdMaker
from harness import Camera, Herd
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]

PICTURE = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()

# A camera that refuses connections at once.
NOBODY = "rtsp://127.0.0.1:9/demo"

# For every other request that is right: what is there, and what is in range,
# which the document's words tell but not its types.
KNOWN: dict[str, Any] = {
    "stream": "demo",
    "process_name": "demo",
    "stream_id": "demo",
    "record_id": 1,
    "camera_id": "CAM-001",
    "name": "animals",
    "model": "animals",
    "models": ["animals"],
    "model_name": "animals",
    "page_size": 5,
    "page_token": "",
    "class_name": "dog",
    "complaint_type": "stray_animal",
    "evidence": "stray_animal",
    "width": 320,
    "acknowledged": True,
    "min_score": 0.3,
    "nms_iou": 0.5,
    "interval_seconds": 1,
    "interval": 1,
    "batch_size": 4,
    "ttl_seconds": 600,
    "max_frames": 100000,
    "transport": "tcp",
    "sampling_mode": "auto",
    "since": "2026-01-01T00:00:00Z",
    "until": "2036-01-01T00:00:00Z",
    "latitude": 26.4499,
    "longitude": 80.3319,
    "privacy_masks": [{"points": [{"x": 0, "y": 0}, {"x": 0.1, "y": 0}, {"x": 0, "y": 0.1}]}],
    "zones": [],
    "class_thresholds": {"dog": 0.5},
    "classes": ["dog"],
}
# Answers without an end, and their types.
ENDLESS = {
    "/api/v1/events": "text/event-stream",
    "/api/v1/streams/{stream}/live.mjpeg": "multipart/x-mixed-replace",
}
# Of two names of one field only one may be given.
ALIASES = ("model_name", "interval", "process_name", "stream_id", "state")


class Contract:
    """Sends requests to a herd, and keeps what was wrong with the answers."""

    def __init__(self, herd: Herd, camera: Camera) -> None:
        self.herd = herd
        self.camera = camera
        self.url = herd.url("")
        self.wrong: dict[str, str] = {}
        self.codes: Counter[str] = Counter()
        self.sent = 0
        self.schema = schemathesis.openapi.from_url(self.url + "/openapi.json")

    def put_back(self) -> None:
        """What the requests of one operation have changed."""
        source = self.camera.url("demo")
        for stream in self.herd.streams():
            same = stream["rtsp_url"] == source and stream["interval_seconds"] == 0.2
            if stream["process_name"] != "demo" or stream["state"] == "stopped" or not same:
                name = stream["stream_id"]
                assert self.herd.request("DELETE", f"/api/v1/streams/{name}").status == 204
        body = {"rtsp_url": source, "camera_id": "demo", "interval_seconds": 0.2}
        answer = self.herd.request("POST", "/api/v1/streams", {**body, "models": ["animals"]})
        if answer.status == 409:
            # Its models or its lease are others.
            assert self.herd.request("DELETE", "/api/v1/streams/demo").status == 204
            self.put_back()
            return
        assert answer.status in (200, 201), answer.text
        self.herd.wait_captured("demo", 1)

    def send(self, case: Any) -> None:  # noqa: ANN401
        """One request, and all that is to be said about its answer."""
        self.sent += 1
        positive = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
        if positive:
            self.make_likely(case)
        place = f"{case.method} {case.path}"
        with requests.request(
            **case.as_transport_kwargs(base_url=self.url), timeout=70, stream=True
        ) as response:
            self.codes[f"{place} {response.status_code}"] += 1
            endless = response.status_code == 200 and case.path in ENDLESS
            if endless:
                if not response.headers["Content-Type"].startswith(ENDLESS[case.path]):
                    self.wrong[f"{place} type"] = response.headers["Content-Type"]
                # So that nothing below reads to its end.
                response._content = b""  # noqa: SLF001
            response.content  # noqa: B018
        if response.status_code == 500:
            self.wrong.setdefault(f"{place} 500", f"{case.as_curl_command()}\n{response.text}")
        try:
            # Too long is refused whatever else is wrong.
            too_long = response.status_code in (413, 414, 431)
            wanted = [] if endless else list(CHECKS)
            if not positive and not too_long:
                wanted.append(negative_data_rejection)
            case.validate_response(response, checks=wanted)
        except (FailureGroup, AssertionError) as failure:
            failures = getattr(failure, "exceptions", [failure])
            for one in failures:
                text = f"{one}\n{case.as_curl_command()}\n{response.status_code} "
                self.wrong.setdefault(
                    f"{place} {type(one).__name__} {response.status_code}",
                    text + (response.text or "")[:600],
                )

    def make_likely(self, case: Any) -> None:  # noqa: ANN401
        """Lets every other of the right requests find something."""
        body = case.body if isinstance(case.body, dict) else {}
        for url in ("rtsp_url", "detect_url"):
            if body.get(url):
                body[url] = NOBODY
        if self.sent % 2:
            return
        for fields in (case.path_parameters or {}, case.query or {}, body):
            for name in list(fields):
                if name in ALIASES:
                    del fields[name]
                elif name in KNOWN:
                    fields[name] = KNOWN[name]
        if case.path == "/stop":
            body.pop("camera_id", None)
            body["stream"] = "demo"
        if case.path == "/api/v1/detect":
            case.body = PICTURE

    def run(self, count: int, number: int) -> None:
        """About `count` requests, shared out to all operations."""
        operations = [found.ok() for found in self.schema.get_all_operations()]
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        each = max(2, count // (len(operations) * len(modes)))
        for operation in operations:
            self.put_back()
            for mode in modes:

                @seed(number)
                @settings(
                    max_examples=each,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def send(case: Any) -> None:  # noqa: ANN401
                    self.send(case)

                try:
                    send()
                except Exception as error:  # noqa: BLE001
                    # An operation without anything to get wrong.
                    if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                        raise
        print(f"\n{self.sent} requests with seed {number}")
        for line, times in sorted(self.codes.items()):
            print(f"{times:6} {line}")


def check(herd: Herd, camera: Camera, count: int, number: int) -> int:
    """Sends about `count` requests; how many they were."""
    herd.start_stream(camera.url("demo"), camera_id="demo", interval=0.2)
    herd.wait_records(1)
    csv = b"cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n"
    herd.request("POST", "/api/v1/cameras/import", csv, {"Content-Type": "text/csv"})
    contract = Contract(herd, camera)
    contract.run(count, number)
    assert not contract.wrong, "\n\n".join(f"# {k}\n{v}" for k, v in contract.wrong.items())
    assert herd.request("GET", "/readyz").status == 200
    return contract.sent


def test_every_answer_is_as_the_document_says(make_herd: HerdMaker, camera: Camera) -> None:
    assert check(make_herd(), camera, 300, 7) > 150


@pytest.mark.long
def test_5000_answers_are_as_the_document_says(make_herd: HerdMaker, camera: Camera) -> None:
    number = int.from_bytes(os.urandom(4), "big")
    assert check(make_herd(), camera, 9000, number) >= 5000
