# SPDX-License-Identifier: Apache-2.0
"""Fixtures: herds of services that are checked and stopped, and cameras."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from harness import KEEP_FRAMES, SERVICES, VTEST, Camera, Herd, wait_for  # noqa: E402

from models import offline, small_models  # noqa: E402

HerdMaker = Callable[..., Herd]

# Mounts of the camera that most tests share.
MOUNTS = (
    f"demo,video={VTEST},gop=2",
    f"second,video={VTEST},gop=2,seconds=20,size=640x480",
    f"third,video={VTEST},gop=1,seconds=20,size=320x240",
    f"h265,codec=h265,video={VTEST},seconds=10,size=640x480,bframes=2",
    f"mjpeg,codec=mjpeg,video={VTEST},seconds=6,size=640x480",
    f"bframes,video={VTEST},seconds=20,bframes=3",
    f"gop48,video={VTEST},fps=25/2,gop=4.8,seconds=48",
    "audio,codec=audio",
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tells fixtures whether the test failed."""
    report = (yield).get_result()
    if report.failed:
        item.stash[FAILED] = True
        item.session.stash[FAILED] = True


FAILED = pytest.StashKey[bool]()


def new_herd(folder: Path, keep_frames: bool = False, **settings: str) -> Herd:
    """A herd with small models; `keep_frames`: all that was ever spooled gets a
    second name in `folder`/kept."""
    folder.mkdir(parents=True, exist_ok=True)
    models = small_models(folder)
    preload = {}
    if keep_frames:
        (folder / "kept").mkdir()
        preload = {"LD_PRELOAD": str(KEEP_FRAMES), "KEEP_FRAMES_DIR": str(folder / "kept")}
    settings.setdefault("INFERENCE_MODELS_DIR", str(models))
    herd = Herd(folder, settings, preload)
    herd.environment.update(offline(folder / "wheels"))
    return herd


def end_herd(herd: Herd, failed: bool) -> None:
    """The checks at the end of every test, and the end of the services."""
    try:
        herd.check_accounting()
        herd.stop()
        wait_for(lambda: not herd.processes(), 5, lambda: f"no process: {herd.processes()}")
    except BaseException:
        failed = True
        raise
    finally:
        herd.kill_all()
        if failed:
            for name in SERVICES:
                print(f"==== {herd.services[name].log}, the end\n{herd.tail(name, 30)}")
        else:
            shutil.rmtree(herd.folder, ignore_errors=True)


@pytest.fixture
def make_herd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HerdMaker]:
    """Makes and starts herds; at the end their accounting is checked and they
    are stopped."""
    herds: list[Herd] = []

    def make(keep_frames: bool = False, start: bool = True, **settings: str) -> Herd:
        herd = new_herd(tmp_path / f"herd{len(herds)}", keep_frames, **settings)
        herds.append(herd)
        return herd.start() if start else herd

    yield make
    for herd in herds:
        end_herd(herd, request.node.stash.get(FAILED, False))


@pytest.fixture
def herd(make_herd: HerdMaker) -> Herd:
    """A running herd with small models."""
    return make_herd()


@pytest.fixture(scope="module")
def module_herd(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Herd]:
    """One herd for the tests of a file that leave nothing behind."""
    herd = new_herd(tmp_path_factory.mktemp("module"))
    try:
        herd.start()
        yield herd
    finally:
        end_herd(herd, request.session.stash.get(FAILED, False))


@pytest.fixture(autouse=True)
def accounting_at_the_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks the shared herd's accounting after each of its tests too."""
    shared: Any = None
    if "module_herd" in request.fixturenames:
        shared = request.getfixturevalue("module_herd")
    yield
    if shared is not None:
        shared.check_accounting()


@pytest.fixture(scope="session")
def camera() -> Iterator[Camera]:
    """The camera that tests share: MOUNTS, no credentials."""
    with Camera(*MOUNTS) as shared:
        yield shared
