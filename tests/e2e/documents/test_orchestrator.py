# SPDX-License-Identifier: Apache-2.0
"""Document A, the RTSP Stream Orchestrator: sentence by sentence.

Where the document names the files of the program it describes (app.py,
stream_processor.py), the row checks what stands in their place here.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import FAILED, end_herd, new_herd
from harness import BUILD, ROOT, Camera, Herd, free_port, wait_for
from records import check_schema, decode, first_frame, kept_frames
from rows import Rows

from models import STUB_SCORE


@dataclass
class Story:
    """Document A's example, run once: what was seen on the way."""

    herd: Herd
    camera: Camera
    answer: dict[str, Any] = field(default_factory=dict)
    spool_folder: str = ""
    worker: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    marker_times: list[int] = field(default_factory=list)
    spool_after: list[str] = field(default_factory=list)
    kept: dict[int, bytes] = field(default_factory=dict)

    @property
    def line(self) -> dict[str, Any]:
        """The first line of predictions.json."""
        return self.lines[0]


def run_story(herd: Herd, camera: Camera) -> Story:
    """The document's curl line with its defaults, until a line is there."""
    story = Story(herd, camera)
    (herd.data / "camera_data.csv").write_text(
        "cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n"
    )
    herd.start()
    body = {"rtsp_url": camera.url("demo"), "camera_id": "CAM-001", "model_name": "animals"}
    command = ["curl", "-sS", "-X", "POST", herd.url("/start_stream")]
    command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    story.answer = json.loads(out)
    herd.wait_captured("CAM-001", 4)
    folders = [p for p in (herd.data / "frames").iterdir() if p.is_dir()]
    assert len(folders) == 1
    story.spool_folder = folders[0].name
    marker = herd.data / "venvs" / "animals" / ".deps_installed"
    wait_for(marker.exists, 60, "the environment of animals")
    story.marker_times.append(marker.stat().st_mtime_ns)
    workers = [line for _, line in herd.processes() if "run_inference.py" in line]
    story.worker = workers[0] if workers else ""
    # A second camera, faster, for a second batch.
    herd.start_stream(camera.url("second"), camera_id="CAM-002", interval=0.2)
    lines = herd.wait_records(3, 90)
    story.lines = sorted(lines, key=lambda x: x["basic"]["camID"])
    if story.line["basic"]["camID"] != "CAM-001":
        wait_for(lambda: "CAM-001" in str([x["basic"]["camID"] for x in herd.lines()]), 60)
        story.lines = sorted(herd.lines(), key=lambda x: x["basic"]["camID"])
    session = story.answer["session_id"]
    spool = herd.data / "frames" / story.spool_folder
    wait_for(lambda: not (spool / "0000000001.jpg").exists(), 10, "processed frames are deleted")
    story.spool_after = sorted(p.name for p in spool.iterdir())
    story.kept = kept_frames(herd.folder / "kept", session)
    story.marker_times.append(marker.stat().st_mtime_ns)
    return story


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, camera: Camera, request: pytest.FixtureRequest
) -> Iterator[Story]:
    """The example, run once."""
    herd = new_herd(tmp_path_factory.mktemp("story"), keep_frames=True)
    try:
        yield run_story(herd, camera)
    finally:
        end_herd(herd, request.session.stash.get(FAILED, False))


row: Rows[Story] = Rows()


@row(
    "captures frames from RTSP streams, batches them, and delegates inference to isolated,"
    " model-specific Python virtual environments"
)
def _(story: Story) -> None:
    python = story.herd.data / "venvs" / "animals" / "bin" / "python"
    assert python.exists()
    assert str(python) in story.worker, story.worker


@row("Results are appended to a JSON file with metadata and a base64 frame snapshot")
def _(story: Story) -> None:
    assert (story.herd.data / "predictions.json").is_file()
    assert first_frame(story.line).startswith(b"\xff\xd8\xff")
    assert story.line["meta"]


@row("models/<model>/requirements_<model>.txt: yolo_v8 and animals")
def _(story: Story) -> None:
    for name in ("yolo_v8", "animals"):
        assert (ROOT / "models" / name / f"requirements_{name}.txt").is_file()


