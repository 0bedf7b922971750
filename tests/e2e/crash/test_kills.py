# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of any process at any instant, again and again: nothing accepted is
lost, nothing is recorded twice, and every stream goes on in its session."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, import_protos, wait_for
from test_restarts import drain
from test_workers import workers

STREAMS = ("one", "two", "three")
VICTIMS = ("capture", "worker", "inference", "aggregator", "gateway")
SETTINGS = {
    "CAPTURE_WORKER_PROCESSES": "2",
    "CAPTURE_ADMISSION": "off",
    "AGGREGATOR_PREDICTIONS_SYNC_SECONDS": "0.2",
}


def sleep(seconds: float) -> None:
    """Lets time pass: the instant is what the test is about."""
    threading.Event().wait(seconds)


def captured(herd: Herd) -> dict[str, tuple[str, int]] | None:
    """Of each stream, its session and the frames captured; asked of the
    service itself, since the gateway may be away. None: no answer."""
    import grpc
    from camherd.v1 import capture_service_pb2, stream_pb2

    try:
        with herd.stub("capture") as capture:
            listed = capture.ListStreams(
                capture_service_pb2.ListStreamsRequest(page_size=100), timeout=5
            ).streams
    except grpc.RpcError:
        return None
    found = {}
    for stream in listed:
        a = stream.accounting
        assert a.due == a.captured + sum(a.missed.values()), a
        rest = a.recorded + sum(a.dropped.values()) + a.spooled + a.ranked_only
        assert a.captured == rest, a
        assert stream.desired_running
        if stream.state == stream_pb2.STREAM_STATE_RUNNING:
            found[stream.process_name] = (stream.session_id, a.captured)
    return found


def kill(herd: Herd, victim: str, chance: random.Random) -> None:
    """SIGKILL to a process; what is not there any more is not killed."""
    if victim == "worker":
        if not herd.services["capture"].running:
            return
        pids = workers(herd)
        if pids:
            os.kill(chance.choice(pids), signal.SIGKILL)
    elif herd.services[victim].running:
        herd.kill(victim)


def store_batches(herd: Herd) -> Counter[tuple[str, int]]:
    """(session, batch_seq) of all records in the store."""
    from camherd.v1 import aggregator_service_pb2

    batches: Counter[tuple[str, int]] = Counter()
    token = ""
    with herd.stub("aggregator") as aggregator:
        while True:
            page = aggregator.ListRecords(
                aggregator_service_pb2.ListRecordsRequest(page_size=200, page_token=token),
                timeout=30,
            )
            batches.update((r.session_id, r.batch_seq) for r in page.records)
            token = page.next_page_token
            if not token:
                return batches


def check_pictures(herd: Herd, lines: list[dict[str, Any]]) -> None:
    """Each line's picture is a frame that was spooled."""
    kept = {hashlib.sha256(path.read_bytes()).digest() for path in (herd.folder / "kept").iterdir()}
    for line in lines:
        picture = base64.b64decode(line["basic"]["frame_base64"])
        assert hashlib.sha256(picture).digest() in kept, line["meta"]


def run_rounds(herd: Herd, rounds: int, seed: int) -> Counter[str]:
    """Kills, starts anew, and waits until all streams have captured more."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    sessions = {name: s for name, (s, _) in captured(herd).items()}
    for number in range(rounds):
        victims = chance.sample(VICTIMS, chance.choice((1, 1, 1, 2, 2, 3)))
        print(f"round {number}: {' '.join(victims)}")
        for victim in victims:
            sleep(chance.uniform(0, 0.3))
            kill(herd, victim, chance)
            killed[victim] += 1
        sleep(chance.choice((0, 0, chance.uniform(0, 0.3))))
        herd.start()
        before = wait_for(lambda: captured(herd), 20, "capture answers")
        last: list[Any] = []

        def going_on(before: Any = before, last: list[Any] = last) -> bool:  # noqa: ANN401
            now = captured(herd)
            last[:] = [before, now]
            return now is not None and all(
                name in now and now[name][1] > before.get(name, ("", 0))[1] for name in STREAMS
            )

        wait_for(going_on, 30, lambda last=last: f"all streams capture: {last}")
        assert {name: s for name, (s, _) in captured(herd).items()} == sessions
    return killed


def check_kills(make_herd: HerdMaker, rounds: int) -> None:
    """`rounds` rounds on one herd, then everything is accounted for."""
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"KILL_SEED={seed}")
    import_protos()
    mounts = [f"{name},video={VTEST},gop=0.2,seconds=10,size=320x240" for name in STREAMS]
    with Camera(*mounts) as camera:
        herd = make_herd(keep_frames=True, **SETTINGS)
        for name in STREAMS:
            fields = {"interval_seconds": 0.1, "batch_size": 3, "models": ["people"]}
            herd.start_stream(camera.url(name), camera_id=name, **fields)
        herd.wait_records(2)
        start = time.monotonic()
        killed = run_rounds(herd, rounds, seed)
        print(f"{rounds} rounds in {time.monotonic() - start:.0f} s: {dict(killed)}")
        wait_for(lambda: herd.get("/readyz").status == 200, 20, "ready")
        # What waited while one of them was away.
        drain(herd, list(STREAMS), 60 + rounds)
        lines = herd.lines()
        in_file = Counter((x["meta"]["session_id"], x["meta"]["batch_seq"]) for x in lines)
        assert set(in_file.values()) == {1}
        assert store_batches(herd) == in_file
        check_pictures(herd, lines)
        torn = list(Path(herd.data).glob("predictions.json.*"))
        print(f"{len(lines)} records, {len(torn)} torn tails")


def test_processes_killed_at_random_instants_lose_and_repeat_nothing(
    make_herd: HerdMaker,
) -> None:
    check_kills(make_herd, 30)


@pytest.mark.long
def test_a_thousand_rounds_of_kills_lose_and_repeat_nothing(make_herd: HerdMaker) -> None:
    check_kills(make_herd, 1000)
