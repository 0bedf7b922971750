# SPDX-License-Identifier: Apache-2.0
"""The grid of the nine brightest, against a computation of our own."""

from __future__ import annotations

from pathlib import Path

from conftest import HerdMaker
from harness import VTEST, Camera
from records import as_cell, cells, kept_frames, luma, page_picture, psnr, spooled_frames

# The picture brightens and darkens as the loop goes on, never twice alike.
BREATHING = (
    f"breathing,video={VTEST},gop=2,"
    "filter=eq=eval=frame:brightness='0.28*sin(t*1.1)+0.1*sin(t*0.37)'"
)
# Between a luma measured before JPEG coding and one after it, and for cells
# that are scaled twice.
LUMA_TOLERANCE = 0.3


def test_stop_shows_the_nine_brightest_of_all_spooled_frames_brightest_first(
    make_herd: HerdMaker, tmp_path: Path
) -> None:
    herd = make_herd(keep_frames=True)
    with Camera(BREATHING) as camera:
        body = f"rtsp_url={camera.url('breathing')}&interval=0.3"
        answer = herd.request("POST", "/start", body, listener=1)
        assert answer.text.strip() == "Video stream started: process_name=breathing"
        herd.wait_captured("breathing", 30)
        page = herd.stop_stream("breathing")
        assert page.status == 200
        stream = herd.stream("breathing")

        session = stream["session_id"]
        frames = {
            **kept_frames(herd.folder / "kept", session),
            **spooled_frames(herd.data, session),
        }
        assert sorted(frames) == list(range(1, stream["accounting"]["captured"] + 1))
        brightness = {number: luma(jpeg) for number, jpeg in frames.items()}
        ranked = sorted(brightness, key=lambda number: (-brightness[number], number))
        nine, tenth = ranked[:9], ranked[9]

        grid = page_picture(page.text)
        shown = []
        for cell in cells(grid):
            best = max(frames, key=lambda number: psnr(as_cell(frames[number]), cell))
            assert psnr(as_cell(frames[best]), cell) > 28
            shown.append(best)
        assert len(set(shown)) == 9
        for number in shown:
            assert brightness[number] >= brightness[tenth] - LUMA_TOLERANCE, (shown, nine)
        for brighter, darker in zip(shown, shown[1:], strict=False):
            assert brightness[brighter] >= brightness[darker] - LUMA_TOLERANCE, (shown, nine)

        # The same picture lies under images/.
        files = list((herd.data / "images").glob("breathing_*.jpg"))
        assert [f.read_bytes() for f in files] == [grid]

        # /stop again: the same grid, not another one.
        again = herd.stop_stream("breathing")
        assert page_picture(again.text) == grid
        assert len(list((herd.data / "images").glob("*.jpg"))) == 1

        # Start again gives the name again, and a session of its own.
        answer = herd.request("POST", "/start", body, listener=1)
        assert answer.text.strip() == "Video stream started: process_name=breathing"
        assert herd.stream("breathing")["session_id"] != session


def test_too_early_a_stop_says_how_many_frames_there_are(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.request("POST", "/start", f"rtsp_url={camera.url('demo')}&interval=0.5", listener=1)
    herd.wait_captured("demo", 3)
    answer = herd.stop_stream("demo")
    captured = herd.stream("demo")["accounting"]["captured"]
    assert captured < 9
    assert answer.status == 409
    assert f"Not enough frames captured: {captured} of 9" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert herd.stream("demo")["state"] in ("stopping", "stopped")


def test_the_nine_survive_a_sigkill_of_the_capture_service(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(keep_frames=True)
    herd.request("POST", "/start", f"rtsp_url={camera.url('demo')}&interval=0.2", listener=1)
    herd.wait_captured("demo", 12)
    herd.kill("capture")
    herd.restart("capture")
    herd.wait_state("demo", "running")
    page = herd.stop_stream("demo")
    assert page.status == 200
    stream = herd.stream("demo")
    session = stream["session_id"]
    frames = {**kept_frames(herd.folder / "kept", session), **spooled_frames(herd.data, session)}
    ranked = sorted(frames, key=lambda number: -luma(frames[number]))
    for cell in cells(page_picture(page.text)):
        best = max(frames, key=lambda number: psnr(as_cell(frames[number]), cell))
        assert luma(frames[best]) >= luma(frames[ranked[8]]) - LUMA_TOLERANCE
