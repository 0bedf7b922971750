# SPDX-License-Identifier: Apache-2.0
"""No damaged picture is stored, whatever is lost on the way from the camera.

The camera's pictures carry their number as black and white blocks, so each
stored frame is compared with the very picture it claims to be. The similarity
is taken tile by tile: a strip that was concealed, or moved by what it refers to,
is seen however good the rest is.
"""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from camera import make_loop, parse_mount
from conftest import HerdMaker
from harness import LOOPS, VTEST, Camera, Herd, wait_for
from misbehave import Misbehaving, Options
from records import kept_frames, spooled_frames

WIDTH, HEIGHT, FPS, SECONDS = 480, 360, 10, 10
BLOCK, BITS = 16, 7
TILE = 40
# Everything moves, so that a picture made with a wrong reference is wrong
# everywhere; then the number, and below it each bit's opposite.
BLOCKS = ",".join(
    f"drawbox=x={BLOCK * bit}:y={BLOCK * row}:w={BLOCK}:h={BLOCK}:t=fill:color={colour}"
    f":enable='eq(mod(floor(n/{1 << bit})\\,2)\\,{value})'"
    for bit in range(BITS)
    for row in (0, 1)
    for value, colour in ((row, "black"), (1 - row, "white"))
)
PICTURE = f"scale={WIDTH}:{HEIGHT},scroll=horizontal=0.02,{BLOCKS}"
COMMON = f"video={VTEST},fps={FPS},gop=1,seconds={SECONDS},filter={PICTURE}"
MOUNTS = {
    "h264": f"h264,{COMMON}",
    "slices": f"slices,slices=4,{COMMON}",
    "bframes": f"bframes,bframes=2,{COMMON}",
    "h265": f"h265,codec=h265,{COMMON}",
    "mjpeg": f"mjpeg,codec=mjpeg,{COMMON}",
}
# How similar a stored frame must be to what the camera sent, all of it and its
# worst tile. JPEG of quality 85 leaves 0.974 and 0.949 at the least; damage that
# an eye sees takes some tile below 0.8.
SIMILAR, SIMILAR_TILE = 0.95, 0.9


@dataclass
class Way:
    """How the pictures of one stream come."""

    mount: str
    transport: str
    mode: str
    interval: float
    loss: float
    cut: float

    @property
    def name(self) -> str:
        """Its camera id."""
        return f"{self.mount}-{self.transport}-{self.mode}"


def numbered_pictures(mount: str) -> list[np.ndarray]:
    """Luma of each of a mount's pictures as every decoder gives it, 0..255."""
    parsed = parse_mount(mount)
    loop = make_loop(parsed, LOOPS)
    form = {"h265": "hevc", "mjpeg": "mjpeg"}.get(parsed.codec, "h264")
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-f", form, "-i", "-", "-vf", "extractplanes=y"]
        + ["-vsync", "passthrough", "-f", "rawvideo", "-"],
        input=b"".join(loop.units),
        check=True,
        capture_output=True,
    )
    shape = (-1, HEIGHT, WIDTH)
    planes = np.frombuffer(done.stdout, np.uint8).reshape(shape).astype(np.float32)
    if parsed.codec != "mjpeg":  # Limited range.
        planes = np.clip((planes - 16) * 255 / 219, 0, 255)
    pictures: list[np.ndarray] = [np.zeros(0)] * len(planes)
    for plane in planes:
        pictures[number_of(plane)] = plane
    assert all(picture.size for picture in pictures), "each number once"
    return pictures


def number_of(picture: np.ndarray) -> int:
    """The number in the blocks; -1: they contradict each other."""
    rows = picture[: 2 * BLOCK, : BITS * BLOCK].reshape(2, BLOCK, BITS, BLOCK)
    bits = rows[:, 4:-4, :, 4:-4].mean(axis=(1, 3)) > 128
    if (bits[0] == bits[1]).any():
        return -1
    return int((bits[0] * (1 << np.arange(BITS))).sum())


