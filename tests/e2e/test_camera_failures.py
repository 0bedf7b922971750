# SPDX-License-Identifier: Apache-2.0
"""Cameras that refuse, are silent, stall or lie: state, reason, and recovery."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from pathlib import Path

from conftest import HerdMaker
from harness import VTEST, Camera, Herd, free_port
from misbehave import Misbehaving, Options

MOUNT = f"demo,video={VTEST},gop=2"

# What is wrong -> state, and what the reason must speak of.
FAULTS = {
    "refuse": (Options("refuse"), "reconnecting", "refused"),
    "silent": (Options("silent"), "reconnecting", "time|answer|silent"),
    "close": (Options("close"), "reconnecting", "clos|end|RTSP"),
    "garbage": (Options("garbage"), "reconnecting", "RTSP|answer|invalid|time"),
    "redirect-loop": (Options("redirect-loop"), "reconnecting", "redirect|time|clos|answer"),
    "endless-sdp": (Options("endless-sdp"), "reconnecting", "time|large|SDP|answer"),
    "answer-401": (Options("status", code=401), "auth_failed", "401|credential|password"),
    "answer-403": (Options("status", code=403), "auth_failed", "403|forbid|credential"),
    "answer-404": (Options("status", code=404), "not_found", "404|path|not found"),
    "answer-453": (Options("status", code=453), "refused", "453|session|bandwidth"),
    "setup-453": (Options("status", code=453, method="SETUP"), "refused", "453|session|bandwidth"),
    "answer-503": (Options("status", code=503), "refused", "503|session|unavailable"),
    "vp8-only": (Options("sdp", encoding="VP8"), "unsupported_codec", "VP8|codec"),
}


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def test_each_fault_shows_its_state_and_reason_and_keeps_trying(herd: Herd) -> None:
    with ExitStack() as stack:
        servers = {}
        for name, (options, _, _) in FAULTS.items():
            servers[name] = stack.enter_context(Misbehaving(options))
            herd.start_stream(servers[name].url(), camera_id=name)
        for name, (_, state, speaks_of) in FAULTS.items():
            stream = herd.wait_stream(
                name,
                lambda s, state=state: s["state"] == state and s["state_reason"],
                30,
                f"{name}: {state}",
            )
            reason = stream["state_reason"]
            assert re.search(speaks_of, reason, re.IGNORECASE), f"{name}: {reason}"
            assert stream["desired_running"] is True
            assert stream["accounting"]["captured"] == 0
        for name, server in servers.items():
            if name != "refuse":
                count = server.connections
                herd.wait_stream(
                    name, lambda _, s=server, n=count: s.connections > n, 30, f"{name} tries again"
                )
        # An answer of 2 GB was not read into memory.
        assert resident_bytes(herd.services["capture"].process.pid) < 1 << 30


# Condition -> ffmpeg filter that makes it of a good camera's pictures.
CONDITIONS = {
    "good": "",
    "too_dark": "filter=lutyuv=y=16+val*0.03",
    "overexposed": "filter=lutyuv=y=clip(val*4\\,0\\,235):u=128:v=128",
    "covered": "filter=lutyuv=y=100+val*0.02:u=128:v=128",
    "blurred": "filter=gblur=sigma=9",
    # Each picture by itself, so that equal ones are equal.
    "frozen": "codec=mjpeg,filter=loop=loop=250:size=1",
}


def test_what_the_pictures_look_like_is_told(make_herd: HerdMaker) -> None:
    herd = make_herd(CAPTURE_INTERVAL_SECONDS="0.5", CAPTURE_CONDITION_FROZEN_SAMPLES="6")
    mounts = [
        ",".join(filter(None, [name, f"video={VTEST}", "gop=0.5", "seconds=10", effect]))
        for name, effect in CONDITIONS.items()
    ]
    with Camera(*mounts) as camera:
        for name in CONDITIONS:
            herd.start_stream(camera.url(name), camera_id=name, interval_seconds=0.5)
        for name in CONDITIONS:
            stream = herd.wait_stream(
                name, lambda s, name=name: s["condition"] == name, 40, f"condition {name}"
            )
            assert stream["condition_since"]
            assert stream["state"] == "running"
        metrics = herd.metrics("capture")
        for name in CONDITIONS:
            assert f'camherd_capture_cameras{{condition="{name}"}} 1' in metrics
        assert "camera condition" in herd.log("capture")


def test_a_camera_without_video_is_no_video(herd: Herd, camera: Camera) -> None:
    herd.start_stream(camera.url("audio"))
    stream = herd.wait_state("audio", "no_video")
    assert "video" in stream["state_reason"]


def test_an_unknown_host_is_shown_and_tried_again(herd: Herd) -> None:
    herd.start_stream("rtsp://nosuch.invalid/demo", camera_id="nosuch")
    stream = herd.wait_state("nosuch", "reconnecting")
    assert re.search("nosuch.invalid|host|resolve", stream["state_reason"])
    assert stream["next_retry_at"]


def test_a_camera_that_comes_up_later_is_captured(herd: Herd) -> None:
    port = free_port()
    herd.start_stream(f"rtsp://127.0.0.1:{port}/demo", interval=0.5)
    herd.wait_state("demo", "reconnecting")
    with Camera(MOUNT, port=port):
        herd.wait_captured("demo", 3)
        assert herd.stream("demo")["state"] == "running"


def test_a_wrong_password_is_auth_failed_until_it_is_right(herd: Herd) -> None:
    with Camera(MOUNT, auth="digest", password="right") as camera:
        herd.start_stream(camera.url("demo", user="admin", password="wrong"), interval=0.5)
        stream = herd.wait_state("demo", "auth_failed")
        assert stream["next_retry_at"]
        answer = herd.request(
            "PATCH", "/api/v1/streams/demo", {"user": "admin", "password": "right"}
        )
        assert answer.status == 200, answer.text
        herd.wait_captured("demo", 3)


def test_an_unplugged_camera_is_seen_and_comes_back(herd: Herd) -> None:
    with Camera(MOUNT) as camera:
        herd.start_stream(camera.url("demo"), interval=0.5)
        herd.wait_captured("demo", 3)
        camera.signal(signal.SIGSTOP)
        stream = herd.wait_state("demo", "reconnecting", 15)
        assert stream["state_reason"]
        camera.signal(signal.SIGCONT)
        captured = stream["accounting"]["captured"]
        herd.wait_captured("demo", captured + 3)
        stream = herd.stream("demo")
        assert stream["disconnects"] >= 1
        assert sum(stream["accounting"]["missed"].values()) >= 1


def test_a_rebooting_camera_comes_back_in_the_same_session(herd: Herd) -> None:
    with Camera(MOUNT) as camera:
        first = herd.start_stream(camera.url("demo"), interval=0.5)
        herd.wait_captured("demo", 3)
        camera.kill()
        stream = herd.wait_state("demo", "reconnecting", 15)
        camera.start()
        herd.wait_captured("demo", stream["accounting"]["captured"] + 3)
        assert herd.stream("demo")["session_id"] == first["session_id"]


def test_a_connection_that_stalls_or_is_cut_is_made_anew(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    for mode in ("stall", "cut"):
        options = Options(mode, target=str(camera.port), seconds=3.0)
        with Misbehaving(options) as proxy:
            herd.start_stream(proxy.url("demo"), camera_id=mode, interval=0.5)
            herd.wait_stream(mode, lambda s: s["disconnects"] >= 1, 20, f"{mode}: seen")
            stream = herd.wait_stream(mode, lambda s: s["connects"] >= 2, 20, f"{mode}: again")
            herd.wait_captured(mode, stream["accounting"]["captured"] + 2)
            herd.stop_stream(mode)


def test_one_dead_camera_does_not_touch_the_others(herd: Herd, camera: Camera) -> None:
    with Misbehaving(Options("silent")) as silent:
        herd.start_stream(silent.url(), camera_id="dead")
        herd.start_stream(camera.url("demo"), interval=0.5)
        stream = herd.wait_captured("demo", 8)
        assert (stream["connects"], stream["disconnects"]) == (1, 0)
        # And stopping a stream that hangs in its connect is quick.
        answer = herd.stop_stream("dead")
        assert answer.status == 409
        assert "0 of 9" in answer.text
