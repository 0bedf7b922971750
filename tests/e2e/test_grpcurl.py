# SPDX-License-Identifier: Apache-2.0
"""The services by the real grpcurl, as the README shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import HerdMaker
from harness import Camera, Herd

GRPCURL = Path(sys.executable).parent / "grpcurl"


def grpcurl(
    herd: Herd,
    service: str,
    *arguments: str,
    body: dict[str, Any] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs grpcurl -plaintext; the body travels by standard input. `seconds`: the
    call's deadline."""
    command = [str(GRPCURL), "-plaintext"]
    if seconds is not None:
        command += ["-max-time", str(seconds)]
    if body is not None:
        command += ["-d", "@"]
    command += [herd.services[service].addresses["grpc"][0], *arguments]
    return subprocess.run(
        command,
        input=json.dumps(body) if body is not None else None,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("capture", "camherd.v1.CaptureService"),
        ("inference", "camherd.v1.InferenceService"),
        ("aggregator", "camherd.v1.AggregatorService"),
    ],
)
def test_list_names_the_service_and_health(module_herd: Herd, service: str, name: str) -> None:
    out = grpcurl(module_herd, service, "list").stdout.split()
    assert name in out
    assert "grpc.health.v1.Health" in out


@pytest.mark.parametrize("service", ["capture", "inference", "aggregator"])
def test_health_answers_serving(module_herd: Herd, service: str) -> None:
    # gRPC's own health service has no descriptor for grpcurl: by bytes.
    with grpc.insecure_channel(module_herd.services[service].addresses["grpc"][0]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        # HealthCheckResponse{status: SERVING}; the request names the service.
        name = f"camherd.v1.{service.capitalize()}Service".encode()
        for request in (b"", b"\x0a" + bytes([len(name)]) + name):
            assert check(request, timeout=5) == b"\x08\x01"


def test_start_list_and_stop_a_stream(herd: Herd, camera: Camera) -> None:
    service = "camherd.v1.CaptureService"
    body = {"rtsp_url": camera.url("demo"), "camera_id": "CAM-001", "interval_seconds": 0.2}
    started = grpcurl(herd, "capture", f"{service}/StartStream", body=body)
    assert started.returncode == 0, started.stderr
    stream = json.loads(started.stdout)["stream"]
    herd.wait_captured("CAM-001", 9)

    listed = json.loads(grpcurl(herd, "capture", f"{service}/ListStreams").stdout)
    assert [s["stream_id"] for s in listed["streams"]] == [stream["stream_id"]]
    assert listed["streams"][0]["state"] == "STREAM_STATE_RUNNING"

    stopped = grpcurl(herd, "capture", f"{service}/StopStream", body={"stream": "CAM-001"})
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout)["grid"]["file_name"].endswith(".jpg")


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("capture", "camherd.v1.CaptureService/WatchStreams"),
        ("inference", "camherd.v1.InferenceService/WatchModels"),
        ("aggregator", "camherd.v1.AggregatorService/WatchRecords"),
    ],
)
def test_a_watch_says_where_it_stands_and_goes_on(
    module_herd: Herd, service: str, method: str
) -> None:
    out = grpcurl(module_herd, service, method, body={}, seconds=1)
    assert json.loads(out.stdout)["resume_token"]
    assert "DeadlineExceeded" in out.stderr


def test_reflection_can_be_switched_off(make_herd: HerdMaker) -> None:
    herd = make_herd(
        CAPTURE_REFLECTION="false", INFERENCE_REFLECTION="false", AGGREGATOR_REFLECTION="false"
    )
    for service in ("capture", "inference", "aggregator"):
        out = grpcurl(herd, service, "list")
        assert out.returncode != 0
        assert "reflection" in out.stderr
