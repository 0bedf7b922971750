# SPDX-License-Identifier: Apache-2.0
"""What every model's run_inference.py shares: A's runner and the worker.

A model is a function that loads and returns a detector:

    def load(options: Options) -> Detector: ...

    Detector = (jpeg: bytes, min_score: float, nms_iou: float)
               -> list of (class name, score 0..1, (x1, y1, x2, y2)), or None
                  where the JPEG cannot be decoded; boxes in pixels of the
                  picture, after NMS.

The wire. Messages travel both ways over one stream socket, whose file
descriptor is given as `--worker FD`. All integers are big-endian.

    +----------------+--------------------+--------+--------+----
    | u32 length n   | n bytes of JSON    | blob 0 | blob 1 | ...
    +----------------+--------------------+--------+--------+----
      1..1 MiB         UTF-8, an object;    lengths: the header's "blobs",
                       "type" says which    each 0..16 MiB, at most 64

    service -> worker
      {"type": "configure", "protocol": 1, "model": str, "weights": str,
       "width": int, "height": int, "threads": int, "classes": [str],
       "blobs": []}
      {"type": "batch", "id": int, "deadline_seconds": float,
       "min_score": float, "nms_iou": float, "blobs": [int]}    blobs: JPEGs
    worker -> service
      {"type": "hello", "protocol": 1, "model": str, "classes": [str],
       "device": str, "blobs": []}                              once, loaded
      {"type": "result", "id": int, "undecodable": [picture], "detections":
       [{"picture": int, "class": str, "confidence": float,
         "box": [x1, y1, x2, y2]}], "blobs": []}
      {"type": "error", "id": int, "reason": str, "blobs": []}

`id` 0 in an error: the model could not be loaded. A worker that is out of
memory exits without an answer. End of file: the service is gone, the worker
exits. Standard output and error are log text.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROTOCOL = 1
MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 16 << 20
MAX_BLOBS = 64

Detection = tuple[str, float, tuple[float, float, float, float]]
Detector = Callable[[bytes, float, float], "list[Detection] | None"]


@dataclass(frozen=True)
class Options:
    """What a model is loaded with."""

    weights: Path | None
    # Input size in pixels; what the model was made for.
    width: int
    height: int
    threads: int
    # Classes that are kept, all others can be left out.
    classes: Sequence[str]


@dataclass(frozen=True)
class Model:
    """A model as its run_inference.py declares it."""

    name: str
    section: str
    classes: Sequence[str]
    load: Callable[[Options], Detector]
    weights: str = ""
    width: int = 640
    height: int = 640
    min_score: float = 0.25
    nms_iou: float = 0.7
    device: str = "cpu"


class ProtocolError(Exception):
    """The peer sent what the drawing above does not allow."""


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return bytes(data)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """Reads one message: its header and its blobs."""
    (length,) = struct.unpack(">I", _read_exactly(sock, 4))
    if not 1 <= length <= MAX_HEADER_BYTES:
        raise ProtocolError(f"header of {length} bytes")
    header = json.loads(_read_exactly(sock, length))
    if not isinstance(header, dict):
        raise ProtocolError("header is no object")
    sizes = header.get("blobs", [])
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS:
        raise ProtocolError("blobs is no list of at most 64")
    for size in sizes:
        if not isinstance(size, int) or not 0 <= size <= MAX_BLOB_BYTES:
            raise ProtocolError(f"blob of {size} bytes")
    return header, [_read_exactly(sock, size) for size in sizes]


def send(sock: socket.socket, header: dict[str, Any]) -> None:
    """Writes one message without blobs."""
    data = json.dumps({**header, "blobs": []}, allow_nan=False).encode()
    if len(data) > MAX_HEADER_BYTES:
        raise ProtocolError(f"header of {len(data)} bytes")
    sock.sendall(struct.pack(">I", len(data)) + data)


def _detect(detector: Detector, header: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + float(header["deadline_seconds"])
    detections: list[dict[str, Any]] = []
    undecodable: list[int] = []
    for picture, jpeg in enumerate(blobs):
        if time.monotonic() > deadline:
            raise TimeoutError(f"deadline passed after {picture} of {len(blobs)} pictures")
        found = detector(jpeg, float(header["min_score"]), float(header["nms_iou"]))
        if found is None:
            undecodable.append(picture)
            continue
        for name, score, box in found:
            detections.append(
                {
                    "picture": picture,
                    "class": str(name),
                    "confidence": float(score),
                    "box": [float(side) for side in box],
                }
            )
    return {"undecodable": undecodable, "detections": detections}


def _is_out_of_memory(error: Exception) -> bool:
    # torch, OpenCV and ONNX Runtime say it in words: "can't allocate memory",
    # "Failed to allocate", "bad allocation".
    return isinstance(error, MemoryError) or "alloc" in str(error)


def _work(model: Model, sock: socket.socket) -> int:
    header, _ = receive(sock)
    if header.get("type") != "configure" or header.get("protocol") != PROTOCOL:
        raise ProtocolError(f"expected configure of protocol {PROTOCOL}, got {header.get('type')}")
    options = Options(
        weights=Path(header["weights"]) if header["weights"] else None,
        width=int(header["width"]),
        height=int(header["height"]),
        threads=int(header["threads"]),
        classes=list(header["classes"]),
    )
    try:
        detector = model.load(options)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        send(sock, {"type": "error", "id": 0, "reason": reason[:2000]})
        return 1
    send(
        sock,
        {
            "type": "hello",
            "protocol": PROTOCOL,
            "model": model.name,
            "classes": list(model.classes),
            "device": model.device,
        },
    )
    while True:
        header, blobs = receive(sock)
        if header.get("type") != "batch":
            raise ProtocolError(f"expected batch, got {header.get('type')}")
        try:
            answer = {"type": "result", "id": header["id"], **_detect(detector, header, blobs)}
        except Exception as error:
            traceback.print_exc()
            if _is_out_of_memory(error):
                # What it holds it would hold for every batch to come.
                return 1
            reason = f"{type(error).__name__}: {error}"
            answer = {"type": "error", "id": header["id"], "reason": reason[:2000]}
        send(sock, answer)


def _find_weights(model: Model, folder: Path) -> Path | None:
    if not model.weights:
        return None
    for place in (folder, Path(os.environ.get("CAMHERD_WEIGHTS_DIR") or folder)):
        if (place / model.weights).is_file():
            return place / model.weights
    raise FileNotFoundError(f"put {model.weights} into {folder} or $CAMHERD_WEIGHTS_DIR")


def _print_section(model: Model, folder: Path, pictures: Sequence[str]) -> int:
    options = Options(
        weights=_find_weights(model, folder),
        width=model.width,
        height=model.height,
        threads=int(os.environ.get("CAMHERD_WORKER_THREADS", "1")),
        classes=model.classes,
    )
    # What a library prints must not mix with the JSON.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    detector = model.load(options)
    detections: list[dict[str, Any]] = []
    failed = 0
    for path in pictures:
        found = detector(Path(path).read_bytes(), model.min_score, model.nms_iou)
        if found is None:
            print(f"{path}: cannot be decoded", file=sys.stderr)
            failed = 1
            continue
        for name, score, box in sorted(found, key=lambda one: -one[1]):
            detections.append(
                {
                    "class": name,
                    "confidence": round(float(score), 4),
                    "box": [round(float(side)) for side in box],
                }
            )
    json.dump({model.section: {"detections": detections}}, out, indent=2)
    out.write("\n")
    out.close()
    return failed


def run(model: Model, script: str, arguments: Sequence[str] | None = None) -> int:
    """The main of the run_inference.py at `script`; returns the exit code."""
    folder = Path(script).resolve().parent
    parser = argparse.ArgumentParser(description=f"Runs the model {model.name}.")
    parser.add_argument("pictures", nargs="*", help="JPEG files; the section is printed as JSON")
    parser.add_argument("--worker", type=int, metavar="FD", help="serve on this socket instead")
    parsed = parser.parse_args(arguments)
    if parsed.worker is None:
        if not parsed.pictures:
            parser.error("give at least one picture, or --worker FD")
        return _print_section(model, folder, parsed.pictures)
    with socket.socket(fileno=parsed.worker) as sock:
        sock.setblocking(True)
        try:
            return _work(model, sock)
        except (EOFError, ConnectionError):
            return 0
