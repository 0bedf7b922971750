# SPDX-License-Identifier: Apache-2.0
"""Cameras that refuse, are silent, stall or lie: state, reason, and recovery."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, free_port, wait_for
from misbehave import Misbehaving, Options
from records import decode

MOUNT = f"demo,video={VTEST},gop=2"

# What is wrong -> state, and what the reason must speak of.
FAULTS = {
    "refuse": (Options("refuse"), "reconnecting", "refused"),
    "unreachable": (
        Options("unreachable"),
        "reconnecting",
        "did not answer within|nothing answered",
    ),
    "silent": (Options("silent"), "reconnecting", "took the connection, but did not answer"),
    "close": (Options("close"), "reconnecting", "closed the connection"),
    "reset": (Options("reset"), "reconnecting", "closed the connection"),
    "garbage": (Options("garbage"), "reconnecting", "RTSP|answer|invalid|time"),
    "redirect-loop": (Options("redirect-loop"), "reconnecting", "redirect|time|clos|answer"),
    "endless-sdp": (Options("endless-sdp"), "reconnecting", "time|large|SDP|answer"),
    "huge-sdp": (Options("huge-sdp"), "reconnecting", "more than 4 MiB"),
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


def moment(text: str) -> float:
    """Seconds since 1970 of a time as REST writes it."""
    return datetime.fromisoformat(text).timestamp()


def wait_failed(herd: Herd, name: str, state: str, speaks_of: str) -> dict[str, Any]:
    """Waits until a stream shows what is wrong with its camera: state, reason,
    since when, and when it is tried again; returns it."""
    stream = herd.wait_stream(
        name,
        lambda s: s["state"] == state and s["state_reason"] and s["next_retry_at"],
        30,
        f"{name}: {state}",
    )
    reason = stream["state_reason"]
    assert re.search(speaks_of, reason, re.IGNORECASE), f"{name}: {reason}"
    assert moment(stream["started_at"]) <= moment(stream["state_since"])
    assert moment(stream["state_since"]) <= moment(stream["next_retry_at"])
    assert stream["desired_running"] is True
    return stream


def wait_recovered(herd: Herd, before: dict[str, Any], frames: int = 2) -> dict[str, Any]:
    """Waits until a stream that had failed takes pictures again, as if nothing
    had been, in the same session; returns it."""
    captured = before["accounting"]["captured"] + frames
    stream = herd.wait_captured(before["process_name"], captured, 40)
    assert stream["state"] == "running", stream
    assert stream["state_reason"] == ""
    assert not stream["next_retry_at"]
    assert stream["session_id"] == before["session_id"]
    return stream


def test_each_fault_shows_its_state_and_reason_until_it_is_gone(herd: Herd, camera: Camera) -> None:
    good = Options("pass", target=str(camera.port))
    with ExitStack() as stack:
        servers = {}
        for name, (options, _, _) in FAULTS.items():
            servers[name] = stack.enter_context(Misbehaving(options))
            herd.start_stream(servers[name].url("third"), camera_id=name, interval=0.5)
        failed = {}
        for name, (_, state, speaks_of) in FAULTS.items():
            failed[name] = wait_failed(herd, name, state, speaks_of)
            assert failed[name]["accounting"]["captured"] == 0
        states = [state for _, state, _ in FAULTS.values()]
        metrics = herd.metrics("capture")
        for state in states:
            assert f'camherd_capture_streams{{state="{state}"}} {states.count(state)}' in metrics
        for name, server in servers.items():
            if name not in ("refuse", "unreachable"):
                count = server.connections
                herd.wait_stream(
                    name, lambda _, s=server, n=count: s.connections > n, 30, f"{name} tries again"
                )
        # An answer of 2 GB was not read into memory.
        assert resident_bytes(herd.services["capture"].process.pid) < 1 << 30
        for server in servers.values():
            server.become(good)
        for name in FAULTS:
            assert wait_recovered(herd, failed[name])["connects"] == 1


# What happens to a connection that was well -> what the reason must speak of.
LOSSES = {
    "eof": (Options("close"), "ended|closed|lost"),
    "reset": (Options("reset"), "lost|closed|ended"),
    "half-open": (Options("silent"), "no picture for|answer"),
    "unplugged": (Options("unreachable"), "no picture for|answer"),
}


def test_a_connection_that_was_well_is_lost_and_made_anew(herd: Herd, camera: Camera) -> None:
    good = Options("pass", target=str(camera.port))
    with ExitStack() as stack:
        servers = {}
        for name in LOSSES:
            servers[name] = stack.enter_context(Misbehaving(good))
            herd.start_stream(servers[name].url("third"), camera_id=name, interval=0.5)
        for name, (options, _) in LOSSES.items():
            herd.wait_captured(name, 3)
            servers[name].become(options)
        lost = {}
        for name, (_, speaks_of) in LOSSES.items():
            lost[name] = wait_failed(herd, name, "reconnecting", speaks_of)
            assert lost[name]["disconnects"] == 1
        for name, server in servers.items():
            server.become(good)
            assert wait_recovered(herd, lost[name])["connects"] == 2


def test_a_camera_that_numbers_its_packets_anew_is_connected_anew_at_once(
    herd: Herd, camera: Camera
) -> None:
    with Misbehaving(Options("renumber", target=str(camera.port), seconds=3)) as server:
        herd.start_stream(server.url("third"), camera_id="anew", interval=0.5)
        stream = herd.wait_stream("anew", lambda s: s["connects"] >= 2, 20, "connected anew")
        assert "numbers its packets anew" in herd.log("capture")
        herd.wait_captured("anew", stream["accounting"]["captured"] + 2)


def test_a_redirect_is_followed(herd: Herd, camera: Camera) -> None:
    with Misbehaving(Options("redirect", target=camera.url("third"))) as server:
        herd.start_stream(server.url(), camera_id="moved", interval=0.5)
        herd.wait_captured("moved", 2)


# A GOP longer than the interval; no keyframe for a while at the join; time
# stamps that jump; another size on the way. None of them costs the connection,
# and hardly one a sample: stream -> mount, mode, what goes wrong, missed at most.
ODDITIES = {
    "long-gop": ("gop48", "auto", Options("pass"), 6),
    "headless": ("third", "exact", Options("headless", seconds=3), 8),
    "headless-keyframe": ("third", "keyframe", Options("headless", seconds=3), 8),
    "jumps": ("third", "exact", Options("jump", seconds=1), 2),
    "jumps-keyframe": ("third", "keyframe", Options("jump", seconds=1), 3),
    "resized": ("sizes", "exact", Options("pass"), 2),
}


def test_odd_cameras_are_sampled_all_the_same(make_herd: HerdMaker) -> None:
    herd = make_herd()
    mounts = (
        f"gop48,video={VTEST},fps=25/2,gop=4.8,seconds=48",
        f"third,video={VTEST},gop=1,seconds=20,size=320x240",
        f"sizes,video={VTEST},gop=1,seconds=3,size=640x480,then=320x240",
    )
    with Camera(*mounts) as camera, ExitStack() as stack:
        for name, (mount, mode, options, _) in ODDITIES.items():
            options.target = str(camera.port)
            server = stack.enter_context(Misbehaving(options))
            body = {
                "rtsp_url": server.url(mount),
                "camera_id": name,
                "interval_seconds": 1,
                "sampling_mode": mode,
            }
            answer = herd.request("POST", "/api/v1/streams", body)
            assert answer.status == 201, answer.text
        for name in ("headless", "headless-keyframe"):
            stream = herd.wait_stream(
                name, lambda s: s["accounting"]["missed"].get("no_keyframe"), 10, "no keyframe"
            )
            assert (stream["state"], stream["accounting"]["captured"]) == ("running", 0)

        # Each size twice, and pictures that are as large as it says.
        sizes: list[str] = []

        def seen() -> bool:
            stream = herd.stream("resized")
            size = f"{stream['width']}x{stream['height']}"
            if stream["width"] and size not in sizes[-1:]:
                sizes.append(size)
            return len(sizes) >= 4

        wait_for(seen, 30, lambda: f"sizes {sizes}", every=0.2)
        assert sorted(set(sizes)) == ["320x240", "640x480"]
        shape = decode(herd.get("/api/v1/streams/resized/latest.jpg").body).shape
        assert shape in ((240, 320, 3), (480, 640, 3))

        for name, (_, _, _, most) in ODDITIES.items():
            stream = herd.wait_captured(name, 12)
            text = f"{name}: {stream}"
            assert (stream["state"], stream["connects"]) == ("running", 1), text
            assert sum(stream["accounting"]["missed"].values()) <= most, text
            assert stream["condition"] == "good", text
        stream = herd.stream("long-gop")
        assert stream["effective_mode"] == "exact"
        assert stream["gop_seconds"] == pytest.approx(4.8, abs=0.5)


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


def test_an_unknown_host_is_shown_until_it_is_corrected(herd: Herd, camera: Camera) -> None:
    herd.start_stream("rtsp://nosuch.invalid/demo", camera_id="nosuch", interval=0.5)
    stream = wait_failed(herd, "nosuch", "reconnecting", "nosuch.invalid|host|resolve")
    body = {"rtsp_url": camera.url("third")}
    answer = herd.request("PATCH", "/api/v1/streams/nosuch", body)
    assert answer.status == 200, answer.text
    wait_recovered(herd, stream)


def test_a_camera_that_lacks_the_path_or_shows_nothing_is_taken_when_it_does(herd: Herd) -> None:
    good = f"video={VTEST},gop=1,seconds=20,size=320x240"
    with Camera("sound,codec=audio") as camera:
        herd.start_stream(camera.url("sound"), interval=0.5)
        herd.start_stream(camera.url("later"), interval=0.5)
        sound = wait_failed(herd, "sound", "no_video", "video")
        later = wait_failed(herd, "later", "not_found", "404|path")
        port = camera.port
    with Camera(f"sound,{good}", f"later,{good}", port=port):
        wait_recovered(herd, sound)
        wait_recovered(herd, later)


def test_a_camera_that_comes_up_later_is_captured(herd: Herd) -> None:
    port = free_port()
    herd.start_stream(f"rtsp://127.0.0.1:{port}/demo", interval=0.5)
    herd.wait_state("demo", "reconnecting")
    with Camera(MOUNT, port=port):
        herd.wait_captured("demo", 3)
        assert herd.stream("demo")["state"] == "running"


@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_a_wrong_password_is_auth_failed_until_it_is_right(herd: Herd, auth: str) -> None:
    right = 'r@i:g/h%74 #?&="+'
    with Camera(MOUNT, auth=auth, password=right) as camera:
        herd.start_stream(camera.url("demo", user="admin", password="wrong"), interval=0.5)
        stream = wait_failed(herd, "demo", "auth_failed", "401|password")
        answer = herd.request("PATCH", "/api/v1/streams/demo", {"user": "admin", "password": right})
        assert answer.status == 200, answer.text
        wait_recovered(herd, stream)


def test_an_unplugged_camera_is_seen_and_comes_back(herd: Herd) -> None:
    with Camera(MOUNT) as camera:
        herd.start_stream(camera.url("demo"), interval=0.5)
        herd.wait_captured("demo", 3)
        camera.signal(signal.SIGSTOP)
        stream = wait_failed(herd, "demo", "reconnecting", "no picture for")
        camera.signal(signal.SIGCONT)
        assert wait_recovered(herd, stream)["disconnects"] >= 1


def test_a_rebooting_camera_comes_back_in_the_same_session(herd: Herd) -> None:
    with Camera(MOUNT) as camera:
        herd.start_stream(camera.url("demo"), interval=0.5)
        herd.wait_captured("demo", 3)
        camera.kill()
        stream = wait_failed(herd, "demo", "reconnecting", "ended|closed|lost|refused")
        camera.start()
        wait_recovered(herd, stream)


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
