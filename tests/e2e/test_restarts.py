# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGKILL of each service: nothing lost, nothing twice."""

from __future__ import annotations

import signal
import time

import pytest
from conftest import HerdMaker
from harness import SERVICES, Camera, Herd, wait_for

INTERVAL = "0.2"


def drain(herd: Herd, names: list[str], timeout: float = 60) -> None:
    """Stops the streams and waits until all is recorded; then every frame is in
    exactly one record, the batches numbered without a gap."""
    sessions = {}
    for name in names:
        sessions[name] = herd.stream(name)["session_id"]
        assert herd.stop_stream(name).status in (200, 409)
    for name in names:
        stream = herd.wait_stream(name, lambda s: s["accounting"]["spooled"] == 0, timeout)
        assert stream["state"] == "stopped"
        a = stream["accounting"]
        assert a["dropped"] == {}, a
        assert a["recorded"] == a["captured"]
        expected = a["recorded"]
        session = sessions[name]

        def lines(session: str = session) -> list[dict]:
            return [x for x in herd.lines() if x["meta"]["session_id"] == session]

        wait_for(
            lambda lines=lines, n=expected: sum(len(x["meta"]["frames"]) for x in lines()) == n,
            20,
            lambda lines=lines, a=a: f"all frames in lines: {len(lines())} lines, {a}",
        )
        batches = sorted(x["meta"]["batch_seq"] for x in lines())
        assert batches == list(range(1, len(batches) + 1))
        frames = [f["frame_seq"] for x in lines() for f in x["meta"]["frames"]]
        assert len(frames) == len(set(frames))
    ids = [line["meta"]["record_id"] for line in herd.lines()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_ends_comes_back_and_every_frame_is_recorded_once(
    make_herd: HerdMaker, camera: Camera, service: str, number: int
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.start_stream(camera.url("second"), camera_id="CAM-002", interval=float(INTERVAL))
    herd.wait_records(2)
    before = herd.stream("CAM-001")
    if number == signal.SIGTERM:
        herd.terminate(service)
    else:
        herd.kill(service)
    if service in ("aggregator", "inference"):
        # Frames go on being captured, and wait.
        captured = before["accounting"]["captured"]
        herd.wait_captured("CAM-001", captured + 15)
        herd.check_accounting()
    elif service == "gateway":
        count = len(herd.lines())
        wait_for(lambda: len(herd.lines()) > count, 30, "records without a gateway")
    herd.restart(service)
    herd.wait_state("CAM-001", "running")
    after = herd.stream("CAM-001")
    assert after["session_id"] == before["session_id"]
    assert after["stream_id"] == before["stream_id"]
    herd.wait_records(len(herd.lines()) + 2)
    herd.check_accounting()
    drain(herd, ["CAM-001", "CAM-002"])


def test_all_services_killed_at_once_lose_and_repeat_nothing(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.wait_records(1)
    for _ in range(3):
        count = len(herd.lines())
        for name in SERVICES:
            herd.signal(name, signal.SIGKILL)
        for name in SERVICES:
            herd.services[name].process.wait(10)
        herd.start()
        herd.wait_records(count + 2)
        herd.check_accounting()
    drain(herd, ["CAM-001"])


def test_a_restarted_capture_service_sends_what_the_spool_holds(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.wait_records(1)
    herd.kill("inference")
    captured = herd.stream("CAM-001")["accounting"]["captured"]
    herd.wait_captured("CAM-001", captured + 25)
    herd.kill("capture")
    herd.restart("inference")
    herd.restart("capture")
    spooled = herd.stream("CAM-001")["accounting"]
    assert spooled["spooled"] + spooled["recorded"] >= captured + 25
    drain(herd, ["CAM-001"])


def test_the_downtime_of_the_capture_service_is_counted_as_missed(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.wait_captured("CAM-001", 5)
    herd.kill("capture")
    # Five due times pass.
    end = time.monotonic() + 5 * float(INTERVAL)
    wait_for(lambda: time.monotonic() > end)
    herd.restart("capture")
    stream = herd.wait_captured("CAM-001", 10)
    assert stream["accounting"]["missed"].get("service_down", 0) >= 4, stream["accounting"]


def test_a_stopped_stream_stays_stopped_over_a_restart(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.wait_captured("CAM-001", 3)
    herd.stop_stream("CAM-001")
    herd.kill("capture")
    herd.restart("capture")
    stream = herd.wait_state("CAM-001", "stopped")
    assert stream["desired_running"] is False


def test_a_torn_last_line_is_moved_aside_and_the_file_catches_up(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=float(INTERVAL))
    herd.wait_records(2)
    herd.kill("aggregator")
    path = herd.data / "predictions.json"
    # The next line, of which a crash let only the beginning reach the disk.
    with path.open("ab") as file:
        file.write(path.read_bytes()[:1000])
    herd.restart("aggregator")
    herd.wait_records(3)
    torn = list(herd.data.glob("predictions.json.torn-*"))
    assert len(torn) == 1
    assert torn[0].stat().st_size == 1000
    drain(herd, ["CAM-001"])
