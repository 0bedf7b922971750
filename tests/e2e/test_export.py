# SPDX-License-Identifier: Apache-2.0
"""A large store out to a file and in again: in little memory, by every way."""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
from conftest import HerdMaker
from harness import BUILD, Herd, import_protos, wait_for

MIB = 1 << 20
RECORDS = 700
PICTURE_BYTES = 225_000
# What a transfer may take of memory: some records, the windows of the
# connections, and what the allocator keeps: 60 MiB at times. The file has 200.
MOST_BYTES = 96 * MIB
# A program of its own, libraries and all.
PROGRAM_BYTES = 128 * MIB
# What the same transfer once more may add.
MORE_BYTES = 8 * MIB


def write_old_file(path: Path) -> None:
    """A predictions.json as document A wrote it, of about 200 MiB."""
    noise = random.Random(1).randbytes(PICTURE_BYTES)
    with path.open("w") as out:
        for number in range(RECORDS):
            jpeg = b"\xff\xd8\xff" + number.to_bytes(4, "big") + noise
            record = {
                "basic": {
                    "camID": f"CAM-{number % 7:03d}",
                    "Latitude": 26.4499,
                    "Longitude": 80.3319,
                    "Date": "08/10/2025",
                    "timestamp": f"{number // 60:02d}:{number % 60:02d}:10",
                    "IP": "192.168.1.101",
                    "complaint_type": {"stray_animal": 1, "pothole": 0},
                    "frame_base64": base64.b64encode(jpeg).decode(),
                },
                "stray_animal": {
                    "detections": [{"class": "dog", "confidence": 0.9, "box": [1, 2, 30, 40]}]
                },
                "pothole": None,
            }
            out.write(json.dumps(record) + "\n")


def peak_memory(pid: int) -> int:
    """The most memory that a process has had, bytes; 0: it has none any more."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def run_import(herd: Herd, file: Path, *more: str) -> tuple[int, str, int]:
    """`camherd-aggregator import`: exit code, what it said, its most memory."""
    command = [str(BUILD / "bin" / "camherd-aggregator"), "import", str(file)]
    with (herd.folder / "import.log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(herd.data), *more],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
        peak = 0

        def ended() -> bool:
            nonlocal peak
            peak = max(peak, peak_memory(process.pid))
            return process.poll() is not None

        wait_for(ended, 120, "the import's end", every=0.01)
        log.seek(0)
        return process.returncode, log.read(), peak


class Memory:
    """The most memory that the services take from now on."""

    def __init__(self, herd: Herd, names: tuple[str, ...]) -> None:
        self.pids = {name: herd.services[name].process.pid for name in names}
        for pid in self.pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self.before = self.peaks()

    def peaks(self) -> dict[str, int]:
        """By service, bytes."""
        return {name: peak_memory(pid) for name, pid in self.pids.items()}

    def check(self, what: str, most: int) -> None:
        """Fails where one has grown by more than `most` bytes."""
        grown = {name: peak - self.before[name] for name, peak in self.peaks().items()}
        print(f"{what}: grown by, in MiB:", {k: round(v / MIB, 1) for k, v in grown.items()})
        assert max(grown.values()) <= most, (what, grown)


def by_rest(herd: Herd) -> Iterator[bytes]:
    """The pieces of an export's file."""
    connection = http.client.HTTPConnection("127.0.0.1", herd.port(), timeout=60)
    connection.request("GET", "/api/v1/records/export?format=jsonl")
    answer = connection.getresponse()
    assert answer.status == 200
    while piece := answer.read(MIB):
        yield piece
    connection.close()


def by_rpc(herd: Herd) -> Iterator[bytes]:
    """The same by gRPC."""
    import_protos()
    from camherd.v1 import aggregator_service_pb2 as pb
    from camherd.v1 import aggregator_service_pb2_grpc as pb_grpc

    with grpc.insecure_channel(herd.services["aggregator"].addresses["grpc"][0]) as channel:
        request = pb.ExportRecordsRequest(format=pb.EXPORT_FORMAT_JSONL)
        for answer in pb_grpc.AggregatorServiceStub(channel).ExportRecords(request):
            yield answer.chunk


def test_a_large_store_goes_out_and_in_again_in_little_memory(make_herd: HerdMaker) -> None:
    herd = make_herd(start=False)
    old = herd.folder / "old.json"
    write_old_file(old)
    assert old.stat().st_size > 200 * MIB

    # In, without the service.
    code, said, peak = run_import(herd, old)
    print(f"import without the service: at most {peak / MIB:.1f} MiB")
    assert code == 0, said
    assert f"{RECORDS} records imported, 0 there already, 0 faults" in said
    assert peak < PROGRAM_BYTES

    # Out, by REST and by gRPC.
    herd.start(("aggregator", "gateway"))
    herd.get("/api/v1/records")
    memory = Memory(herd, ("aggregator", "gateway"))
    exported = herd.folder / "exported.jsonl"
    with exported.open("wb") as out:
        for piece in by_rest(herd):
            out.write(piece)
    memory.check("export by REST", MOST_BYTES)
    memory = Memory(herd, ("aggregator", "gateway"))
    with exported.open("rb") as file:
        for export in (by_rest, by_rpc):
            file.seek(0)
            for piece in export(herd):
                assert file.read(len(piece)) == piece
            assert not file.read(1)
    memory.check("the same again, and by gRPC", MORE_BYTES)
    with exported.open() as lines, old.open() as old_lines:
        for line, old_line in zip(lines, old_lines, strict=True):
            assert line.startswith(old_line.rstrip("}\n") + ', "meta": {')

    # In again, through the service: all of it is there.
    memory = Memory(herd, ("aggregator",))
    address = herd.services["aggregator"].addresses["grpc"][0]
    code, said, peak = run_import(herd, exported, "--address", address)
    print(f"import through the service: at most {peak / MIB:.1f} MiB")
    assert code == 0, said
    assert f"0 records imported, {RECORDS} there already, 0 faults" in said
    assert peak < PROGRAM_BYTES
    memory.check("import through the service", MOST_BYTES)
    # None of them came to be a line.
    assert herd.lines() == []
