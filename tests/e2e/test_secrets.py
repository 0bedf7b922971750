# SPDX-License-Identifier: Apache-2.0
"""No secret of a camera's URL leaves: canaries are planted and searched for."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

from conftest import HerdMaker
from harness import SERVICES, VTEST, Camera, Herd, wait_for
from misbehave import Misbehaving, Options

USER = "canaryuser7f3a"
PASSWORD = "canarypass91bd"
IN_PATH = "canarypath55e0"
IN_QUERY = "canaryquery2c8d"
CANARIES = [
    USER,
    PASSWORD,
    IN_PATH,
    IN_QUERY,
    # As HTTP basic authentication writes them.
    base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode().rstrip("="),
]

PATH = f"live/user=admin_password={IN_PATH}_channel=1/demo"
QUERY = f"?stream=1&token={IN_QUERY}"


def search(where: str, text: str | bytes) -> list[str]:
    """Canaries in a text."""
    data = text if isinstance(text, bytes) else text.encode()
    return [f"{canary} in {where}" for canary in CANARIES if canary.encode() in data]


def search_everywhere(herd: Herd) -> list[str]:
    """Canaries in logs, answers, metrics, records, files and processes."""
    found = []
    for name in SERVICES:
        found += search(f"log of {name}", herd.log(name))
        found += search(f"metrics of {name}", herd.metrics(name))
    pages = ["/", "/api/v1/streams", "/api/v1/records", "/api/v1/models", "/api/v1/cameras"]
    pages += ["/api/v1/grids", "/readyz", "/metrics"]
    pages += [f"/api/v1/streams/{s['stream_id']}" for s in herd.streams()]
    for page in pages:
        answer = herd.get(page)
        found += search(page, answer.body + repr(answer.headers).encode())
    with herd.stub("capture") as capture:
        from camherd.v1 import capture_service_pb2

        listed = capture.ListStreams(capture_service_pb2.ListStreamsRequest(), timeout=10)
        found += search("ListStreams", listed.SerializeToString())
    for path in herd.folder.rglob("*"):
        found += search("file name", str(path.relative_to(herd.folder)))
        if path.is_file() and not path.name.startswith("capture.db"):
            found += search(str(path), path.read_bytes())
    for _, line in herd.processes():
        found += search("command line", line)
    for pid in [s.process.pid for s in herd.services.values()]:
        for task in Path(f"/proc/{pid}/task").glob("*/comm"):
            found += search("thread name", task.read_bytes())
    return found


def test_no_secret_of_a_working_camera_is_found_anywhere(make_herd: HerdMaker) -> None:
    herd = make_herd(COMMON_LOG_LEVEL="debug")
    mount = f"{PATH},video={VTEST},gop=2,seconds=20"
    with Camera(mount, auth="basic", user=USER, password=PASSWORD) as camera:
        url = camera.url(PATH) + QUERY
        # By A's and by B's endpoint: with and without a name for the camera.
        answers = [
            herd.request(
                "POST",
                "/start_stream",
                {"rtsp_url": url, "camera_id": "CAM-001", "interval": 0.2},
            ),
            herd.request("POST", "/start", {"rtsp_url": url, "interval": 0.2}, listener=1),
        ]
        assert [a.status for a in answers] == [200, 200], [a.text for a in answers]
        name = answers[1].text.strip().rpartition("=")[2]
        herd.wait_captured(name, 10)
        herd.wait_records(1)
        again = herd.request(
            "POST",
            "/start_stream",
            {"rtsp_url": url + "x", "camera_id": "CAM-001", "interval": 0.2},
        )
        assert again.status == 409
        answers += [again, herd.stop_stream(name), herd.stop_stream("nosuch")]
        for answer in answers:
            assert not search("an answer", answer.body + repr(answer.headers).encode())
        herd.kill("capture")
        herd.restart("capture")
        herd.wait_state("CAM-001", "running")
        assert search_everywhere(herd) == []

        database = herd.data / "capture.db"
        for path in herd.data.glob("capture.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert database.exists()
    # The camera goes away, with the libraries' errors.
    herd.wait_state("CAM-001", "reconnecting")
    assert search_everywhere(herd) == []


def test_no_secret_of_a_failing_camera_is_found_anywhere(make_herd: HerdMaker) -> None:
    herd = make_herd(COMMON_LOG_LEVEL="debug")
    faults = {
        "refuse": Options("refuse"),
        "silent": Options("silent"),
        "garbage": Options("garbage"),
        "loop": Options("redirect-loop"),
        "s401": Options("status", code=401),
        "s404": Options("status", code=404),
        "s453": Options("status", code=453),
    }
    servers = {name: Misbehaving(options) for name, options in faults.items()}
    try:
        for name, server in servers.items():
            url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{server.port}/{PATH}{QUERY}"
            herd.start_stream(url, camera_id=name)
        herd.start_stream(
            f"rtsp://{USER}:{PASSWORD}@nosuch.invalid/{PATH}{QUERY}", camera_id="host"
        )
        for name in [*servers, "host"]:
            herd.wait_stream(name, lambda s: s["state"] not in ("starting", "running"), 30)
        wait_for(lambda: search_everywhere(herd) is not None)
        assert search_everywhere(herd) == []
    finally:
        for server in servers.values():
            server.close()


def test_no_secret_of_a_refused_request_is_in_answer_or_log(make_herd: HerdMaker) -> None:
    herd = make_herd(COMMON_LOG_LEVEL="debug")
    info = f"{USER}:{PASSWORD}"
    bodies = [
        {"rtsp_url": f"http://{info}@127.0.0.1/{PATH}{QUERY}"},
        {"rtsp_url": f"rtsp://{info}@127.0.0.1:99999/{PATH}{QUERY}"},
        {"rtsp_url": f"rtsp://{info}@127.0.0.1/{PATH}{QUERY} x"},
        {"rtsp_url": f"rtsp://{info}@a@127.0.0.1/{PATH}{QUERY}"},
        {"rtsp_url": f"rtsp://{info}@127.0.0.1/{PATH}{QUERY}", "interval": 0},
        {"rtsp_url": f"rtsp://{info}@127.0.0.1/{PATH}{QUERY}", "model_name": "nosuch"},
        {"rtsp_url": [f"rtsp://{info}@127.0.0.1/{PATH}{QUERY}"]},
        {"rtsp_urll": f"rtsp://{info}@127.0.0.1/{PATH}{QUERY}"},
        {"rtsp_url": "rtsp://127.0.0.1/x", "user": USER, "password": PASSWORD, "interval": 0},
    ]
    for body in bodies:
        for path in ("/start_stream", "/start", "/api/v1/streams"):
            answer = herd.request("POST", path, body)
            assert answer.status == 400, answer.text
            assert not search(f"{path} {body}", answer.body)
    broken = f'{{"rtsp_url": "rtsp://{info}@127.0.0.1/{PATH}{QUERY}"'
    answer = herd.request(
        "POST", "/start_stream", broken.encode(), {"Content-Type": "application/json"}
    )
    assert answer.status == 400
    assert not search("not JSON", answer.body)
    assert search_everywhere(herd) == []
