# SPDX-License-Identifier: Apache-2.0
"""A stream that is changed goes on in its session, and no other notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for

OTHERS = ("second", "third")
INTERVAL = 0.2
# Before and after the password was changed at the camera.
PASSWORD = "first-s3cret"


@pytest.fixture(scope="module")
def locked() -> Camera:
    """A camera that asks for a password, with two paths."""
    mounts = [f"{path},video={VTEST},gop=0.5,seconds=10" for path in ("demo", "moved")]
    with Camera(*mounts, auth="digest", password=PASSWORD) as camera:
        yield camera


@dataclass
class Edit:
    """What is asked for, and what is to be seen of it."""

    fields: Callable[[Camera], dict[str, Any]]
    shown: dict[str, Any] = field(default_factory=dict)
    # Connections that it costs the stream itself.
    connects: int = 0


EDITS = {
    "interval": Edit(lambda _: {"interval_seconds": 0.4}, {"interval_seconds": 0.4}),
    "mode_exact": Edit(lambda _: {"sampling_mode": "exact"}, {"effective_mode": "exact"}),
    "mode_keyframe": Edit(lambda _: {"sampling_mode": "keyframe"}, {"effective_mode": "keyframe"}),
    "mode_full": Edit(lambda _: {"sampling_mode": "full"}, {"effective_mode": "full"}),
    "models_added": Edit(lambda _: {"models": ["animals"]}, {"models": ["animals"]}),
    "models_taken_away": Edit(lambda _: {"models": []}, {"models": []}),
    "transport_udp": Edit(lambda _: {"transport": "udp"}, {"transport": "udp"}, connects=1),
    "transport_tcp": Edit(lambda _: {"transport": "tcp"}, {"transport": "tcp"}, connects=1),
    # User and password go on to another path of the same camera.
    "path": Edit(
        lambda camera: {"rtsp_url": f"rtsp://127.0.0.1:{camera.port}/moved"},
        connects=1,
    ),
    "nothing_new": Edit(lambda _: {"interval_seconds": 0.4, "transport": "tcp"}),
    "lease": Edit(lambda _: {"ttl_seconds": 3600, "max_frames": 100000}, {"ttl_seconds": 3600}),
    "several_at_once": Edit(
        lambda camera: {
            "rtsp_url": f"rtsp://127.0.0.1:{camera.port}/demo",
            "interval_seconds": INTERVAL,
            "sampling_mode": "auto",
            "models": ["animals"],
        },
        {"interval_seconds": INTERVAL, "sampling_mode": "auto", "models": ["animals"]},
        connects=1,
    ),
}


def patch(herd: Herd, fields: dict[str, Any], expect: int = 200) -> dict[str, Any]:
    """Changes the stream `demo`."""
    answer = herd.request("PATCH", "/api/v1/streams/demo", fields)
    assert answer.status == expect, answer.text
    return answer.json


def start(herd: Herd, camera: Camera, name: str, **fields: Any) -> None:  # noqa: ANN401
    """Starts a stream by REST."""
    body = {"rtsp_url": camera.url(name), "interval_seconds": INTERVAL, **fields}
    answer = herd.request("POST", "/api/v1/streams", body)
    assert answer.status == 201, answer.text


def check_others(herd: Herd, before: dict[str, dict[str, Any]]) -> None:
    """They went on as if nothing had been changed."""
    for name, old in before.items():
        new = herd.wait_captured(name, old["accounting"]["captured"] + 3)
        assert new["state"] == "running"
        assert new["session_id"] == old["session_id"]
        assert (new["connects"], new["disconnects"]) == (1, 0), name
        assert new["accounting"]["missed"] == old["accounting"]["missed"], name
        assert new["state_since"] == old["state_since"]


def test_each_edit_works_in_the_running_session_and_disturbs_no_other(
    herd: Herd, camera: Camera, locked: Camera
) -> None:
    start(herd, locked, "demo")
    for name in OTHERS:
        start(herd, camera, name)
    for name in ("demo", *OTHERS):
        herd.wait_captured(name, 3)
    for name, edit in EDITS.items():
        before = {other: herd.stream(other) for other in OTHERS}
        old = herd.stream("demo")
        shown = patch(herd, edit.fields(locked))
        assert shown["session_id"] == old["session_id"], name
        new = herd.wait_stream(
            "demo",
            lambda s, e=edit, o=old: (
                all(s[key] == value for key, value in e.shown.items())
                and s["connects"] == o["connects"] + e.connects
                and s["state"] == "running"
            ),
            20,
            f"{name}: {edit.shown}",
        )
        new = herd.wait_captured("demo", new["accounting"]["captured"] + 3)
        assert new["connects"] == old["connects"] + edit.connects, name
        assert new["disconnects"] == old["disconnects"] + edit.connects, name
        assert (new["session_id"], new["stream_id"]) == (old["session_id"], old["stream_id"])
        check_others(herd, before)
    assert patch(herd, {"interval_seconds": 0.01}, 400)["error"]["status"] == "INVALID_ARGUMENT"
    assert patch(herd, {"models": ["nobody"]}, 400)["error"]["status"] == "INVALID_ARGUMENT"
    assert herd.stream("demo")["interval_seconds"] == INTERVAL


def test_a_password_that_was_changed_at_the_camera_is_changed_here(
    herd: Herd, camera: Camera
) -> None:
    with Camera(f"demo,video={VTEST},gop=0.5,seconds=10", auth="digest", password="old") as own:
        start(herd, own, "demo")
        start(herd, camera, "second")
        session = herd.wait_captured("demo", 3)["session_id"]
        herd.wait_captured("second", 3)
        before = {"second": herd.stream("second")}
        own.kill()
        own.password = "n3w-s3cret"
        own.start()
        herd.wait_state("demo", "auth_failed")
        shown = patch(herd, {"password": "n3w-s3cret"})
        assert "s3cret" not in str(shown)
        stream = herd.wait_state("demo", "running")
        herd.wait_captured("demo", stream["accounting"]["captured"] + 3)
        assert herd.stream("demo")["session_id"] == session
        # A wrong one is shown as such, and costs the session nothing either.
        patch(herd, {"user": "nobody", "password": "wrong-s3cret"})
        herd.wait_state("demo", "auth_failed")
        patch(herd, {"user": own.user, "password": "n3w-s3cret"})
        stream = herd.wait_state("demo", "running")
        herd.wait_captured("demo", stream["accounting"]["captured"] + 3)
        check_others(herd, before)
        assert "s3cret" not in herd.log("capture")


def test_batches_that_wait_keep_the_models_they_were_sealed_for(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    start(herd, camera, "demo", models=["animals"], batch_size=5)
    before = herd.wait_records(1)
    # From now on they wait.
    herd.terminate("aggregator")
    count = herd.stream("demo")["accounting"]["captured"]
    herd.wait_captured("demo", count + 8)
    changed = patch(herd, {"models": ["people"]})
    assert changed["batches_pending"] >= 2
    # What was taken for the old model is sealed, the rest as a shorter batch.
    first = changed["accounting"]["captured"]
    herd.wait_captured("demo", first + 11)
    herd.restart("aggregator")
    wait_for(
        lambda: [x for x in herd.lines() if "people" in x["meta"]["models"]],
        60,
        lambda: f"a record of people: {[list(x['meta']['models']) for x in herd.lines()]}",
    )
    herd.stop_stream("demo")
    stream = herd.wait_state("demo", "stopped", 60)
    accounting = stream["accounting"]
    assert accounting["recorded"] == accounting["captured"]
    lines = sorted(herd.lines(), key=lambda x: x["meta"]["batch_seq"])
    assert len(lines) > len(before)
    split = max(
        frame["frame_seq"]
        for line in lines
        if "animals" in line["meta"]["models"]
        for frame in line["meta"]["frames"]
    )
    assert first <= split
    for line in lines:
        old = [frame["frame_seq"] <= split for frame in line["meta"]["frames"]]
        assert all(old) or not any(old)
        assert list(line["meta"]["models"]) == ["animals" if old[0] else "people"]
    assert stream["session_id"] == lines[0]["meta"]["session_id"]
