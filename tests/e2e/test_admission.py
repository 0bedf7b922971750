# SPDX-License-Identifier: Apache-2.0
"""A box that is full refuses more cameras and goes on with those it has."""

from __future__ import annotations

import os
import re
import time

import grpc
import pytest
from conftest import HerdMaker
from harness import VTEST, Answer, Camera, Herd, import_protos, wait_for
from test_workers import workers

RUNNING = ("one", "two", "three")
# Little enough for three streams to be more.
SHARE = "0.02"


@pytest.fixture(scope="module")
def large() -> Camera:
    """Cameras whose pictures cost something."""
    video = f"video={VTEST},gop=2,seconds=8,size=1920x1080"
    with Camera(*[f"{name},{video}" for name in (*RUNNING, "four")]) as camera:
        yield camera


def start(herd: Herd, camera: Camera, name: str) -> Answer:
    body = {"rtsp_url": camera.url(name), "interval_seconds": 0.2, "sampling_mode": "full"}
    return herd.request("POST", "/api/v1/streams", body)


def metric(herd: Herd, name: str) -> float:
    found = re.search(rf"^camherd_capture_{re.escape(name)} (\S+)$", herd.metrics("capture"), re.M)
    assert found, name
    return float(found.group(1))


def tree_seconds(herd: Herd) -> float:
    """CPU time of the capture service and its workers."""
    total = 0.0
    for pid in [herd.services["capture"].process.pid, *workers(herd)]:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def wait_measured(herd: Herd) -> None:
    """Until the streams have run for long enough to be judged."""
    for name in RUNNING:
        herd.wait_captured(name, 5)
    end = time.monotonic() + 20
    wait_for(lambda: time.monotonic() > end, 30, "20 s of running")


def test_a_start_that_the_box_cannot_carry_is_refused(make_herd: HerdMaker, large: Camera) -> None:
    herd = make_herd(CAPTURE_MAX_CPU_SHARE=SHARE)
    for name in RUNNING:
        assert start(herd, large, name).status == 201
    wait_measured(herd)
    cores = len(os.sched_getaffinity(0))
    limit = metric(herd, "cpu_cores_limit")
    assert limit <= float(SHARE) * cores + 1e-9
    assert metric(herd, "cpu_cores") > limit
    before = {name: herd.stream(name) for name in RUNNING}

    refused = start(herd, large, "four")
    assert refused.status == 429, refused.text
    error = refused.json["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    number = r"[\d.]+"
    expected = rf"a stream at 0\.2 s would need {number} cores and {number} MiB; "
    expected += rf"{number} of {number} cores \(max_cpu_share {SHARE} of {number}\) "
    expected += r"are in use by 3 streams"
    assert re.fullmatch(expected, error["message"]), error["message"]
    assert int(refused.headers["retry-after"]) > 0
    import_protos()
    from camherd.v1 import capture_service_pb2

    request = capture_service_pb2.StartStreamRequest(rtsp_url=large.url("four"))
    with herd.stub("capture") as capture, pytest.raises(grpc.RpcError) as raised:
        capture.StartStream(request, timeout=10)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "a stream at 3 s would need" in raised.value.details()
    assert metric(herd, 'streams_refused_total{reason="cpu"}') == 2

    # Those that run are left alone, may be asked for again, and changed.
    assert start(herd, large, "one").status == 200
    change = herd.request("PATCH", "/api/v1/streams/one", {"interval_seconds": 0.25})
    assert change.status == 200, change.text
    for name in RUNNING:
        count = herd.stream(name)["accounting"]["captured"]
        after = herd.wait_captured(name, count + 5)
        assert after["state"] == "running"
        assert after["session_id"] == before[name]["session_id"]
        assert after["connects"] == 1
    assert len(herd.streams()) == len(RUNNING)

    # What ran is resumed, however full the box is; and off is off.
    herd.kill("capture")
    herd.settings["CAPTURE_ADMISSION"] = "off"
    herd.restart("capture")
    for name in RUNNING:
        herd.wait_captured(name, herd.stream(name)["accounting"]["captured"] + 5)
    wait_measured(herd)
    assert metric(herd, "cpu_cores") > limit
    assert start(herd, large, "four").status == 201
    herd.wait_captured("four", 3)


def test_what_is_measured_is_what_the_processes_use(make_herd: HerdMaker, large: Camera) -> None:
    herd = make_herd()
    for name in RUNNING:
        assert start(herd, large, name).status == 201
    for name in RUNNING:
        herd.wait_captured(name, 5)
    begin, used = time.monotonic(), tree_seconds(herd)
    wait_for(lambda: time.monotonic() - begin > 20, 30, "20 s of running")
    share = (tree_seconds(herd) - used) / (time.monotonic() - begin)
    # It looks further back than we do.
    assert 0.6 * share < metric(herd, "cpu_cores") < 1.6 * share
