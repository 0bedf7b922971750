# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, fail, or are read-only: a service says so by name, loses
nothing it has acknowledged, and goes on when the disk is well again. An fsync
that fails ends it, and the start after that is right."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HerdMaker
from harness import DISK_SHIM, Camera, Herd, check_identities, wait_for
from test_restarts import drain

NAME = "CAM-001"
SETTINGS = {
    "CAPTURE_WORKER_PROCESSES": "1",
    "AGGREGATOR_DISK_POLL_SECONDS": "0.2",
    "AGGREGATOR_RETRY_DELAY_SECONDS": "0.3",
    "AGGREGATOR_PREDICTIONS_RETRY_SECONDS": "0.2",
    "AGGREGATOR_PREDICTIONS_SYNC_SECONDS": "0.2",
}
# Each call fails so, and is told so.
REFUSALS = {
    "all ENOSPC 1": "No space left on device",
    "all EROFS 1": "Read-only file system",
    "write EIO 1": "Input/output error",
}

# Of the small disk: above what the services hold back.
DISK_BYTES = 1 << 30


class Faults:
    """What the disk shim lets fail in one service, and in its children."""

    def __init__(self, herd: Herd, service: str, children: bool = False) -> None:
        self._file = herd.folder / "faults"
        self.set()
        herd.own.setdefault(service, {}).update(
            LD_PRELOAD=str(DISK_SHIM),
            DISK_SHIM_DIR=os.path.realpath(herd.data),
            DISK_SHIM_FAULTS=str(self._file),
        )
        if children:
            herd.own[service]["DISK_SHIM_CHILDREN"] = "1"

    def set(self, *lines: str) -> None:
        """These fail from now on, nothing else."""
        new = self._file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self._file)


def begin(
    make_herd: HerdMaker, camera: Camera, service: str, children: bool = False
) -> tuple[Herd, Faults]:
    """A herd that records one stream, the service under the shim."""
    herd = make_herd(start=False, **SETTINGS)
    faults = Faults(herd, service, children)
    herd.start()
    fields = {"interval_seconds": 0.1, "batch_size": 3, "models": ["people"]}
    herd.start_stream(camera.url("third"), camera_id=NAME, **fields)
    herd.wait_records(2)
    return herd, faults


def goes_on(herd: Herd) -> None:
    """Records come, all services are ready, and every frame is accounted for."""
    herd.wait_records(len(herd.lines()) + 2)
    wait_for(lambda: herd.get("/readyz").status == 200, 20, lambda: herd.get("/readyz").text)
    herd.check_accounting()


def check_ends_by_fsync(herd: Herd, faults: Faults, service: str, path: str) -> None:
    """A failed fsync below `path` ends the service; after a start all is well."""
    before = herd.stream(NAME)
    faults.set(f"fsync EIO 1 {path}")
    process = herd.services[service].process
    wait_for(lambda: process.poll() is not None, 20, f"{service} ends, fsync of {path}")
    assert process.returncode not in (0, -signal.SIGKILL), path
    assert "fsync" in herd.tail(service, 3), herd.tail(service, 3)
    faults.set()
    herd.start()
    wait_for(lambda: herd.get("/readyz").status == 200, 20, "ready")
    assert herd.stream(NAME)["session_id"] == before["session_id"]
    goes_on(herd)


