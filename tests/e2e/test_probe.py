# SPDX-License-Identifier: Apache-2.0
"""A camera tried step by step: by REST, by gRPC, on the command line, on the page."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from browser import browser
from conftest import HerdMaker
from harness import BUILD, FAST, ROOT, SERVICES, VTEST, Camera, Herd, import_protos, wait_for
from misbehave import Misbehaving, Options

STEPS = ["dns", "tcp", "rtsp", "auth", "codec", "keyframe", "gop", "decode", "luma"]
USER = "canaryuser4e1b"
PASSWORD = "canarypass77c2"
CANARIES = [USER, PASSWORD, "canarytoken"]

MOUNTS = (
    f"good,video={VTEST},gop=1,seconds=20,size=640x480",
    f"h265,codec=h265,video={VTEST},seconds=10,size=640x480",
    f"mjpeg,codec=mjpeg,video={VTEST},seconds=6,size=640x480",
    f"long,video={VTEST},gop=60,size=320x240",
    f"dark,video={VTEST},gop=1,seconds=20,size=320x240,filter=lutyuv=y=16+val*0.03",
    "audio,codec=audio",
)


@pytest.fixture(scope="module")
def locked() -> Iterator[Camera]:
    """A camera that asks for a login."""
    with Camera(*MOUNTS, auth="digest", user=USER, password=PASSWORD) as camera:
        yield camera


def by_rest(herd: Herd, body: dict[str, Any] | str) -> list[dict[str, Any]]:
    """The steps of POST /api/v1/probe."""
    answer = herd.request("POST", "/api/v1/probe", body)
    assert answer.status == 200, answer.text
    assert answer.json["ok"] == all(step["ok"] for step in answer.json["steps"])
    assert no_canary(answer.body + repr(answer.headers).encode()) == []
    return answer.json["steps"]


def by_grpc(herd: Herd, **fields: str) -> list[dict[str, Any]]:
    """The steps of ProbeSource, as REST writes them."""
    import_protos()
    from camherd.v1 import capture_service_pb2 as pb

    with herd.stub("capture") as capture:
        answers = list(capture.ProbeSource(pb.ProbeSourceRequest(**fields), timeout=30))
    assert no_canary(b"".join(a.SerializeToString() for a in answers)) == []
    return [
        {
            "step": pb.ProbeStep.Name(a.step).removeprefix("PROBE_STEP_").lower(),
            "ok": a.ok,
            "detail": a.detail,
            "hint": a.hint,
            "elapsed_seconds": a.elapsed_seconds,
        }
        for a in answers
    ]


def command(
    text: str, *arguments: str, folder: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """camherd-capture --probe -, unless `arguments` say otherwise; its data
    folder does not exist."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CAMHERD_")}
    settings = {**{k: v for k, v in FAST.items() if k.startswith("CAPTURE_")}, **settings}
    environment |= {f"CAMHERD_{key}": value for key, value in settings.items()}
    data = folder / "nosuch"
    done = subprocess.run(
        [str(BUILD / "bin" / "camherd-capture")]
        + ["--config", str(ROOT / "deploy" / "config" / "camherd.yaml"), "--data-dir", str(data)]
        + list(arguments or ("--probe", "-")),
        input=text,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert not data.exists()
    assert no_canary((done.stdout + done.stderr).encode()) == []
    return done


def by_command(url: str, code: int, folder: Path, **settings: str) -> list[dict[str, Any]]:
    """The steps as the command line prints them."""
    done = command(url + "\n", folder=folder, **settings)
    assert done.returncode == code, done
    assert done.stderr == ""
    steps: list[dict[str, Any]] = []
    for line in done.stdout.splitlines():
        found = re.fullmatch(r"(\w+) +(ok|failed) +(\d+\.\d\d) s  (.+)", line)
        if found:
            steps.append({"step": found[1], "ok": found[2] == "ok", "detail": found[4], "hint": ""})
        else:
            assert line.startswith(" " * 10), line
            steps[-1]["hint"] = line.strip()
    return steps


def no_canary(text: bytes) -> list[str]:
    """The secrets in a text."""
    return [canary for canary in CANARIES if canary.encode() in text]


def assert_good(steps: list[dict[str, Any]], codec: str, size: str) -> None:
    """All steps, in their order, are well."""
    assert [step["step"] for step in steps] == STEPS, steps
    assert all(step["ok"] for step in steps), steps
    by_name = {step["step"]: step for step in steps}
    assert by_name["codec"]["detail"] == codec
    assert by_name["decode"]["detail"] == f"{size} pixels"
    assert by_name["luma"]["detail"].endswith(": good")
    assert by_name["gop"]["hint"] == ""


def test_a_good_camera_is_well_in_every_way_of_asking(
    module_herd: Herd, locked: Camera, tmp_path: Path
) -> None:
    url = locked.url("good")
    plain = locked.url("good", user="")
    for steps in (
        by_rest(module_herd, {"rtsp_url": url}),
        by_rest(module_herd, {"rtsp_url": plain, "user": USER, "password": PASSWORD}),
        by_rest(module_herd, urlencode({"rtsp_url": url, "transport": "tcp"})),
        by_grpc(module_herd, rtsp_url=url),
        by_command(url, 0, tmp_path),
    ):
        assert_good(steps, "H.264", "640 x 480")
        assert "asks for digest" in steps[2]["detail"]
        assert re.fullmatch(
            r"(0\.9|1\.[01])\d s between keyframes, 10 pictures", steps[6]["detail"]
        )
    assert module_herd.streams() == []


@pytest.mark.parametrize(("path", "codec"), [("h265", "H.265"), ("mjpeg", "MJPEG")])
def test_other_codecs_are_well(module_herd: Herd, locked: Camera, path: str, codec: str) -> None:
    assert_good(by_rest(module_herd, {"rtsp_url": locked.url(path)}), codec, "640 x 480")


def test_a_dark_picture_and_a_long_gop_are_hints_not_failures(
    make_herd: HerdMaker, locked: Camera
) -> None:
    herd = make_herd(CAPTURE_PROBE_PICTURES_SECONDS="3")
    dark = by_rest(herd, {"rtsp_url": locked.url("dark")})
    assert [step["ok"] for step in dark] == [True] * 9
    assert "too dark" in dark[-1]["detail"]
    assert dark[-1]["hint"]
    long = by_rest(herd, {"rtsp_url": locked.url("long")})
    assert [step["ok"] for step in long] == [True] * 9, long
    assert "longer than" in long[6]["detail"]
    assert "mode exact" in long[6]["hint"]


# What is wrong -> the step that fails, and what it speaks of.
FAULTS = {
    "refuse": (Options("refuse"), "tcp", "refused"),
    "silent": (Options("silent"), "rtsp", "did not answer"),
    "close": (Options("close"), "rtsp", "closed"),
    "garbage": (Options("garbage"), "rtsp", "no RTSP server"),
    "redirect-loop": (Options("redirect-loop"), "auth", "redirected"),
    "endless-sdp": (Options("endless-sdp"), "auth", "more than 4 MiB"),
    "answer-401": (Options("status", code=401), "auth", "401"),
    "answer-403": (Options("status", code=403), "auth", "403"),
    "answer-404": (Options("status", code=404), "auth", "404"),
    "setup-453": (Options("status", code=453, method="SETUP"), "auth", "453"),
    "vp8-only": (Options("sdp", encoding="VP8"), "codec", "vp8"),
    "no-picture": (Options("sdp", encoding="H264"), "keyframe", "picture|connection|ended"),
}


def assert_fails(steps: list[dict[str, Any]], step: str, speaks_of: str) -> None:
    """The last step failed for that reason, with a hint; the others did not."""
    assert [s["step"] for s in steps] == STEPS[: STEPS.index(step) + 1], steps
    assert [s["ok"] for s in steps] == [True] * (len(steps) - 1) + [False], steps
    assert re.search(speaks_of, steps[-1]["detail"]), steps[-1]
    assert steps[-1]["hint"]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_camera_is_told_by_its_step(
    module_herd: Herd, fault: str, tmp_path: Path
) -> None:
    options, step, speaks_of = FAULTS[fault]
    with Misbehaving(options) as camera:
        url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{camera.port}/cam?token=canarytoken"
        assert_fails(by_rest(module_herd, {"rtsp_url": url}), step, speaks_of)
        assert_fails(by_command(url, 1, tmp_path), step, speaks_of)


def test_wrong_logins_and_paths_of_a_real_camera_are_told(
    module_herd: Herd, locked: Camera, tmp_path: Path
) -> None:
    wrong = f"rtsp://{USER}:wrong@127.0.0.1:{locked.port}/good"
    cases = [
        (wrong, "auth", "refused the user name or password"),
        (locked.url("good", user=""), "auth", "wants a user name"),
        (locked.url("nosuch"), "auth", "404"),
        (locked.url("audio"), "codec", "no video"),
        ("rtsp://nosuch.invalid/a", "dns", "nosuch.invalid"),
        ("rtsp://169.254.169.254/a", "dns", "metadata"),
    ]
    for url, step, speaks_of in cases:
        assert_fails(by_grpc(module_herd, rtsp_url=url), step, speaks_of)
        assert_fails(by_command(url, 1, tmp_path), step, speaks_of)
    # The configuration's word on addresses is the command line's too.
    listen = {"GATEWAY_LISTEN": "0.0.0.0:5000", "GATEWAY_AUTH": "none"}
    refused = by_command(locked.url("good"), 1, tmp_path, **listen)
    assert_fails(refused, "dns", "loopback")


# With {} for the port of a camera that must not be called.
BAD_URLS = {
    "empty": "",
    "http": "http://127.0.0.1:{}/demo",
    "file": "file:///etc/passwd",
    "concat": "concat:rtsp://127.0.0.1:{}/a|rtsp://127.0.0.1:{}/b",
    "no_scheme": "127.0.0.1:{}/demo",
    "no_host": "rtsp:///demo",
    "port_0": "rtsp://127.0.0.1:0/demo",
    "port_too_large": "rtsp://127.0.0.1:70000/demo",
    "newline": "rtsp://127.0.0.1:{}/a\nb",
    "nul": "rtsp://127.0.0.1:{}/a\0b",
    "escape": "rtsp://127.0.0.1:{}/\x1b[31m",
    "space": "rtsp://127.0.0.1:{}/a b",
    "two_at_signs": "rtsp://a@b@127.0.0.1:{}/demo",
    "slash_in_password": "rtsp://" + USER + ":a/b@127.0.0.1:{}/demo",
    "fragment": "rtsp://127.0.0.1:{}/a#b",
    "bad_percent": "rtsp://127.0.0.1:{}/%zz",
    "too_long": "rtsp://127.0.0.1:{}/" + "x" * 3000,
    "bracket": "rtsp://[::1:{}/demo",
}


@pytest.mark.parametrize("case", BAD_URLS)
def test_a_bad_url_is_refused_before_anything_is_connected(
    module_herd: Herd, case: str, tmp_path: Path
) -> None:
    import_protos()
    from camherd.v1 import capture_service_pb2 as pb

    with Misbehaving(Options("silent")) as camera:
        url = BAD_URLS[case].replace("{}", str(camera.port))
        answer = module_herd.request("POST", "/api/v1/probe", {"rtsp_url": url})
        assert answer.status == 400, answer.text
        message = answer.json["error"]["message"]
        assert message.startswith("rtsp_url ")
        assert no_canary(answer.body) == []
        start = module_herd.request("POST", "/api/v1/streams", {"rtsp_url": url})
        assert start.json["error"] == answer.json["error"]
        with module_herd.stub("capture") as capture, pytest.raises(grpc.RpcError) as error:
            list(capture.ProbeSource(pb.ProbeSourceRequest(rtsp_url=url), timeout=10))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details() == message
        if case != "newline":  # There it is two lines.
            done = command(url + "\n", folder=tmp_path)
            assert done.returncode == 2
            assert done.stdout == ""
            assert done.stderr == f"camherd-capture: {message}\n"
        assert camera.connections == 0
    assert module_herd.streams() == []


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["rtsp_url"]),
        ({"rtsp_url": 5}, ["rtsp_url"]),
        ({"rtsp_url": None}, ["rtsp_url"]),
        ({"rtsp_url": "rtsp://127.0.0.1:9/a", "password": PASSWORD}, ["user"]),
        ({"rtsp_url": "rtsp://127.0.0.1:9/a", "user": "x" * 300}, ["user", "256"]),
        ({"rtsp_url": "rtsp://127.0.0.1:9/a", "transport": "pigeon"}, ["transport", "pigeon"]),
        ({"rtsp_url": "rtsp://127.0.0.1:9/a", "interval": 3}, ["interval"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_field_is_named(
    module_herd: Herd, fields: dict[str, Any], names: list[str]
) -> None:
    answer = module_herd.request("POST", "/api/v1/probe", fields)
    assert answer.status == 400, answer.text
    for name in names:
        assert name in answer.json["error"]["message"]
    assert no_canary(answer.body) == []


def test_the_command_line_takes_no_url_as_an_argument(tmp_path: Path) -> None:
    url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:9/a"
    for arguments in (("--probe", url), (f"--probe={url}",), ("--probe", "-", url)):
        done = command("", *arguments, folder=tmp_path)
        assert done.returncode == 2, done
        assert done.stdout == ""
    refused = command("", "--probe", url, folder=tmp_path)
    assert "standard input" in refused.stderr
    assert "127.0.0.1" not in refused.stderr
    assert command("", "--probe", folder=tmp_path).returncode == 2
    assert "--probe -" in command("", "--help", folder=tmp_path).stdout


def test_a_url_without_an_end_is_refused(tmp_path: Path) -> None:
    done = command("rtsp://127.0.0.1/" + "x" * 100_000, folder=tmp_path)
    assert done.returncode == 2
    assert "longer than" in done.stderr


def command_lines() -> str:
    """The arguments of all processes that can be seen."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_no_secret_is_in_a_log_or_a_command_line(
    make_herd: HerdMaker, locked: Camera, tmp_path: Path
) -> None:
    herd = make_herd(COMMON_LOG_LEVEL="debug")
    with ExitStack() as stack:
        silent = stack.enter_context(Misbehaving(Options("silent")))
        urls = [locked.url("good") + "?token=canarytoken"]
        for options in (Options("status", code=401), Options("close"), Options("redirect-loop")):
            camera = stack.enter_context(Misbehaving(options))
            urls.append(f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{camera.port}/a?token=canarytoken")
        for url in urls:
            by_rest(herd, {"rtsp_url": url})
            command(url + "\n", folder=tmp_path, COMMON_LOG_LEVEL="debug")
        # While the probes run.
        url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{silent.port}/a?token=canarytoken"
        threads = [
            threading.Thread(target=by_rest, args=[herd, {"rtsp_url": url}]),
            threading.Thread(target=command, args=[url + "\n"], kwargs={"folder": tmp_path}),
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: silent.connections == 2, 10, "two connections")
        lines = command_lines()
        assert "--probe" in lines
        # The test camera's own arguments name its user.
        lines = "\n".join(line for line in lines.splitlines() if "camera.py" not in line)
        assert no_canary(lines.encode()) == []
        for thread in threads:
            thread.join()
    for name in SERVICES:
        assert no_canary(herd.log(name).encode()) == [], name
        assert no_canary(herd.metrics(name).encode()) == [], name


def test_only_so_many_probes_run_at_once_and_a_caller_who_goes_makes_room(
    make_herd: HerdMaker,
) -> None:
    herd = make_herd(CAPTURE_MAX_PROBES="1", CAPTURE_CONNECT_TIMEOUT_SECONDS="10")
    import_protos()
    from camherd.v1 import capture_service_pb2 as pb

    with Misbehaving(Options("silent")) as silent, herd.stub("capture") as capture:
        call = capture.ProbeSource(pb.ProbeSourceRequest(rtsp_url=silent.url()), timeout=60)
        assert next(call).step == pb.PROBE_STEP_DNS
        wait_for(lambda: silent.connections == 1, 5, "a connection")
        full = herd.request("POST", "/api/v1/probe", {"rtsp_url": silent.url()})
        assert full.status == 429, full.text
        assert int(full.headers["retry-after"]) > 0
        assert silent.connections == 1
        call.cancel()

        def takes_another() -> bool:
            answer = herd.request("POST", "/api/v1/probe", {"rtsp_url": "rtsp://nosuch.invalid/a"})
            return answer.status == 200

        begin = time.monotonic()
        wait_for(takes_another, 5, "room for a probe")
        # It did not wait for the first one's deadline.
        assert time.monotonic() - begin < 4


def test_a_probe_does_not_hold_up_the_services_end(make_herd: HerdMaker) -> None:
    herd = make_herd(CAPTURE_CONNECT_TIMEOUT_SECONDS="10")
    import_protos()
    from camherd.v1 import capture_service_pb2 as pb

    with Misbehaving(Options("silent")) as silent, herd.stub("capture") as capture:
        call = capture.ProbeSource(pb.ProbeSourceRequest(rtsp_url=silent.url()), timeout=60)
        assert next(call).step == pb.PROBE_STEP_DNS
        # Exits with 0 within 10 s.
        herd.terminate("capture")
        with pytest.raises(grpc.RpcError):
            list(call)
    herd.restart("capture")


def test_the_page_tests_a_camera(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd()
    with browser() as chrome:
        page = chrome.open(herd.url("/#/start"))
        page.locator("#rtsp_url").fill(camera.url("third"))
        page.get_by_role("button", name="Test", exact=True).click()
        page.get_by_text("The camera works.").wait_for(timeout=30_000)
        steps = page.locator("#probe-steps li")
        assert steps.count() == 9
        text = "\n".join(steps.all_inner_texts())
        for word in ("address", "login", "keyframe interval", "320 x 240 pixels", ": good"):
            assert word in text, text
