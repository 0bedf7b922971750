# SPDX-License-Identifier: Apache-2.0
"""Worker processes of the capture service that are killed or hang: the streams
go on, nothing is lost that was captured, and nothing is counted wrongly."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, wait_for
from test_restarts import drain

STREAMS = ("one", "two", "three", "four")


def workers(herd: Herd) -> list[int]:
    """The worker processes of the capture service."""
    parent = herd.services["capture"].process.pid
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def running(pid: int) -> bool:
    """True until the process is gone or a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def cameras() -> Camera:
    mounts = [f"{name},video={VTEST},gop=0.5,seconds=10" for name in STREAMS]
    with Camera(*mounts) as camera:
        yield camera


def start(herd: Herd, camera: Camera) -> None:
    for name in STREAMS:
        herd.start_stream(camera.url(name), camera_id=name, interval_seconds=0.2, models=["people"])
    for name in STREAMS:
        herd.wait_captured(name, 3)


QUICK = {
    "CAPTURE_WORKER_PROCESSES": "2",
    "CAPTURE_WORKER_ANSWER_TIMEOUT_SECONDS": "2",
    "CAPTURE_CONNECTS_PER_SECOND_PER_HOST": "100",
}


def test_killed_and_frozen_workers_cost_a_moment_only(
    make_herd: HerdMaker, cameras: Camera
) -> None:
    herd = make_herd(**QUICK)
    start(herd, cameras)
    pid = herd.services["capture"].process.pid
    choose = random.Random(5)
    away = []
    for turn in range(6):
        before = {name: herd.stream(name) for name in STREAMS}
        victims = workers(herd)
        assert len(victims) == 2
        number = signal.SIGSTOP if turn % 3 == 2 else signal.SIGKILL
        since = time.monotonic()
        os.kill(choose.choice(victims), number)
        # The API answers throughout.
        assert len(herd.streams()) == len(STREAMS)
        wait_for(
            lambda n=turn: (
                sum(
                    float(line.rsplit(" ", 1)[1])
                    for line in herd.metrics("capture").splitlines()
                    if line.startswith("camherd_capture_workers_lost_total{")
                )
                == n + 1
            ),
            20,
            "the loss is counted",
        )
        lost = time.monotonic()
        for name in STREAMS:
            count = herd.stream(name)["accounting"]["captured"]
            herd.wait_captured(name, count + 2, 20)
        if number == signal.SIGKILL:
            away.append(time.monotonic() - since)
        assert time.monotonic() - lost < 5
        herd.check_accounting()
        for name in STREAMS:
            after = herd.stream(name)
            assert after["session_id"] == before[name]["session_id"]
            assert after["quarantined_until"] is None
    print(f"streams went on after {', '.join(f'{s:.1f}' for s in away)} s")
    assert max(away) < 5
    missed = [herd.stream(name)["accounting"]["missed"] for name in STREAMS]
    assert any(m.get("worker_lost", 0) > 0 for m in missed), missed
    assert herd.services["capture"].process.pid == pid
    drain(herd, list(STREAMS))
    log = herd.log("capture")
    assert "worker lost" in log
    assert "did not answer" in log


def test_no_worker_outlives_the_service(make_herd: HerdMaker, cameras: Camera) -> None:
    herd = make_herd(**QUICK)
    start(herd, cameras)
    before = workers(herd)
    assert len(before) == 2
    herd.kill("capture")
    wait_for(lambda: not any(map(running, before)), 5, "workers end with the service")
    herd.restart("capture")
    for name in STREAMS:
        count = herd.stream(name)["accounting"]["captured"]
        herd.wait_captured(name, count + 2)
    before = workers(herd)
    # As who stops a container or a unit does: all processes at once.
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    herd.terminate("capture")
    assert not any(map(running, before))
    assert "worker lost" not in herd.log("capture").rpartition("serving")[2]


def test_a_worker_knows_no_secret_of_the_service(
    make_herd: HerdMaker, cameras: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s3cret-of-the-host")
    herd = make_herd(**QUICK)
    start(herd, cameras)
    for pid in workers(herd):
        assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"camherd-capture\0--worker\0"
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert f"Max data size             {2 << 30}" in limits