def similarity(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """SSIM (Wang 2004, uniform 8x8 windows) of two pictures, and of the tiles
    that are least alike."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (8, 8))

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    above = (2 * ma * mb + c1) * (2 * vab + c2)
    ssim = above / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    tiles = ssim.reshape(HEIGHT // TILE, TILE, WIDTH // TILE, TILE).mean(axis=(1, 3))
    return float(ssim.mean()), float(tiles.min())


def judge(jpeg: bytes, pictures: list[np.ndarray]) -> tuple[float, float]:
    """Similarity of a stored frame to the picture it claims to be."""
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if frame is None or frame.shape != (HEIGHT, WIDTH):
        return 0.0, 0.0
    frame = frame.astype(np.float32)
    number = number_of(frame)
    if not 0 <= number < len(pictures):
        return 0.0, 0.0
    return similarity(frame, pictures[number])


def ways() -> list[Way]:
    """Codecs, transports and modes, all of them with losses."""
    found = []
    for mount in MOUNTS:
        for transport in ("tcp", "udp"):
            for mode, interval in (("keyframe", 1.0), ("exact", 0.2), ("full", 0.2)):
                if mount == "mjpeg" and mode != "exact":
                    continue
                # What is cut out of a connection costs its framing, and seconds;
                # a datagram comes whole or not at all.
                cut = 0.0005 if transport == "tcp" else 0.0
                found.append(Way(mount, transport, mode, interval, 0.01, cut))
    return found


def start_ways(herd: Herd, camera: Camera, stack: ExitStack) -> None:
    """Starts a stream for each way, with a relay of its own before the camera."""
    for seed, way in enumerate(ways()):
        options = Options("lossy", target=str(camera.port), loss=way.loss, cut=way.cut, seed=seed)
        relay = stack.enter_context(Misbehaving(options))
        body = {
            "rtsp_url": relay.url(way.mount),
            "camera_id": way.name,
            "interval_seconds": way.interval,
            "sampling_mode": way.mode,
            "transport": way.transport,
        }
        answer = herd.request("POST", "/api/v1/streams", body)
        assert answer.status == 201, answer.text


def judge_frames(make_herd: HerdMaker, wanted: int, timeout: float) -> None:
    """Collects so many frames over lossy ways, and looks at each."""
    herd = make_herd(keep_frames=True)
    with Camera(*MOUNTS.values()) as camera, ExitStack() as stack:
        start_ways(herd, camera, stack)

        def captured() -> int:
            return sum(s["accounting"]["captured"] for s in herd.streams())

        wait_for(lambda: captured() >= wanted, timeout, lambda: f"{captured()} frames", every=0.5)
        for way in ways():
            herd.request("POST", f"/api/v1/streams/{way.name}/stop")
        wait_for(lambda: all(s["state"] == "stopped" for s in herd.streams()), 10, "all stopped")
    streams = {s["camera_id"]: s for s in herd.streams()}

    seen: dict[tuple[str, int], tuple[float, float]] = {}
    pictures = {name: numbered_pictures(mount) for name, mount in MOUNTS.items()}
    for way in ways():
        stream = streams[way.name]
        kept = kept_frames(herd.folder / "kept", stream["session_id"])
        frames = {**kept, **spooled_frames(herd.data, stream["session_id"])}
        assert len(frames) == stream["accounting"]["captured"]
        for number, jpeg in frames.items():
            seen[way.name, number] = judge(jpeg, pictures[way.mount])
    wrong = {
        frame: figures
        for frame, figures in seen.items()
        if figures[0] < SIMILAR or figures[1] < SIMILAR_TILE
    }
    lost = sum(s["accounting"]["missed"].get("corrupt", 0) for s in streams.values())
    figures = {
        "frames": len(seen),
        "wrong": len(wrong),
        "least_similar": round(min(whole for whole, _ in seen.values()), 3),
        "least_similar_tile": round(min(tile for _, tile in seen.values()), 3),
        "missed_corrupt": lost,
    }
    print(json.dumps(figures))
    assert len(seen) >= wanted
    assert not wrong, f"{figures} {list(wrong.items())[:20]}"
    # There was something to be left out, and it shows.
    assert lost > wanted / 20, figures
    counted = re.search(
        r'camherd_capture_frames_missed_total\{reason="corrupt"\} (\d+)', herd.metrics("capture")
    )
    assert counted is not None
    assert int(counted[1]) == lost


def test_no_damaged_picture_is_stored(make_herd: HerdMaker) -> None:
    judge_frames(make_herd, 500, 60)


@pytest.mark.long
def test_no_damaged_picture_is_among_ten_thousand(make_herd: HerdMaker) -> None:
    judge_frames(make_herd, 10_000, 600)