@row("run_inference.py: standalone model runner")
def _(story: Story) -> None:
    assert (ROOT / "models" / "animals" / "run_inference.py").is_file()
    python = story.herd.data / "venvs" / "animals" / "bin" / "python"
    picture = story.herd.folder / "one.jpg"
    picture.write_bytes(story.kept[1])
    script = story.herd.folder / "models" / "animals" / "run_inference.py"
    out = subprocess.run(
        [str(python), str(script), str(picture)], check=True, capture_output=True, text=True
    ).stdout
    found = json.loads(out)["stray_animal"]["detections"]
    assert [d["class"] for d in found] == ["dog"]


@row("animals/yolov8n.pt: supported path `animals` using `models/animals/yolov8n.pt`")
def _(story: Story) -> None:
    manifest = (ROOT / "models" / "animals" / "model.yaml").read_text()
    assert re.search(r"file: *yolov8n\.pt", manifest)


@row("venvs/: model virtualenvs (created at runtime)")
def _(story: Story) -> None:
    assert [p.name for p in (story.herd.data / "venvs").iterdir() if p.is_dir()] == ["animals"]


@row("frames/: captured frames per session")
def _(story: Story) -> None:
    assert len(list((story.herd.data / "frames").iterdir())) == 2


@row("camera_data.csv: cameraID, latitude, longitude")
def _(story: Story) -> None:
    header = (ROOT / "deploy" / "camera_data.csv").read_text().splitlines()[0]
    assert header.replace(" ", "") == "cameraID,latitude,longitude"
    assert story.line["basic"]["Latitude"] == 26.4499
    assert story.line["basic"]["Longitude"] == 80.3319


@row("predictions.json: append-only results")
def _(story: Story) -> None:
    text = (story.herd.data / "predictions.json").read_text()
    first = text.splitlines()[0]
    story.herd.wait_records(len(story.herd.lines()) + 1)
    assert (story.herd.data / "predictions.json").read_text().startswith(first + "\n")


@row("Prerequisites: ffmpeg (`sudo apt-get update && sudo apt-get install -y ffmpeg`)")
def _(story: Story) -> None:
    packages = (ROOT / "deploy" / "apt-packages.txt").read_text().split()
    assert "ffmpeg" in packages
    assert "apt-get update" in (ROOT / "deploy" / "install-dependencies.sh").read_text()


@row("Python 3.10-3.12 recommended")
def _(story: Story) -> None:
    python = story.herd.data / "venvs" / "animals" / "bin" / "python"
    out = subprocess.run([str(python), "--version"], check=True, capture_output=True, text=True)
    assert out.stdout.split()[1].split(".")[:2] in (["3", "10"], ["3", "11"], ["3", "12"])


@row("Setup and Run: one command installs and starts it (deploy/quickstart.sh)")
def _(story: Story) -> None:
    script = ROOT / "deploy" / "quickstart.sh"
    assert os.access(script, os.X_OK)


@row("Open `http://localhost:5000/` (serves `static/index.html`)")
def _(story: Story) -> None:
    page = story.herd.get("/")
    assert page.status == 200
    static = (ROOT / "gateway" / "static" / "index.html").read_text()
    assert re.search(r"<title>[^<]*", static).group() in page.text


@row("the default port is 5000, by IPv4 and IPv6")
def _(story: Story) -> None:
    check_default_port(story.herd, 5000)


@row("Web form: `http://localhost:5000/`")
def _(story: Story) -> None:
    assert "<form" in story.herd.get("/").text


@row(
    "curl -X POST http://localhost:5000/start_stream -H 'Content-Type: application/json'"
    " -d '{rtsp_url, camera_id, model_name}'"
)
def _(story: Story) -> None:
    assert story.answer["message"] == "Stream started"
    assert story.answer["camera_id"] == "CAM-001"
    wanted = ["message", "stream_id", "session_id", "camera_id", "process_name", "state"]
    assert list(story.answer) == wanted


@row("`model_name` defaults to `animals`")
def _(story: Story) -> None:
    answer = story.herd.start_stream(story.camera.url("third"))
    assert story.herd.stream(answer["stream_id"])["models"] == ["animals"]
    story.herd.stop_stream(answer["process_name"])


