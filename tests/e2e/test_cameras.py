# SPDX-License-Identifier: Apache-2.0
"""What the aggregator knows of a camera, and capture and inference do: privacy
masks, zones, thresholds and classes, changed while the stream runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for
from records import cells, decode, first_frame, kept_frames, spooled_frames

# The left half of the picture.
HALF = [{"points": [{"x": 0, "y": 0}, {"x": 0.5, "y": 0}, {"x": 0.5, "y": 1}, {"x": 0, "y": 1}]}]
# Within so many seconds an edit is in force.
IN_FORCE = 10


@pytest.fixture(scope="module")
def cameras() -> Camera:
    mounts = [f"{name},video={VTEST},gop=0.5,seconds=10" for name in ("masked", "other", "third")]
    with Camera(*mounts) as camera:
        yield camera


def put(herd: Herd, camera_id: str, expect: int = 200, **fields: Any) -> Any:  # noqa: ANN401
    """PUT of a camera; the JSON answered."""
    answer = herd.request("PUT", f"/api/v1/cameras/{camera_id}", fields)
    assert answer.status == expect, answer.text
    return answer.json


def start(herd: Herd, camera: Camera, name: str, **fields: Any) -> Any:  # noqa: ANN401
    """Starts a stream of five pictures a second."""
    fields = {"interval_seconds": 0.2, "models": ["people"], "batch_size": 5, **fields}
    return herd.start_stream(camera.url(name), camera_id=name, **fields)


def halves(picture: np.ndarray) -> tuple[float, float]:
    """The brightest of the left half, without the border that JPEG blurs, and
    the darkest of 16 columns of the right one on average."""
    width = picture.shape[1]
    left, right = picture[:, : width // 2 - 16], picture[:, width // 2 + 16 :]
    columns = right.reshape(right.shape[0], -1).mean(axis=0)
    return float(left.max()), float(columns.min())


def is_masked(picture: np.ndarray) -> bool:
    """The left half is black, and the right one is a picture."""
    left, right = halves(picture)
    assert right > 20, (left, right)
    return left < 3


def latest(herd: Herd, name: str) -> np.ndarray:
    """The newest picture of a stream."""
    answer = herd.get(f"/api/v1/streams/{name}/latest.jpg")
    assert answer.status == 200, answer.text
    return decode(answer.body)


def taken(herd: Herd, session: str) -> dict[int, bytes]:
    """Every frame of a session so far."""
    return {
        **spooled_frames(herd.data, session),
        **kept_frames(herd.folder / "kept", session),
    }


def test_a_mask_is_black_in_every_picture_there_is(make_herd: HerdMaker, cameras: Camera) -> None:
    herd = make_herd(keep_frames=True)
    put(herd, "masked", name="North gate", privacy_masks=HALF)
    session = start(herd, cameras, "masked")["session_id"]
    herd.wait_captured("masked", 12)
    assert is_masked(latest(herd, "masked"))
    grid = herd.get("/api/v1/streams/masked/grid.jpg")
    assert grid.status == 200, grid.text
    for cell in cells(grid.body):
        # vtest is 4:3: 480 of 640 columns.
        assert is_masked(cell[:, 80:560])
    line = herd.wait_records(1)[0]
    assert is_masked(decode(first_frame(line)))
    number = line["meta"]["record_id"]
    assert is_masked(decode(herd.get(f"/api/v1/records/{number}/frame.jpg").body))
    frames = taken(herd, session)
    assert len(frames) >= 12
    assert all(is_masked(decode(jpeg)) for jpeg in frames.values())
    stream = herd.stream("masked")
    # The picture that is left is judged, not the mask.
    assert stream["last_frame_luma"] > 60
    assert stream["condition"] in ("good", "unspecified", "unknown"), stream["condition"]


def test_an_edit_is_in_force_within_seconds_and_disturbs_nothing(
    herd: Herd, cameras: Camera
) -> None:
    start(herd, cameras, "masked")
    start(herd, cameras, "other")
    for name in ("masked", "other"):
        herd.wait_captured(name, 10)
        assert not is_masked(latest(herd, name))
    before = herd.stream("other")
    put(herd, "masked", privacy_masks=HALF)
    began = time.monotonic()
    wait_for(lambda: is_masked(latest(herd, "masked")), IN_FORCE, "a masked picture")
    took = time.monotonic() - began
    # The nine of before the mask are gone.
    grid = wait_for(
        lambda: (
            herd.stream("masked")["brightest_count"] == 9
            and herd.get("/api/v1/streams/masked/grid.jpg")
        ),
        IN_FORCE,
        "nine pictures",
    )
    assert all(is_masked(cell[:, 80:560]) for cell in cells(grid.body))
    put(herd, "masked", name="North gate", latitude=1, longitude=2)
    wait_for(lambda: not is_masked(latest(herd, "masked")), IN_FORCE, "an open picture")
    after = herd.wait_captured("other", before["accounting"]["captured"] + 10)
    for name in ("masked", "other"):
        stream = herd.stream(name)
        assert (stream["connects"], stream["disconnects"]) == (1, 0), stream
        assert stream["state"] == "running"
    # A busy machine may be late, whatever is edited.
    late = ("late", "overload")
    missed = [
        {reason: count for reason, count in s["accounting"]["missed"].items() if reason not in late}
        for s in (before, after)
    ]
    assert missed[0] == missed[1]
    assert not is_masked(latest(herd, "other"))
    # Name and place of the edit are those of the next record.
    wait_for(
        lambda: any(
            x["basic"]["camID"] == "masked" and x["basic"]["Latitude"] == 1 for x in herd.lines()
        ),
        30,
        "a record with the new place",
    )
    print(f"the mask was in force after {took:.1f} s")


def test_without_the_aggregator_a_picture_is_taken_only_if_its_masks_are_known(
    make_herd: HerdMaker, cameras: Camera
) -> None:
    herd = make_herd(start=False, keep_frames=True)
    # Its address is known, and nobody answers there.
    herd.start(["aggregator"])
    put_later = dict(privacy_masks=HALF)
    herd.terminate("aggregator")
    herd.start(["inference", "capture", "gateway"])
    session = start(herd, cameras, "masked")["session_id"]
    stream = herd.wait_stream(
        "masked", lambda s: s["accounting"]["missed"].get("camera_unknown", 0) >= 5
    )
    assert stream["state"] == "running", stream
    assert "privacy masks" in stream["state_reason"], stream
    assert stream["accounting"]["captured"] == 0
    herd.restart("aggregator")
    herd.wait_captured("masked", 3)
    assert herd.stream("masked")["connects"] == 1
    put(herd, "masked", **put_later)
    wait_for(lambda: is_masked(latest(herd, "masked")), IN_FORCE, "a masked picture")

    # With its copy capture starts alone.
    herd.terminate("aggregator")
    herd.terminate("capture")
    known = set(taken(herd, session))
    herd.restart("capture")
    captured = herd.stream("masked")["accounting"]["captured"]
    herd.wait_captured("masked", captured + 5)
    fresh = {number: jpeg for number, jpeg in taken(herd, session).items() if number not in known}
    assert len(fresh) >= 5
    assert all(is_masked(decode(jpeg)) for jpeg in fresh.values())
    herd.restart("aggregator")


def test_only_what_counts_for_the_camera_is_recorded(herd: Herd, cameras: Camera) -> None:
    corner = {
        "points": [
            {"x": 0, "y": 0},
            {"x": 0.02, "y": 0},
            {"x": 0.02, "y": 0.02},
            {"x": 0, "y": 0.02},
        ]
    }
    everywhere = {
        "points": [{"x": 0, "y": 0}, {"x": 1, "y": 0}, {"x": 1, "y": 1}, {"x": 0, "y": 1}]
    }
    put(herd, "masked", zones=[{"name": "corner", "area": corner}])
    put(herd, "other", class_thresholds={"person": 1.0})
    put(herd, "third", zones=[{"name": "yard", "area": everywhere, "classes": ["person"]}])
    for name in ("masked", "other", "third"):
        start(herd, cameras, name, batch_size=3)

    def of(name: str) -> list[dict[str, Any]]:
        return [x for x in herd.lines() if x["basic"]["camID"] == name]

    wait_for(
        lambda: all(len(of(name)) >= 3 for name in ("masked", "other", "third")), 60, "records"
    )
    for name in ("masked", "other"):
        for line in of(name):
            assert line["people"] == {"detections": []}, line["people"]
            assert line["basic"]["complaint_type"]["people"] == 0
            assert line["meta"]["evidence"] == {} or not line["meta"]["evidence"]
    found = [line for line in of("third") if line["people"]["detections"]]
    assert found
    for line in found:
        zones = line["meta"]["detection_zones"]["people"]
        assert zones == ["yard"] * len(line["people"]["detections"])
        assert list(line["people"]["detections"][0]) == ["class", "confidence", "box"]
    # A class nobody asked for, in the running session.
    put(herd, "third", classes=["dog"])
    wait_for(lambda: of("third")[-1]["people"] == {"detections": []}, 30, "no more people")
    assert herd.stream("third")["connects"] == 1


def test_a_bad_camera_is_refused_by_field_and_value(module_herd: Herd) -> None:
    herd = module_herd
    bad = [
        ({"privacy_masks": [{"points": HALF[0]["points"][:2]}]}, "privacy_masks[0].points"),
        ({"privacy_masks": [{"points": [{"x": 0, "y": 0}] * 2 + [{"x": 2, "y": 0}]}]}, "got 2"),
        ({"privacy_masks": HALF * 33}, "privacy_masks must number at most 32, got 33"),
        ({"zones": [{"name": "", "area": HALF[0]}]}, "zones[0].name"),
        ({"zones": [{"name": "a", "area": HALF[0]}] * 2}, "zones[1].name must be unique"),
        ({"class_thresholds": {"dog": 1.5}}, "class_thresholds.dog must be in [0, 1], got 1.5"),
        ({"classes": ["x" * 65]}, "classes[0] must have 1..64 bytes"),
    ]
    for fields, message in bad:
        answer = put(herd, "CAM-9", 400, **fields)
        assert message in answer["error"]["message"], answer
    assert herd.get("/api/v1/cameras/CAM-9").status == 404
    stored = put(herd, "CAM-9", privacy_masks=HALF, classes=["dog"])
    assert stored["privacy_masks"] == HALF
    later = put(herd, "CAM-9", name="North gate")
    assert later["privacy_masks"] == [] and later["classes"] == []
    assert later["revision"] > stored["revision"]
    changed = herd.get(f"/api/v1/cameras?after_revision={stored['revision']}").json
    assert [camera["camera_id"] for camera in changed["cameras"]] == ["CAM-9"]
    assert changed["revision"] == later["revision"]
