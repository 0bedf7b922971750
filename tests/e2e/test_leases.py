# SPDX-License-Identifier: Apache-2.0
"""Streams that stop by themselves, after a time or a number of frames, with
their grid made."""

from __future__ import annotations

import base64
import re
import time
from datetime import datetime
from typing import Any

from conftest import HerdMaker
from harness import Camera, Herd, wait_for

INTERVAL = 0.2


def lease(herd: Herd, camera: Camera, expect: int = 201, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Starts `demo` by REST; the stream, or the error."""
    body = {"rtsp_url": camera.url("demo"), "interval_seconds": INTERVAL, **fields}
    answer = herd.request("POST", "/api/v1/streams", body)
    assert answer.status == expect, answer.text
    return answer.json["stream"] if expect < 300 else answer.json["error"]


def seconds(stream: dict[str, Any], begin: str, end: str) -> float:
    """Between two times of a stream."""
    times = [datetime.fromisoformat(stream[key].replace("Z", "+00:00")) for key in (begin, end)]
    return (times[1] - times[0]).total_seconds()


def images(herd: Herd) -> list[str]:
    """Names of the grids that were made."""
    folder = herd.data / "images"
    return sorted(x.name for x in folder.glob("demo_*.jpg")) if folder.exists() else []


def check_one_grid(herd: Herd) -> None:
    """It was made without anybody asking, and is what each stop answers."""
    wait_for(lambda: images(herd), 15, "the grid's picture")
    jpeg = (herd.data / "images" / images(herd)[0]).read_bytes()
    for _ in range(2):
        page = herd.stop_stream("demo")
        assert page.status == 200
        shown = re.search(r'src="data:image/jpeg;base64,([^"]+)"', page.text)
        assert base64.b64decode(shown.group(1)) == jpeg
    answer = herd.request("POST", "/api/v1/streams/demo/stop?grid_jpeg=true")
    assert base64.b64decode(answer.json["grid_jpeg"]) == jpeg
    assert len(images(herd)) == 1


def test_a_stream_stops_when_its_time_is_over(herd: Herd, camera: Camera) -> None:
    started = lease(herd, camera, ttl_seconds=8)
    assert abs(seconds(started, "started_at", "expires_at") - 8) < 0.01
    assert lease(herd, camera, 200, ttl_seconds=8)["expires_at"] == started["expires_at"]
    error = lease(herd, camera, 409, ttl_seconds=9)
    assert "ttl_seconds is 8, asked for 9" in error["message"]
    stopped = herd.wait_state("demo", "stopped", 15)
    assert 8 <= seconds(stopped, "started_at", "stopped_at") < 11
    assert stopped["state_reason"] == "its lease of 8 s ended"
    assert not stopped["desired_running"]
    check_one_grid(herd)


def test_a_stream_stops_with_its_last_frame(herd: Herd, camera: Camera) -> None:
    started = lease(herd, camera, max_frames=12, models=["animals"], batch_size=5)
    assert started["max_frames"] == 12 and started["expires_at"] is None
    # The limit of another stream is nothing to this one.
    other = {"rtsp_url": camera.url("second"), "interval_seconds": INTERVAL}
    assert herd.request("POST", "/api/v1/streams", other).status == 201
    stopped = herd.wait_state("demo", "stopped", 60)
    assert stopped["state_reason"] == "it captured its 12 frames"
    assert stopped["accounting"]["captured"] == 12
    assert stopped["accounting"]["recorded"] == 12
    # The newest is sent first where all waited for the model.
    lines = sorted(herd.wait_records(3), key=lambda line: line["meta"]["batch_seq"])
    assert [len(line["meta"]["frames"]) for line in lines] == [5, 5, 2]
    check_one_grid(herd)
    count = herd.stream("second")["accounting"]["captured"]
    herd.wait_captured("second", count + 3)


def test_a_lease_is_renewed_and_taken_away_by_patch(herd: Herd, camera: Camera) -> None:
    started = lease(herd, camera, ttl_seconds=2)

    def patch(expect: int = 200, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = herd.request("PATCH", "/api/v1/streams/demo", fields)
        assert answer.status == expect, answer.text
        return answer.json

    renewed = patch(ttl_seconds=3600)
    assert seconds(started, "started_at", "expires_at") == 2
    assert seconds({**started, "end": renewed["expires_at"]}, "started_at", "end") >= 3600
    assert "ttl_seconds" in patch(400, ttl_seconds=-1)["error"]["message"]
    assert patch(ttl_seconds=0)["expires_at"] is None
    time_over = time.monotonic() + 3
    wait_for(lambda: time.monotonic() > time_over, 10, "what was its end")
    captured = herd.wait_captured("demo", 5)
    assert captured["state"] == "running"
    assert captured["session_id"] == started["session_id"]
    assert patch(max_frames=3)["desired_running"] is False
    stopped = herd.wait_state("demo", "stopped")
    assert stopped["state_reason"] == "it captured its 3 frames"


def test_a_lease_ends_in_spite_of_sigkill_and_of_a_missing_aggregator(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    started = lease(herd, camera, ttl_seconds=8)
    herd.wait_captured("demo", 9)
    herd.kill("capture")
    herd.terminate("aggregator")
    herd._start_one(herd.services["capture"])
    resumed = herd.wait_state("demo", "running")
    assert resumed["expires_at"] == started["expires_at"]
    assert resumed["session_id"] == started["session_id"]
    stopped = herd.wait_state("demo", "stopped", 20)
    assert 8 <= seconds(stopped, "started_at", "stopped_at") < 12
    assert stopped["state_reason"] == "its lease of 8 s ended"
    assert images(herd) == []
    # What is owed outlives the service too.
    herd.kill("capture")
    herd._start_one(herd.services["capture"])
    herd.restart("aggregator")
    check_one_grid(herd)


def test_a_lease_that_ended_while_the_service_was_down_is_carried_out(
    herd: Herd, camera: Camera
) -> None:
    started = lease(herd, camera, ttl_seconds=5)
    herd.wait_captured("demo", 9)
    herd.kill("capture")
    end = time.time() + 5
    wait_for(lambda: time.time() > end, 10, "the end of the lease")
    herd.restart("capture")
    stopped = herd.wait_state("demo", "stopped", 5)
    assert stopped["connects"] == 1
    assert stopped["stream_id"] == started["stream_id"]
    # Due until its end, and no longer.
    assert stopped["accounting"]["due"] <= 5 / INTERVAL + 1
    check_one_grid(herd)
