# SPDX-License-Identifier: Apache-2.0
"""deploy/quickstart.sh, as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from harness import BUILD, ROOT, VTEST, Camera

SCRIPT = ROOT / "deploy" / "quickstart.sh"
PORTS = (5000, 8000, 8554, 50051, 50052, 50053, 50061, 50062, 50063, 50064)


def busy_ports() -> list[int]:
    """Those of its ports that somebody has."""
    busy = []
    for port in PORTS:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                busy.append(port)
    return busy


@pytest.fixture
def ports_are_free() -> None:
    """Skips where its ports are in use."""
    if busy_ports():
        pytest.skip(f"ports {busy_ports()} are in use")
    if BUILD != ROOT / "build" / "release":
        pytest.skip(f"quickstart builds build/release, this is {BUILD}")


def processes(data: Path) -> list[str]:
    """Command lines that hold its data folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in line and "pytest" not in line:
            found.append(line)
    return found


def run(*arguments: str, stdin: str = "", timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    return subprocess.run(
        [str(SCRIPT), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_help_says_what_it_takes() -> None:
    out = run("--help")
    assert out.returncode == 0
    for option in ("--check", "--camera", "--data"):
        assert option in out.stdout


@pytest.mark.parametrize(
    "arguments", [["--bogus"], ["--camera"], ["--camera", "http://127.0.0.1/x"]]
)
def test_a_wrong_argument_ends_with_the_reason(arguments: list[str]) -> None:
    out = run(*arguments)
    assert out.returncode in (1, 2)
    assert "quickstart:" in out.stderr


def test_a_url_with_credentials_is_refused_as_an_argument() -> None:
    out = run("--camera", "rtsp://someone:secret8812@127.0.0.1/demo")
    assert out.returncode != 0
    assert "--camera -" in out.stderr
    assert "secret8812" not in out.stdout + out.stderr


def test_check_ends_after_the_first_record_and_grid(ports_are_free: None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    out = run("--check", "--data", str(data), "--model", "people")
    assert out.returncode == 0, out.stdout + out.stderr
    line = json.loads((data / "predictions.json").read_text().splitlines()[0])
    assert line["basic"]["camID"] == "CAM-001"
    assert any(d["class"] == "person" for d in line["people"]["detections"])
    grids = list((data / "images").glob("*.jpg"))
    assert len(grids) == 1
    assert str(grids[0]) in out.stdout
    assert str(data / "predictions.json") in out.stdout
    assert "http://localhost:5000/" in out.stdout
    assert '"frame_base64": "/9j/' in out.stdout
    assert max(map(len, out.stdout.splitlines())) < 200
    assert processes(data) == []
    assert busy_ports() == []

    # The second run reaches `running` in under 15 s, and Ctrl-C ends it all.
    began = time.monotonic()
    with subprocess.Popen(
        [str(SCRIPT), "--data", str(data), "--model", "people"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as second:
        text = ""
        while "camera is running" not in text:
            line = second.stdout.readline()
            assert line, text
            text += line
        elapsed = time.monotonic() - began
        print(f"the second run reached running after {elapsed:.1f} s")
        assert elapsed < 15, text
        # A third one says clearly that this one runs.
        third = run("--data", str(data))
        assert third.returncode != 0
        assert "another quickstart" in third.stderr
        os.killpg(second.pid, signal.SIGINT)
        text += second.stdout.read()
        assert second.wait(30) == 0, text
    assert "stream CAM-001 is stopped" in text
    with contextlib.closing(sqlite3.connect(data / "capture.db")) as db:
        assert db.execute("SELECT sum(desired_running) FROM streams").fetchone() == (0,)
    assert processes(data) == []
    assert busy_ports() == []


def test_a_busy_port_is_named(ports_are_free: None, tmp_path: Path) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 5000))
        s.listen()
        out = run("--check", "--data", str(tmp_path / "data"))
    assert out.returncode != 0
    assert re.search(r"\b5000\b", out.stderr)


def test_ones_own_camera_is_taken_from_standard_input_and_its_password_not_shown(
    ports_are_free: None, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    password = "canary77aa12"
    mount = f"own,video={VTEST},gop=2"
    with Camera(mount, auth="digest", password=password) as camera:
        command = [str(SCRIPT), "--check", "--camera", "-", "--data", str(data)]
        with subprocess.Popen(
            [*command, "--model", "people"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            process.stdin.write(camera.url("own") + "\n")
            process.stdin.close()
            lines = []
            for line in process.stdout:
                lines.append(line)
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        assert password.encode() not in path.read_bytes(), path
                    except OSError:
                        continue
        text = "".join(lines)
        assert process.returncode == 0, text
    assert password not in text
    for path in data.rglob("*"):
        if path.is_file() and not path.name.startswith("capture.db"):
            assert password.encode() not in path.read_bytes(), path


def test_a_camera_that_does_not_answer_ends_a_check_with_the_reason(
    ports_are_free: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKSTART_CAMERA_SECONDS", "5")
    url = "rtsp://127.0.0.1:9/nothing"
    out = run("--check", "--camera", url, "--data", str(tmp_path / "d"), "--model", "people")
    assert out.returncode != 0
    assert "refused" in out.stderr.lower(), out.stderr
    assert processes(tmp_path / "d") == []