@row("the current build supports only `animals`: another name is refused and the known listed")
def _(story: Story) -> None:
    body = {"rtsp_url": story.camera.url("third"), "model_name": "unknown"}
    answer = story.herd.request("POST", "/start_stream", body)
    assert answer.status == 400
    assert "animals" in answer.json["error"]["message"]


@row("Captures a frame every 3 seconds")
def _(story: Story) -> None:
    assert story.herd.stream("CAM-001")["interval_seconds"] == 3
    # The keyframe nearest to each due time is taken: the grid holds, not each gap.
    times = [f["captured_at"] for f in story.line["meta"]["frames"]]
    first, last = (datetime.fromisoformat(t[:19] + "+00:00") for t in (times[0], times[-1]))
    assert abs((last - first).total_seconds() - 9 * 3) <= 3, times


@row("into `frames/<cameraID_sessionId>/`")
def _(story: Story) -> None:
    assert story.spool_folder == f"CAM-001_{story.answer['session_id']}"


@row("When 10 frames are buffered")
def _(story: Story) -> None:
    assert len(story.line["meta"]["frames"]) == 10


@row(
    "Ensures `venvs/<model_name>` exists and installs requirements once per venv (marker file"
    " `.deps_installed`)"
)
def _(story: Story) -> None:
    assert story.marker_times[0] == story.marker_times[1]
    assert (story.herd.data / "venvs" / "animals" / ".deps_installed").is_file()


@row("Runs `run_inference.py` in the model venv")
def _(story: Story) -> None:
    assert re.search(r"/animals/run_inference\.py", story.worker), story.worker
    assert story.line["meta"]["models"]["animals"]["engine"] == "venv"


@row("Enriches results with camera location")
def _(story: Story) -> None:
    basic = story.line["basic"]
    assert (basic["Latitude"], basic["Longitude"]) == (26.4499, 80.3319)


@row("host IP")
def _(story: Story) -> None:
    # The local address towards the camera, which is on this machine.
    assert story.line["basic"]["IP"] == "127.0.0.1"


@row("date/time")
def _(story: Story) -> None:
    basic = story.line["basic"]
    told = datetime.strptime(f"{basic['Date']} {basic['timestamp']}", "%d/%m/%Y %H:%M:%S")
    first = story.line["meta"]["captured_at"]
    received = datetime.fromisoformat(first[:19] + "+00:00").astimezone()
    assert abs((told - received.replace(tzinfo=None)).total_seconds()) <= 1


@row("base64 of the first frame")
def _(story: Story) -> None:
    assert first_frame(story.line) == story.kept[1]
    assert decode(first_frame(story.line)).shape == (576, 768, 3)


@row("Appends one JSON object per 10-frame batch to `predictions.json`")
def _(story: Story) -> None:
    seqs = [x["meta"]["batch_seq"] for x in story.lines if x["basic"]["camID"] == "CAM-002"]
    assert seqs[:2] == [1, 2]


@row("Deletes processed frames and the temp results file")
def _(story: Story) -> None:
    assert not {f"{n:010d}.jpg" for n in range(1, 11)} & set(story.spool_after)
    strays = [p for p in story.herd.data.rglob("*") if re.search(r"result|\.tmp$", p.name)]
    strays = [p for p in strays if "venvs" not in p.parts]
    assert strays == []


@row("JSON schema (per batch)")
def _(story: Story) -> None:
    for line in story.lines:
        check_schema(line)


@row('"Date": "08/10/2025"')
def _(story: Story) -> None:
    assert re.fullmatch(r"\d\d/\d\d/\d{4}", story.line["basic"]["Date"])


@row('"timestamp": "16:45:10"')
def _(story: Story) -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d", story.line["basic"]["timestamp"])


@row('"complaint_type": { "stray_animal": 1, "pothole": 0 }')
def _(story: Story) -> None:
    assert story.line["basic"]["complaint_type"] == {"stray_animal": 1, "pothole": 0}


