# SPDX-License-Identifier: Apache-2.0
"""The command line, with real services and a real camera."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from conftest import HerdMaker
from harness import BUILD, ROOT, TARGETS, VTEST, WITH_PARENT, Camera, Herd, free_port, wait_for

CAMHERD = str(BUILD / "bin" / "camherd")
USER = "canaryuser9d1c"
PASSWORD = "canarypass5e0f"


def environment(herd: Herd) -> dict[str, str]:
    """Where the services are, as their configuration would say."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("CAMHERD_")}
    for service in ("capture", "inference", "aggregator"):
        address = herd.services[service].addresses["grpc"][0]
        known[f"CAMHERD_GATEWAY_{service.upper()}"] = address
    return known


def camherd(
    herd: Herd, *arguments: str, expect: int = 0, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    ended = subprocess.run(
        [CAMHERD, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=environment(herd),
        cwd=herd.folder,
    )
    assert ended.returncode == expect, f"{arguments}: {ended}"
    assert PASSWORD not in ended.stdout + ended.stderr
    return ended


def as_json(herd: Herd, *arguments: str) -> Any:  # noqa: ANN401
    """What it prints with --json."""
    return json.loads(camherd(herd, *arguments, "--json").stdout)


class Watch:
    """`camherd watch --json`, or another that runs on, and what it printed."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str) -> None:
        self.out = folder / "running.out"
        self.err = folder / "running.err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*WITH_PARENT, CAMHERD, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                cwd=folder,
            )

    def wait(self, pattern: str, where: Path | None = None, timeout: float = 60) -> re.Match[str]:
        """Waits until it has printed that."""
        path = where or self.out
        return wait_for(
            lambda: re.search(pattern, path.read_text(), re.MULTILINE),
            timeout,
            lambda: f"{pattern} in {self.out.read_text()[-3000:]} {self.err.read_text()}",
        )

    def end(self, number: int = signal.SIGINT, timeout: float = 10) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout)


def test_streams_records_and_grids(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd()
    watch = Watch(herd.folder, environment(herd), "watch", "--json")
    url = camera.url("second")
    started = camherd(
        herd, "start", url, "-c", "CAM-1", "-m", "animals", "-i", "0.2", "--batch-size", "5"
    )
    assert started.stdout.startswith("started CAM-1 (stream ")
    again = camherd(herd, "start", url, "-c", "CAM-1", "-m", "animals", "-i", "0.2")
    assert again.stdout.startswith("runs already: CAM-1")
    watch.wait(r'"type":"stream".*"state":"running"')
    watch.wait(r'"type":"model".*"state":"ready"')
    watch.wait(r'"type":"record"')

    # Lists, for people and as REST has them.
    listed = camherd(herd, "ls").stdout.splitlines()
    assert listed[0].split()[:4] == ["NAME", "STATE", "FOR", "FRAME"]
    assert listed[1].split()[:2] == ["CAM-1", "running"]
    assert set(as_json(herd, "ls")["streams"][0]) == set(herd.streams()[0])
    assert as_json(herd, "ls", "--state", "stopped")["streams"] == []
    wait_for(lambda: len(as_json(herd, "records")["records"]) >= 2, 60, "two records")
    page = as_json(herd, "records", "-n", "1", "--camera", "CAM-1", "--class", "dog")
    older = as_json(
        herd, "records", "-n", "1", "--camera", "CAM-1", "--class", "dog",
        "--page-token", page["next_page_token"],
    )  # fmt: skip
    assert older["records"][0]["captured_at"] < page["records"][0]["captured_at"]
    table = camherd(herd, "records", "-n", "1").stdout
    assert re.search(r"CAM-1 +5 +stray_animal +5 dog$", table, re.MULTILINE), table
    assert "dog" in camherd(herd, "records", "1").stdout
    assert as_json(herd, "records", "--until", "1h")["records"] == []

    # Grid and export: files that are whole.
    herd.wait_captured("CAM-1", 9)
    grid = herd.folder / "grid.jpg"
    camherd(herd, "grid", "CAM-1", "-o", str(grid))
    assert grid.read_bytes().startswith(b"\xff\xd8\xff")
    assert len(camherd(herd, "grid", "CAM-1").stdout.splitlines()) == 10
    out = herd.folder / "records.csv"
    camherd(herd, "export", "-f", "csv", "-o", str(out))
    assert len(out.read_text().splitlines()) >= 3
    assert list(herd.folder.glob("records.csv.*")) == []
    lines = camherd(herd, "export").stdout.splitlines()
    assert json.loads(lines[0])["basic"]["camID"] == "CAM-1"

    # Interrupted while it waits, it leaves nothing behind.
    herd.signal("aggregator", signal.SIGSTOP)
    slow = subprocess.Popen(
        [*WITH_PARENT, CAMHERD, "export", "-o", str(out)],
        env=environment(herd),
        stdin=subprocess.DEVNULL,
    )
    wait_for(lambda: list(herd.folder.glob("records.csv.*")), 30, "the file begun")
    slow.send_signal(signal.SIGINT)
    assert slow.wait(30) == 130
    herd.signal("aggregator", signal.SIGCONT)
    assert list(herd.folder.glob("records.csv.*")) == []

    # A service that is restarted: the watch goes on, and leaves out no record.
    herd.terminate("aggregator")
    watch.wait("the aggregator service at .* cannot be reached", watch.err)
    out.write_text("old")
    gone = camherd(herd, "export", "-o", str(out), expect=3)
    assert gone.stderr.startswith("camherd: the aggregator service at ")
    assert out.read_text() == "old"
    herd.restart("aggregator")
    watch.wait("the aggregator service is back", watch.err)
    stopped = camherd(herd, "stop", "CAM-1").stdout
    assert re.match(r"stopped CAM-1: \d+ frames captured, .*; grid images/CAM-1_", stopped)
    watch.wait(r'"type":"stream".*"state":"stopped"')
    herd.wait_stream("CAM-1", lambda s: s["accounting"]["spooled"] == 0)
    count = len(herd.lines())

    def ids() -> list[int]:
        answers = map(json.loads, watch.out.read_text().splitlines())
        return [a["record"]["record_id"] for a in answers if a["type"] == "record"]

    wait_for(lambda: ids()[-1] == count, 60, lambda: f"{count}: {ids()}")
    assert ids() == list(range(ids()[0], count + 1))
    assert watch.end() == 130
    missing = camherd(herd, "stop", "nobody", expect=1)
    assert missing.stderr.startswith('camherd: stream "nobody" is not known')
    assert camherd(herd, "ls").stdout.count("\n") == 1
    assert "CAM-1" in camherd(herd, "ls", "--all").stdout


def test_apply_models_and_a_camera_with_a_login(make_herd: HerdMaker) -> None:
    herd = make_herd()
    password = herd.folder / "gate.password"
    password.touch(0o600)
    password.write_text(PASSWORD + "\n")
    mount = f"second,video={VTEST},gop=2,seconds=20,size=640x480"
    with Camera(mount, auth="digest", user=USER, password=PASSWORD) as camera:
        plain = camera.url("second", user="")
        probe = camherd(
            herd, "probe", "--url-file", "-", "--user", USER, "--password-file", str(password),
            text=plain + "\n",
        ).stdout  # fmt: skip
        assert [line.split()[:2] for line in probe.splitlines() if line[0] != " "][-1] == [
            "luma",
            "ok",
        ]
        failed = camherd(herd, "probe", plain, expect=1)
        assert "camherd: the camera failed at the step auth" in failed.stderr

        file = herd.folder / "cameras.yaml"
        file.write_text(
            f"""cameras:
  - camera_id: CAM-1
    name: North gate
    latitude: 26.4499
    longitude: 80.3319
    privacy_masks: [{{points: [{{x: 0, y: 0}}, {{x: 0.3, y: 0}}, {{x: 0.3, y: 1}}]}}]
    rtsp_url: {plain}
    user: {USER}
    password_file: gate.password
    models: [animals]
    interval_seconds: 0.5
  - camera_id: CAM-2
    latitude: 1
    longitude: 2
"""
        )
        dry = camherd(herd, "apply", "-f", str(file), "--dry-run").stdout.splitlines()
        assert [line[:14] for line in dry[:3]] == ["+ camera CAM-1", "+ camera CAM-2"] + [
            "+ stream CAM-1"
        ]
        assert dry[3] == "3 to do, 0 as they are; nothing was done"
        assert herd.streams() == []
        assert "3 done, 0 failed" in camherd(herd, "apply", "-f", str(file)).stdout
        herd.wait_state("CAM-1", "running")
        again = camherd(herd, "apply", "-f", str(file)).stdout
        assert again == "0 done, 0 failed, 3 as they were\n"
        assert "North gate" in camherd(herd, "cameras").stdout

        moved = as_json(herd, "cameras", "set", "CAM-2", "--latitude", "-33.8", "--name", "Quay")
        assert (moved["latitude"], moved["longitude"], moved["name"]) == (-33.8, 2, "Quay")

        # What config writes changes nothing; edited, it changes the running
        # stream, which keeps its login.
        session = herd.stream("CAM-1")["session_id"]
        written = herd.folder / "written.yaml"
        said = camherd(herd, "config", "-o", str(written)).stderr
        assert "1 streams have a login, which is not written" in said
        assert USER not in written.read_text()
        same = camherd(herd, "apply", "-f", str(written)).stdout
        assert same == "0 done, 0 failed, 3 as they were\n"
        written.write_text(
            written.read_text().replace("interval_seconds: 0.5", "interval_seconds: 1")
        )
        changed = camherd(herd, "apply", "-f", str(written)).stdout
        assert "~ stream CAM-1: interval_seconds 0.5 -> 1\n" in changed
        stream = herd.wait_stream("CAM-1", lambda s: s["interval_seconds"] == 1)
        assert stream["session_id"] == session
        assert "***:***@" in stream["rtsp_url"]

        # A bad file: all that is wrong is said, and nothing is changed.
        bad = herd.folder / "bad.csv"
        bad.write_text(
            "camera_id,name,latitude,longitude\n"
            "CAM-1,,1,1\nCAM-2,,91,2\nCAM 3,,1,1\nCAM-4,\x1b[31m,1,1\n"
        )
        errors = camherd(herd, "apply", "-f", str(bad), expect=2).stderr.splitlines()
        assert [re.match(r"camherd: \S*bad\.csv:(\d)", line)[1] for line in errors[:3]] == [
            "3",
            "4",
            "5",
        ]
        assert "\\x1b[31m" in errors[2]
        assert errors[3].endswith("bad.csv has 3 errors; nothing was changed")
        assert as_json(herd, "cameras", "get", "CAM-1")["latitude"] == 26.4499

        # Out of the file: stopped, with --prune only.
        written.write_text("cameras: []\n")
        assert "0 done" in camherd(herd, "apply", "-f", str(written)).stdout
        pruned = camherd(herd, "apply", "-f", str(written), "--prune").stdout
        assert re.search(r"^- stream CAM-1: .*, not in the file$", pruned, re.MULTILINE)
        assert herd.stream("CAM-1")["state"] in ("stopping", "stopped")

    prepared = camherd(herd, "models", "prepare", "animals").stdout
    assert prepared.startswith("animals is ready: venv on ")
    # As bash asks for what may follow.
    script = f"""
      source <({CAMHERD} completion bash)
      COMP_WORDS=({CAMHERD} models get an) COMP_CWORD=3
      _camherd
      echo "${{COMPREPLY[*]}}"
    """
    completed = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment(herd),
    )
    assert completed.stdout == "animals animals_yolox\n", completed
    assert camherd(herd, "models", "get", "none", expect=1).stderr.startswith("camherd: ")
    for process in herd.processes():
        assert PASSWORD not in process[1]


def test_up_runs_all_and_ends_all(make_herd: HerdMaker) -> None:
    herd = make_herd(start=False)
    env = {k: v for k, v in os.environ.items() if not k.startswith("CAMHERD_")}
    env |= {f"CAMHERD_{key}": value for key, value in herd.settings.items()}
    env |= herd.environment
    ports = {name: free_port() for name in ("capture", "inference", "aggregator")}
    for name, port in ports.items():
        env[f"CAMHERD_{name.upper()}_LISTEN"] = f"127.0.0.1:{port}"
    for key, name in TARGETS.items():
        env[f"CAMHERD_{key}"] = f"127.0.0.1:{ports[name]}"
    env["CAMHERD_GATEWAY_LISTEN"] = "127.0.0.1:0"
    token = herd.folder / "grpc_token"
    token.touch(0o600)
    token.write_text("canary-shared-0b7d31e5aa\n")
    env["CAMHERD_GRPC_TOKEN_FILE"] = str(token)
    for name in (*ports, "gateway"):
        env[f"CAMHERD_{name.upper()}_METRICS_LISTEN"] = "127.0.0.1:0"
    config = str(ROOT / "deploy" / "config" / "camherd.yaml")
    up = Watch(herd.folder, env, "up", "--config", config, "--data-dir", str(herd.data))
    try:
        up.wait("all four services run; the page is at http://127.0.0.1:", up.err)
        assert up.wait(r"^\d\d:\d\d:\d\d capture     serving grpc=127.0.0.1:")
        assert "\x1b" not in up.out.read_text()

        # Its own token lets it in, none does not.
        def ls(of: dict[str, str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [CAMHERD, "ls"], capture_output=True, text=True, timeout=60, check=False, env=of
            )

        assert ls(env).returncode == 0
        stranger = ls({k: v for k, v in env.items() if k != "CAMHERD_GRPC_TOKEN_FILE"})
        assert stranger.returncode == 1
        assert "takes no call without a token that it knows" in stranger.stderr
        pids = {
            re.search(r"camherd-(\w+)", line)[1]: pid
            for pid, line in herd.processes()
            if re.search(r"camherd-(\w+) --config", line)
        }
        # One that dies comes back.
        os.kill(pids["inference"], signal.SIGKILL)
        up.wait(r"camherd-inference ended \(signal 9.*\); started again in ", up.err)
        wait_for(lambda: up.out.read_text().count("inference   serving ") == 2, 60, "it is back")
        assert up.end(timeout=60) == 0
    finally:
        up.process.kill()
    order = re.findall(r"(\w+) +stopped$", up.out.read_text(), re.MULTILINE)
    assert order == ["gateway", "capture", "inference", "aggregator"]
    wait_for(lambda: not herd.processes(), 5, lambda: f"none: {herd.processes()}")
