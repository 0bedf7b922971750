# SPDX-License-Identifier: Apache-2.0
"""The way of a frame into predictions.json, as document A tells it."""

from __future__ import annotations

import hashlib
import json
import subprocess

from conftest import HerdMaker
from harness import Camera, Herd, wait_for
from records import (
    GOLDEN,
    check_schema,
    decode,
    first_frame,
    kept_frames,
    spooled_frames,
)

CSV = "cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n"


def start_by_curl(herd: Herd, url: str) -> dict:
    """Document A's curl line, with the port of this herd."""
    out = subprocess.run(
        ["curl", "-sS", "-X", "POST", herd.url("/start_stream")]
        + ["-H", "Content-Type: application/json", "-d"]
        + [json.dumps({"rtsp_url": url, "camera_id": "CAM-001", "model_name": "animals"})],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(out)


def batch(herd: Herd, number: int) -> dict:
    """The line of a batch. The newest are sent first: it need not be that line
    of the file."""

    def line() -> dict | None:
        found = [x for x in herd.lines() if x["meta"]["batch_seq"] == number]
        return found[0] if found else None

    return wait_for(line, 60, f"batch {number}")


def test_document_as_example_is_valid_against_its_schema() -> None:
    example = json.loads((GOLDEN / "example.json").read_text())
    check_schema({**example, "meta": {}})


def test_ten_frames_make_one_line_that_is_valid_against_document_as_schema(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(start=False, keep_frames=True, CAPTURE_INTERVAL_SECONDS="0.3")
    (herd.data / "camera_data.csv").write_text(CSV)
    herd.start()
    answer = start_by_curl(herd, camera.url("demo"))
    assert answer["message"] == "Stream started"
    assert answer["camera_id"] == "CAM-001"

    herd.wait_captured("CAM-001", 10)
    first = batch(herd, 1)
    check_schema(first)
    assert first["basic"]["camID"] == "CAM-001"
    assert (first["basic"]["Latitude"], first["basic"]["Longitude"]) == (26.4499, 80.3319)
    assert first["basic"]["complaint_type"] == {"stray_animal": 1, "pothole": 0}
    assert first["pothole"] is None
    assert len(first["meta"]["frames"]) == 10
    assert [f["frame_seq"] for f in first["meta"]["frames"]] == list(range(1, 11))

    # The base64 is a JPEG of the camera's size: the batch's first frame.
    jpeg = first_frame(first)
    assert decode(jpeg).shape == (576, 768, 3)
    assert hashlib.sha256(jpeg).hexdigest() == first["meta"]["frames"][0]["sha256"]

    # The frames of the batch are gone from the spool.
    session = answer["session_id"]
    wait_for(
        lambda: not set(range(1, 11)) & set(spooled_frames(herd.data, session)),
        10,
        lambda: f"frames gone: {sorted(spooled_frames(herd.data, session))}",
    )
    # And they were what the record says they were.
    kept = kept_frames(herd.folder / "kept", session)
    for frame in first["meta"]["frames"]:
        assert hashlib.sha256(kept[frame["frame_seq"]]).hexdigest() == frame["sha256"]
    # The stub finds a dog in each frame; its score is worked out from the bytes.
    scores = [0.5 + len(kept[n]) % 1000 / 2500 for n in range(1, 11)]
    found = [d["confidence"] for d in first["stray_animal"]["detections"]]
    assert sorted(found) == [round(s, 4) for s in sorted(scores)]
    evidence = first["meta"]["evidence"]["stray_animal"]
    assert evidence["frame_index"] == scores.index(max(scores))

    # The next batch needs no install.
    marker = herd.data / "venvs" / "animals" / ".deps_installed"
    installed_at = marker.stat().st_mtime_ns
    check_schema(batch(herd, 2))
    assert marker.stat().st_mtime_ns == installed_at
    assert (herd.data / "predictions.json").read_text().count("\n") >= 2


def test_left_out_model_name_means_animals(herd: Herd, camera: Camera) -> None:
    answer = herd.start_stream(camera.url("demo"), camera_id="CAM-001")
    assert herd.stream(answer["stream_id"])["models"] == ["animals"]


def test_a_camera_that_is_not_in_the_csv_has_null_coordinates(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(CAPTURE_INTERVAL_SECONDS="0.2")
    herd.start_stream(camera.url("demo"), camera_id="NOWHERE-1")
    line = herd.wait_records(1)[0]
    check_schema(line)
    assert line["basic"]["Latitude"] is None
    assert line["basic"]["Longitude"] is None


def test_a_stop_sends_the_rest_as_a_shorter_batch(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd(CAPTURE_INTERVAL_SECONDS="0.2")
    herd.start_stream(camera.url("demo"), camera_id="CAM-001")
    herd.wait_captured("CAM-001", 13)
    herd.stop_stream("CAM-001")
    stream = herd.wait_stream("CAM-001", lambda s: s["accounting"]["spooled"] == 0)
    lines = herd.wait_records(2)
    sizes = {line["meta"]["batch_seq"]: len(line["meta"]["frames"]) for line in lines}
    assert sum(sizes.values()) == stream["accounting"]["captured"]
    assert sizes.pop(max(sizes)) <= 10
    assert set(sizes.values()) == {10}


def test_a_model_that_finds_nothing_gives_an_empty_list_and_no_complaint(
    make_herd: HerdMaker, camera: Camera
) -> None:
    from models import add_stub

    herd = make_herd(start=False, CAPTURE_INTERVAL_SECONDS="0.2")
    add_stub(herd.folder / "models", "animals", section="stray_animal", finds=False)
    herd.start()
    herd.start_stream(camera.url("demo"))
    line = herd.wait_records(1)[0]
    check_schema(line)
    assert line["stray_animal"] == {"detections": []}
    assert line["basic"]["complaint_type"]["stray_animal"] == 0


def test_one_object_per_problematic_frame_where_it_is_set(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(CAPTURE_INTERVAL_SECONDS="0.2", AGGREGATOR_PER_FRAME_RECORDS="true")
    herd.start_stream(camera.url("demo"))
    lines = herd.wait_records(10)[:10]
    assert len({line["meta"]["batch_seq"] for line in lines}) == 1
    for index, line in enumerate(lines):
        check_schema(line)
        assert line["meta"]["frame_index"] == index
        assert len(line["stray_animal"]["detections"]) == 1
        sha256 = hashlib.sha256(first_frame(line)).hexdigest()
        assert sha256 == line["meta"]["frames"][index]["sha256"]