@row('"detections": [ { "class": "dog", "confidence": 0.89, "box": [120,240,180,300] } ]')
def _(story: Story) -> None:
    found = story.line["stray_animal"]["detections"]
    assert len(found) == 10
    boxes = {tuple(d["box"]) for d in found}
    assert boxes == {(77, 115, 384, 346)}
    scores = {round(eval(STUB_SCORE, {"jpeg": j, "len": len}), 4) for j in story.kept.values()}
    assert {d["confidence"] for d in found} <= scores


@row('"pothole": null')
def _(story: Story) -> None:
    assert story.line["pothole"] is None


@row("`stray_animal.detections` comes from the animals model (e.g. person, dog, cat)")
def _(story: Story) -> None:
    model = story.herd.get("/api/v1/models/animals").json
    assert model["section"] == "stray_animal"
    assert {"person", "dog", "cat"} <= set(model["classes"])


@row("`complaint_type.stray_animal` is 1 if any detection exists in the batch; else 0")
def _(story: Story) -> None:
    # The 0 is in test_records.py: a model that finds nothing.
    assert story.line["basic"]["complaint_type"]["stray_animal"] == 1


@row(
    "First batch for a model creates `venvs/<model>` and installs deps; subsequent batches reuse it"
)
def _(story: Story) -> None:
    assert len(set(story.marker_times)) == 1
    assert story.herd.get("/api/v1/models/animals").json["worker_restarts"] == 0


@row("Per-frame JSON (optional)")
def _(story: Story) -> None:
    # The form of its lines is in test_records.py.
    configuration = (ROOT / "deploy" / "config" / "camherd.yaml").read_text()
    assert re.search(r"^ +per_frame_records: false", configuration, re.MULTILINE)


@row("RTSP failures: verify URL/credentials")
def _(story: Story) -> None:
    story.herd.start_stream(f"rtsp://127.0.0.1:{free_port()}/x", camera_id="FAILS")
    stream = story.herd.wait_state("FAILS", "reconnecting")
    assert "refused" in stream["state_reason"].lower()
    story.herd.stop_stream("FAILS")


@row("Slow first batch: venv creation and pip install")
def _(story: Story) -> None:
    log = story.herd.log("inference")
    assert re.search(r"creat", log) and re.search(r"install", log), log


@row("Missing wheels (torch/vision): prefer Python 3.10-3.12")
def _(story: Story) -> None:
    # The hint of a FAILED model; the failing itself is in test_model_failures.py.
    source = ROOT / "services" / "inference" / "environment_hints.cc"
    assert "3.10" in source.read_text()


@row(
    "Empty predictions: ensure `model_name` is `animals`, frames are being written, and logs"
    " show no model errors"
)
def _(story: Story) -> None:
    stream = story.herd.stream("CAM-001")
    assert stream["models"] == ["animals"]
    assert stream["accounting"]["captured"] >= 10
    assert stream["last_frame_age_seconds"] < 10
    assert story.herd.get("/api/v1/models/animals").json["batches_failed"] == 0


def check_default_port(herd: Herd, port: int) -> None:
    """A gateway without a `listen` of its own answers on that port."""
    for other in (5000, 8000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", other)) == 0:
                pytest.skip(f"port {other} is in use")
    environment = herd._environment("gateway")
    environment.pop("CAMHERD_GATEWAY_LISTEN")
    environment["CAMHERD_GATEWAY_METRICS_LISTEN"] = "127.0.0.1:0"
    with (herd.folder / "default-gateway.log").open("wb") as log:
        gateway = subprocess.Popen(
            [str(BUILD / "bin" / "camherd-gateway"), "--data-dir", str(herd.data)],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        hosts = ["127.0.0.1"]
        if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
            hosts.append("::1")
        for host in hosts:

            def connects(host: str = host) -> bool:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                with socket.socket(family) as s:
                    return s.connect_ex((host, port)) == 0

            wait_for(connects, 10, f"{host} port {port}")
        out = subprocess.run(
            ["curl", "-sS", f"http://localhost:{port}/livez"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "ok" in out
    finally:
        gateway.terminate()
        assert gateway.wait(10) == 0


@pytest.mark.parametrize("check", row.params())
def test_document_a(check: Callable[[Story], None], story: Story) -> None:
    check(story)
    story.herd.check_accounting()
