# SPDX-License-Identifier: Apache-2.0
"""W3C traces: of a request from the gateway on, of a batch from capture to the
record; in the log lines of both."""

from __future__ import annotations

import hashlib
import re

from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def lines(herd: Herd, service: str, message: str, trace: str = "") -> list[str]:
    """Log lines with that message, of a trace if one is given."""
    quoted = f'"{message}"' if " " in message else message
    found = [line for line in herd.log(service).splitlines() if f" msg={quoted} " in line]
    return [line for line in found if line.endswith(f"trace_id={trace}")] if trace else found


def start(herd: Herd, camera: Camera, name: str, parent: str) -> str:
    """Starts a stream; the trace in the gateway's line about it."""
    fields = {"rtsp_url": camera.url(), "camera_id": name, "models": ["animals"]}
    fields |= {"interval_seconds": 0.2, "batch_size": 2}
    seen = len(lines(herd, "gateway", "request"))
    headers = {"traceparent": parent} if parent else {}
    answer = herd.request("POST", "/api/v1/streams", fields, headers)
    assert answer.status == 201, answer.text
    # The line is written before the answer goes out.
    [line] = lines(herd, "gateway", "request")[seen:]
    return re.search(r" trace_id=([0-9a-f]{32})$", line)[1]


def test_a_request_and_a_batch_can_be_followed(make_herd: HerdMaker) -> None:
    herd = make_herd(COMMON_LOG_LEVEL="debug")
    with Camera(f"demo,video={VTEST},gop=1,seconds=10,size=320x240") as camera:
        # The caller's trace goes on.
        assert start(herd, camera, "given", PARENT) == TRACE
        [answered] = lines(herd, "capture", "call answered", TRACE)
        assert " method=StartStream code=OK " in answered
        assert lines(herd, "capture", "stream started", TRACE), herd.tail("capture")
        # What is none, or not there, is replaced by a new one.
        made = [start(herd, camera, f"made{n}", parent) for n, parent in enumerate(("", "00-x"))]
        for trace in made:
            assert lines(herd, "capture", "call answered", trace)
        assert len({TRACE, "0" * 32, *made}) == 4

        [first, *_] = herd.wait_records(1)
        meta = first["meta"]
        name = f"{meta['session_id']}/{meta['batch_seq']}"
        trace = meta["trace_id"]
        assert trace == hashlib.sha256(name.encode()).hexdigest()[:32]
        # Capture logs when the answer is there, after the record.
        for service, message in (
            ("capture", "batch answered"),
            ("inference", "batch inferred"),
            ("aggregator", "batch recorded"),
        ):
            wait_for(
                lambda service=service, message=message: lines(herd, service, message, trace),
                10,
                lambda service=service: f"{trace} in the log of {service}\n{herd.tail(service)}",
            )
