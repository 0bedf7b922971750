# SPDX-License-Identifier: Apache-2.0
"""The page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
from browser import chromium
from conftest import HerdMaker
from harness import Camera, Herd, wait_for
from records import decode, page_picture


def dom(herd: Herd, folder: Path) -> str:
    """The page's document after its first rounds of asking."""
    return chromium(folder, "--virtual-time-budget=4000", "--dump-dom", herd.url("/"))


def test_the_page_shows_streams_records_and_models(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)

    def shown() -> str | None:
        text = dom(herd, tmp_path)
        wanted = ["CAM-001", "running", "animals", "dog"]
        return text if all(word in text for word in wanted) else None

    text = wait_for(shown, 60, lambda: f"the page shows all: {dom(herd, tmp_path)[:6000]}")
    # A form to start a stream, and a button to stop it.
    assert re.search(r"<form", text)
    for field in ("rtsp_url", "camera_id", "interval"):
        assert re.search(rf'name="{field}', text), field
    assert re.search(r"<button[^>]*>[^<]*[Ss]top", text)
    # The last picture, loaded, and the evidence of a record.
    assert re.search(r"<img[^>]*/latest\.jpg", text)
    assert not re.search(r"<img[^>]*hidden[^>]*/latest\.jpg", text)
    assert "no picture yet" not in re.sub(r"<span hidden[^>]*>[^<]*", "", text)
    assert re.search(r"/api/v1/records/\d+/frame\.jpg", text) or "<canvas" in text


def test_the_page_of_stop_opens_from_disk_and_shows_the_grid(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    herd = make_herd()
    body = f"rtsp_url={camera.url('demo')}&interval=0.2"
    assert herd.request("POST", "/start", body, listener=1).status == 200
    herd.wait_captured("demo", 10)
    page = herd.stop_stream("demo")
    path = tmp_path / "response.html"
    path.write_bytes(page.body)
    herd.stop()

    shot = tmp_path / "shot.png"
    chromium(tmp_path, f"--screenshot={shot}", path.as_uri())
    screen = cv2.imread(str(shot))
    grid = decode(page_picture(page.text))
    # The grid, somewhere on the screen, at whatever width the page gives it; at a
    # quarter of the size, since the search is long.
    small = cv2.resize(screen, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    best = 0.0
    for width in range(100, small.shape[1] + 1):
        scaled = cv2.resize(grid, (width, round(width * 9 / 16)), interpolation=cv2.INTER_AREA)
        if scaled.shape[0] <= small.shape[0]:
            found = cv2.matchTemplate(small, scaled, cv2.TM_CCOEFF_NORMED).max()
            best = max(best, float(found))
    assert best > 0.9


def test_the_page_loads_nothing_from_elsewhere_and_has_a_policy(module_herd: Herd) -> None:
    answer = module_herd.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', answer.text):
        assert module_herd.get(path).status == 200, path


def test_livez_readyz_and_metrics_answer(make_herd: HerdMaker) -> None:
    herd = make_herd()
    assert herd.get("/livez").status == 200
    ready = wait_for(lambda: (a := herd.get("/readyz")).status == 200 and a, 10)
    assert ready.json["ready"] is True
    assert "camherd_" in herd.get("/metrics").text
    for name in ("capture", "inference", "aggregator", "gateway"):
        assert "camherd_build_info" in herd.metrics(name)
    herd.kill("inference")
    unready = wait_for(lambda: (a := herd.get("/readyz")).status == 503 and a, 10)
    assert unready.json["services"]["inference"]["ready"] is False
    assert unready.json["services"]["inference"]["reason"]
    herd.restart("inference")
    wait_for(lambda: herd.get("/readyz").status == 200, 15, "ready again")
