# SPDX-License-Identifier: Apache-2.0
"""A camera with a second, smaller stream for the models (`detect_url`)."""

from __future__ import annotations

from typing import Any

import pytest
from harness import VTEST, Camera, Herd, wait_for
from records import decode, first_frame

INTERVAL = 0.2
# Width and height.
LARGE = (768, 576)
SMALL = (320, 240)


@pytest.fixture(scope="module")
def large() -> Camera:
    with Camera(f"demo,video={VTEST},gop=0.4,seconds=10") as camera:
        yield camera


@pytest.fixture
def small() -> Camera:
    """Of a server of its own, so that it can fail alone; asks for a login."""
    mount = f"sub,video={VTEST},gop=0.4,seconds=10,size=320x240"
    with Camera(mount, auth="digest", password="s3cret-sub") as camera:
        yield camera


def start(herd: Herd, large: Camera, small: Camera, expect: int = 201, **fields: Any) -> Any:  # noqa: ANN401
    """Starts `demo` with both, by REST; the JSON answered."""
    body = {
        "rtsp_url": large.url("demo"),
        "detect_url": small.url("sub"),
        "interval_seconds": INTERVAL,
        "models": ["animals"],
        "batch_size": 5,
        **fields,
    }
    answer = herd.request("POST", "/api/v1/streams", body)
    assert answer.status == expect, answer.text
    assert "s3cret" not in answer.text
    return answer.json


def set_detect_url(herd: Herd, url: str) -> dict[str, Any]:
    answer = herd.request("PATCH", "/api/v1/streams/demo", {"detect_url": url})
    assert answer.status == 200, answer.text
    assert "s3cret" not in answer.text
    return answer.json


def size_of(jpeg: bytes) -> tuple[int, int]:
    picture = decode(jpeg)
    return picture.shape[1], picture.shape[0]


def latest_size(herd: Herd, query: str = "") -> tuple[int, int]:
    answer = herd.get(f"/api/v1/streams/demo/latest.jpg{query}")
    assert answer.status == 200, answer.text
    return size_of(answer.body)


def recorded_sizes(herd: Herd, since: int) -> list[tuple[int, int]]:
    """Of the first frames of the records after the first `since`."""
    return [size_of(first_frame(line)) for line in herd.lines()[since:]]


def test_models_have_its_pictures_and_people_those_of_the_first(
    herd: Herd, large: Camera, small: Camera
) -> None:
    stream = start(herd, large, small)["stream"]
    assert stream["detect_url"].startswith("rtsp://***:***@127.0.0.1:")
    herd.wait_records(3)
    stream = herd.wait_stream("demo", lambda s: s["brightest_count"] == 9, 20, "nine frames")
    assert stream["state"] == stream["detect"]["state"] == "running"
    assert (stream["width"], stream["height"]) == LARGE
    assert (stream["detect"]["width"], stream["detect"]["height"]) == SMALL
    assert stream["accounting"]["ranked_only"] > 0
    assert set(recorded_sizes(herd, 0)) == {SMALL}
    assert latest_size(herd) == LARGE
    grid = herd.request("POST", "/api/v1/streams/demo/stop").json["grid"]
    assert {(cell["width"], cell["height"]) for cell in grid["cells"]} == {LARGE}
    stream = herd.wait_state("demo", "stopped")
    accounting = stream["accounting"]
    assert accounting["captured"] == accounting["recorded"] + accounting["ranked_only"]
    assert "s3cret" not in herd.log("capture") + herd.log("gateway")


def test_each_fails_and_comes_back_for_itself(herd: Herd, large: Camera, small: Camera) -> None:
    start(herd, large, small)
    herd.wait_records(1)
    small.kill()
    stream = herd.wait_state("demo", "reconnecting")
    assert stream["state_reason"].startswith("detect_url: ")
    assert "s3cret" not in str(stream)
    seen = herd.stream("demo")["last_frame_at"]
    herd.wait_stream("demo", lambda s: s["last_frame_at"] > seen, 10, "the first goes on")
    records = len(herd.lines())
    small.start()
    herd.wait_state("demo", "running")
    herd.wait_records(records + 2)
    stream = herd.stream("demo")
    assert stream["detect"]["connects"] == 2
    assert (stream["connects"], stream["disconnects"]) == (1, 0)
    assert stream["accounting"]["missed"].get("not_connected", 0) > 0


def test_it_comes_and_goes_while_the_stream_runs(herd: Herd, large: Camera, small: Camera) -> None:
    start(herd, large, small, detect_url="")
    session = herd.wait_captured("demo", 3)["session_id"]
    herd.wait_records(2)
    assert set(recorded_sizes(herd, 0)) == {LARGE}
    for url, size in ((small.url("sub"), SMALL), ("", LARGE), (small.url("sub"), SMALL)):
        shown = set_detect_url(herd, url)
        assert bool(shown["detect_url"]) == (size == SMALL)

        def are_of_that_size(size: tuple[int, int] = size) -> bool:
            sizes = recorded_sizes(herd, -2)
            return len(sizes) == 2 and set(sizes) == {size}  # noqa: PLR2004

        wait_for(are_of_that_size, 20, lambda size=size: f"records of {size}")
        stream = herd.stream("demo")
        assert stream["session_id"] == session
        assert (stream["connects"], stream["state"]) == (1, "running")
        assert stream["accounting"]["dropped"] == {}
        assert latest_size(herd) == LARGE


def test_both_go_on_after_a_kill(herd: Herd, large: Camera, small: Camera) -> None:
    start(herd, large, small)
    herd.wait_records(1)
    before = herd.stream("demo")
    herd.kill("capture")
    herd.restart("capture")
    stream = herd.wait_state("demo", "running")
    assert stream["session_id"] == before["session_id"]
    records = len(herd.lines())
    herd.wait_records(records + 2)
    assert set(recorded_sizes(herd, 0)) == {SMALL}


def test_what_cannot_be_is_refused(herd: Herd, large: Camera, small: Camera) -> None:
    error = start(herd, large, small, 400, models=[])["error"]
    assert "detect_url must be empty where models is" in error["message"]
    error = start(herd, large, small, 400, detect_url="http://u:s3cret@h/")["error"]
    assert error["message"].startswith("detect_url must begin with rtsp://")
    error = start(herd, large, small, 400, detect_url="rtsp://127.0.0.1:0/x")["error"]
    assert error["message"].startswith("detect_url ")