def test_an_aggregator_whose_disk_fails_refuses_by_name_and_goes_on(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd, faults = begin(make_herd, camera, "aggregator")
    for fault, words in REFUSALS.items():
        faults.set(fault)
        herd.wait_stream(NAME, lambda s, w=words: w in s["sending_reason"], 20, words)
        wait_for(lambda: not herd.get("/readyz").json["services"]["aggregator"]["ready"], 20, fault)
        assert words in herd.log("aggregator").split("not ready for the disk")[-1]
        herd.wait_captured(NAME, herd.stream(NAME)["accounting"]["captured"] + 5)
        # The lines may be behind.
        check_identities(herd.stream(NAME)["accounting"])
        faults.set()
        goes_on(herd)
    faults.set("write SHORT 2", "write EINTR 3")
    goes_on(herd)
    faults.set()
    for path in ("records.db-wal", "predictions.json", "records/"):
        check_ends_by_fsync(herd, faults, "aggregator", path)
    drain(herd, [NAME])


def test_a_capture_whose_disk_fails_misses_by_name_and_goes_on(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd, faults = begin(make_herd, camera, "capture")
    places = {
        **REFUSALS,
        "write EIO 1": "disk I/O error",
        "write ENOSPC 1 capture.db": "database or disk is full",
    }
    for fault, words in places.items():
        before = herd.stream(NAME)["accounting"]
        told = len(herd.log("capture"))
        faults.set(fault)
        wait_for(lambda w=words, t=told: w in herd.log("capture")[t:], 20, fault)
        herd.wait_stream(NAME, lambda s, w=words: w in s["state_reason"], 20, words)
        wait_for(lambda: not herd.get("/readyz").json["services"]["capture"]["ready"], 20, fault)
        reason = herd.get("/readyz").json["services"]["capture"]["reason"]
        assert "capture.db cannot be written" in reason, reason
        # What cannot be written cannot be counted either, until it can again.
        herd.check_accounting()
        faults.set()
        goes_on(herd)
        missed = herd.stream(NAME)["accounting"]["missed"]

        def named(missed: dict[str, int]) -> int:
            return missed.get("disk_error", 0) + missed.get("disk_full", 0)

        assert named(missed) > named(before["missed"]), (fault, missed)
    faults.set("write SHORT 2", "write EINTR 3")
    goes_on(herd)
    faults.set()
    for path in ("capture.db-wal", "frames/"):
        check_ends_by_fsync(herd, faults, "capture", path)
    drain(herd, [NAME])


def test_a_worker_whose_disk_fails_misses_by_name_and_stores_nothing_half(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd, faults = begin(make_herd, camera, "capture", children=True)
    refusals = {
        "write EIO 1 frames/": "Input/output error",
        "open ENOSPC 1 frames/": "No space left on device",
        "rename EROFS 1 frames/": "Read-only file system",
    }
    for fault, words in refusals.items():
        before = herd.stream(NAME)["accounting"]
        faults.set(fault)
        words = f"pictures cannot be written: .*{words}"
        herd.wait_stream(NAME, lambda s, w=words: re.search(w, s["state_reason"]), 20, words)
        enough = before["missed"].get("disk_error", 0) + 3
        after = herd.wait_stream(
            NAME,
            lambda s, n=enough: s["accounting"]["missed"].get("disk_error", 0) >= n,
            20,
            fault,
        )["accounting"]
        assert set(after["missed"]) - set(before["missed"]) <= {"disk_error"}, after
        # The truth can still be written.
        assert herd.get("/readyz").status == 200
        faults.set()
        goes_on(herd)
        assert herd.stream(NAME)["state_reason"] == ""
    # Some get through; then each is written in many pieces.
    for faulty in ("write ENOSPC 2 frames/",), ("write EINTR 3 frames/", "write SHORT 1 frames/"):
        faults.set(*faulty)
        goes_on(herd)
    faults.set()
    assert herd.stream(NAME)["connects"] == 1
    assert "worker lost" not in herd.log("capture")
    # No hash was wrong: then its batch would be dropped.
    drain(herd, [NAME])
    assert not list((herd.data / "frames").rglob("*.tmp"))
    pictures = list((herd.data / "records").rglob("*.jpg"))
    assert pictures
    for picture in pictures:
        data = picture.read_bytes()
        assert data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9"), picture


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for the data of the first herd."""
    path = tmp_path / "herd0" / "data"
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "camherd-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_stops_nothing_that_was_accepted_and_is_left_by_itself(
    small_disk: Path, make_herd: HerdMaker, camera: Camera
) -> None:
    herd, _ = begin(make_herd, camera, "gateway")
    filler = small_disk / "filler"
    for _ in range(2):
        missed = sum(herd.stream(NAME)["accounting"]["missed"].values())
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    break
        wait_for(
            lambda: not herd.get("/readyz").json["services"]["aggregator"]["ready"], 20, "full"
        )
        herd.wait_stream(NAME, lambda s: "disk" in s["state_reason"] + s["sending_reason"], 20)
        # The lines may be behind.
        check_identities(herd.stream(NAME)["accounting"])
        filler.unlink()
        goes_on(herd)
        after = herd.stream(NAME)["accounting"]["missed"]
        assert sum(after.values()) > missed, after
    drain(herd, [NAME])
