# SPDX-License-Identifier: Apache-2.0
"""Several streams, several codecs, and what is sampled of them."""

from __future__ import annotations

import hashlib
import time

import numpy as np
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for
from records import decode, kept_frames, spooled_frames


def test_three_streams_at_once_and_stopping_one_leaves_the_others_untouched(
    herd: Herd, camera: Camera
) -> None:
    for name in ("demo", "second", "third"):
        body = f"rtsp_url={camera.url(name)}&interval=0.5"
        assert herd.request("POST", "/start", body, listener=1).status == 200
    for name in ("demo", "second", "third"):
        herd.wait_captured(name, 3)
    before = {name: herd.stream(name) for name in ("demo", "third")}
    herd.stop_stream("second")
    assert herd.stream("second")["state"] in ("stopping", "stopped")
    for name, old in before.items():
        new = herd.wait_captured(name, old["accounting"]["captured"] + 4)
        assert new["state"] == "running"
        assert new["session_id"] == old["session_id"]
        assert (new["connects"], new["disconnects"]) == (1, 0)
        assert new["accounting"]["missed"] == old["accounting"]["missed"]


def test_every_codec_is_captured_with_the_cameras_size(herd: Herd, camera: Camera) -> None:
    sizes = {
        "demo": ("h264", 768, 576),
        "bframes": ("h264", 768, 576),
        "h265": ("h265", 640, 480),
        "mjpeg": ("mjpeg", 640, 480),
    }
    for name in sizes:
        herd.start_stream(camera.url(name), model_name="animals", interval=1)
    for name, (codec, width, height) in sizes.items():
        stream = herd.wait_captured(name, 10)
        assert stream["codec"].lower() in (codec, {"h265": "hevc"}.get(codec, codec))
        assert (stream["width"], stream["height"]) == (width, height)
    lines = {}
    wait_for(
        lambda: lines.update({x["basic"]["camID"]: x for x in herd.lines()}) or len(lines) == 4,
        30,
        lambda: f"a record of each: {list(lines)}",
    )
    for name, (_, width, height) in sizes.items():
        import records

        assert decode(records.first_frame(lines[name])).shape == (height, width, 3)


def test_digest_and_basic_credentials_open_the_camera(herd: Herd) -> None:
    mount = f"demo,video={VTEST},gop=2"
    with (
        Camera(mount, auth="digest", password="p%40ss") as digest,
        Camera(mount, auth="basic", password="simple") as basic,
    ):
        # A password with a character that a URL must encode.
        digest.password = "p%40ss"
        for name, camera in (("digest", digest), ("basic", basic)):
            password = camera.password.replace("%", "%25")
            url = camera.url("demo", user=camera.user, password=password)
            herd.start_stream(url, camera_id=name, interval=0.5)
        for name in ("digest", "basic"):
            herd.wait_captured(name, 3)
            shown = herd.stream(name)["rtsp_url"]
            assert "admin" not in shown and "simple" not in shown and "p%" not in shown


def test_one_new_picture_per_interval_with_a_gop_longer_than_the_interval(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(keep_frames=True)
    # A GOP of 2 s sampled at 1 s, and one of 4.8 s sampled at 3 s.
    cases = {"demo": 1.0, "gop48": 3.0}
    for name, interval in cases.items():
        body = f"rtsp_url={camera.url(name)}&interval={interval:g}"
        assert herd.request("POST", "/start", body, listener=1).status == 200
    first = {name: herd.wait_captured(name, 1) for name in cases}
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 18, 30, "18 s of sampling")
    for name, interval in cases.items():
        stream = herd.stream(name)
        elapsed = time.monotonic() - begin
        captured = stream["accounting"]["captured"] - first[name]["accounting"]["captured"]
        assert abs(captured - elapsed / interval) <= 1.5, stream["accounting"]
        # What was due before the first keyframe came may be missed; later one that is late,
        # where the machine is busy with others.
        missed = dict(stream["accounting"]["missed"])
        late = missed.pop("late", 0) - first[name]["accounting"]["missed"].get("late", 0)
        before = {k: v for k, v in first[name]["accounting"]["missed"].items() if k != "late"}
        assert missed == before and late <= 1, name
        assert stream["effective_mode"] == "exact"
        session = stream["session_id"]
        frames = {
            **kept_frames(herd.folder / "kept", session),
            **spooled_frames(herd.data, session),
        }
        hashes = {hashlib.sha256(jpeg).hexdigest() for jpeg in frames.values()}
        assert len(hashes) == len(frames) >= captured


def test_a_late_join_in_the_middle_of_a_long_gop_still_gets_pictures(herd: Herd) -> None:
    with Camera(f"late,video={VTEST},gop=6,seconds=24,start=23") as camera:
        herd.start_stream(camera.url("late"), interval=0.5)
        stream = herd.wait_captured("late", 4)
        assert stream["state"] == "running"


def test_the_same_camera_and_settings_again_is_the_running_stream(
    herd: Herd, camera: Camera
) -> None:
    first = herd.start_stream(camera.url("demo"), camera_id="CAM-001")
    again = herd.start_stream(camera.url("demo"), camera_id="CAM-001")
    assert again["stream_id"] == first["stream_id"]
    other = herd.start_stream(camera.url("second"), camera_id="CAM-001", expect=409)
    assert "rtsp_url" in other["error"]["message"]


def test_a_second_stream_of_a_name_gets_a_number_and_the_answer_says_so(
    herd: Herd, camera: Camera
) -> None:
    herd.start_stream(camera.url("demo"), camera_id="A")
    with Camera(f"demo,video={VTEST},gop=2") as other:
        one = herd.request("POST", "/start", f"rtsp_url={camera.url('demo')}", listener=1)
        two = herd.request("POST", "/start", f"rtsp_url={other.url('demo')}", listener=1)
    assert "process_name=demo" in one.text
    assert "process_name=demo-2" in two.text


def test_the_newest_picture_comes_with_boxes_and_as_wide_as_asked(
    herd: Herd, camera: Camera
) -> None:
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)
    # Nothing moves any more.
    herd.request("POST", "/api/v1/streams/CAM-001/stop")
    wait_for(lambda: herd.stream("CAM-001")["accounting"]["spooled"] == 0, 30)
    latest = "/api/v1/streams/CAM-001/latest.jpg"
    plain = herd.get(f"{latest}?acknowledged=true")
    boxes = herd.get(f"{latest}?acknowledged=true&boxes=true")
    small = herd.get(f"{latest}?acknowledged=true&boxes=true&width=320")
    assert decode(plain.body).shape == decode(boxes.body).shape == (576, 768, 3)
    assert decode(small.body).shape == (240, 320, 3)
    # A frame is thin: much of it is far from what it was, most of all is not.
    apart = np.abs(decode(plain.body).astype(int) - decode(boxes.body)).max(axis=2) > 60
    assert 0.001 < apart.mean() < 0.05
    assert len({answer.headers["etag"] for answer in (plain, boxes, small)}) == 3
    newest = herd.get(f"{latest}?width=160")
    assert decode(newest.body).shape == (120, 160, 3)
    assert herd.get(f"{latest}?boxes=true").status == 400
    assert herd.get(f"{latest}?width=8").status == 400
