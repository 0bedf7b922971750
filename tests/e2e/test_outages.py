# SPDX-License-Identifier: Apache-2.0
"""Peers that are away, slow, refusing, or deliver twice and out of order: each
accepted batch is in the store once and in predictions.json once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import HerdMaker, end_herd, new_herd
from harness import Camera, Herd, import_protos, wait_for
from rpc_relay import RpcRelay

INTERVAL = 0.2
BATCH = 5
# What capture may grow by while its peers are away: spooled frames wait on the
# disk, of which there are more.
MAY_GROW = 16 << 20


@dataclass
class Site:
    """Services with a relay in front of inference and of the aggregator."""

    herd: Herd
    relays: dict[str, RpcRelay]
    # The streams that run, one after the other.
    streams: int = 0

    def start_streams(self, camera: Camera) -> list[str]:
        """Two new ones."""
        names = []
        for mount in ("demo", "second"):
            self.streams += 1
            names.append(f"CAM-{self.streams:03d}")
            answer = self.herd.request(
                "POST",
                "/api/v1/streams",
                {
                    "rtsp_url": camera.url(mount),
                    "camera_id": names[-1],
                    "interval_seconds": INTERVAL,
                    "batch_size": BATCH,
                    "models": ["animals"],
                },
            )
            assert answer.status == 201, answer.text
        for name in names:
            self.herd.wait_captured(name, 1)
        return names

    def take_away(self, *services: str) -> None:
        """They crash, and nobody answers at their address."""
        for name in services:
            self.herd.kill(name)
            self.relays[name].stop()

    def bring_back(self, *services: str) -> None:
        """On the addresses that they had."""
        for name in services:
            self.relays[name].start()
        self.herd.start(services)

    def capture_memory(self) -> int:
        """Resident bytes of the capture service and of its workers."""
        parent = self.herd.services["capture"].process.pid
        total = 0
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
            except OSError:
                continue
            if int(fields["Pid"]) == parent or int(fields["PPid"]) == parent:
                total += int(fields.get("VmRSS", "0 kB").split()[0]) << 10
        return total

    def end(self, names: list[str]) -> None:
        """Stops the streams, waits for the last record, and checks that nothing
        was lost and nothing came twice."""
        for name in names:
            assert self.herd.stop_stream(name).status in (200, 409)
        for relay in self.relays.values():
            relay.await_late()
        for name in names:
            stream = self.herd.wait_stream(name, lambda s: s["state"] == "stopped", 120)
            a = stream["accounting"]
            assert a["dropped"] == {}, a
            assert a["recorded"] == a["captured"] > 0, a
            session = stream["session_id"]

            def lines(session: str = session) -> list[dict]:
                return [x for x in self.herd.lines() if x["meta"]["session_id"] == session]

            wait_for(
                lambda lines=lines, a=a: (
                    sum(len(x["meta"]["frames"]) for x in lines()) == a["recorded"]
                ),
                20,
                lambda lines=lines, a=a: f"all frames in lines: {len(lines())} lines, {a}",
            )
            batches = sorted(x["meta"]["batch_seq"] for x in lines())
            assert batches == list(range(1, len(batches) + 1))
            frames = [f["frame_seq"] for x in lines() for f in x["meta"]["frames"]]
            assert len(frames) == len(set(frames))
            assert sorted(self.stored(session)) == batches
        self.herd.check_accounting()

    def stored(self, session: str) -> list[int]:
        """Numbers of a session's batches in the store."""
        import_protos()
        from camherd.v1 import aggregator_service_pb2

        found = []
        request = aggregator_service_pb2.ListRecordsRequest(page_size=1000, session_id=session)
        with self.herd.stub("aggregator") as stub:
            while True:
                page = stub.ListRecords(request, timeout=10)
                found += [record.batch_seq for record in page.records]
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator:
    """For all tests: each has streams of its own."""
    herd = new_herd(tmp_path_factory.mktemp("outages"))

    def target(name: str) -> str:
        return herd.services[name].addresses["grpc"][0]

    relays = {
        "inference": RpcRelay(lambda: target("inference"), ["/InferBatch"]),
        "aggregator": RpcRelay(lambda: target("aggregator"), ["/AddBatchResult"]),
    }
    herd.settings["CAPTURE_INFERENCE"] = relays["inference"].address
    herd.settings["INFERENCE_AGGREGATOR"] = relays["aggregator"].address
    herd.settings["CAPTURE_SEND_TIMEOUT_SECONDS"] = "2.5"
    herd.settings["INFERENCE_AGGREGATOR_TIMEOUT_SECONDS"] = "1"
    failed = True
    try:
        herd.start()
        yield Site(herd, relays)
        failed = request.session.testsfailed > 0
    finally:
        for relay in relays.values():
            relay.close()
        end_herd(herd, failed)


def away(site: Site, camera: Camera, services: list[str], seconds: float) -> None:
    """Takes services away for so long, and sees that capture goes on."""
    herd = site.herd
    names = site.start_streams(camera)
    herd.wait_records(len(herd.lines()) + 1)
    site.take_away(*services)
    start = time.monotonic()
    captured = {n: herd.stream(n)["accounting"]["captured"] for n in names}

    def passed(share: float) -> bool:
        return time.monotonic() > start + share * seconds

    # When what an outage needs once is there: a retry's state, its connection.
    wait_for(lambda: passed(0.3), seconds + 30)
    before = site.capture_memory()
    wait_for(lambda: passed(1), seconds + 30, every=0.2)
    grown = site.capture_memory() - before
    spooled = 0
    for name in names:
        stream = herd.stream(name)
        assert stream["state"] == "running", stream
        assert stream["sending_reason"], stream
        assert stream["accounting"]["captured"] - captured[name] > 0.5 * seconds / INTERVAL
        spooled += stream["spool_bytes"]
    herd.check_accounting()
    assert grown < MAY_GROW, f"{grown} bytes more, {spooled} spooled"
    site.bring_back(*services)
    site.end(names)
    print({"away": services, "seconds": seconds, "grown_bytes": grown, "spooled_bytes": spooled})


AWAY = (["inference"], ["aggregator"], ["aggregator", "inference"])


@pytest.mark.parametrize("services", AWAY, ids="+".join)
def test_what_is_captured_while_peers_are_away_is_recorded_once(
    site: Site, camera: Camera, services: list[str]
) -> None:
    away(site, camera, services, 2)


@pytest.mark.long
@pytest.mark.parametrize("services", AWAY, ids="+".join)
def test_peers_may_be_away_for_ten_minutes(site: Site, camera: Camera, services: list[str]) -> None:
    away(site, camera, services, 600)


# What calls meet on the way to inference, and to the aggregator.
HARMED = {
    "slow": (("slow",), ()),
    "refusing": (("refuse", "pass"), ("refuse", "pass")),
    "losing": (
        ("lost", "unanswered", "silent", "pass", "pass", "pass"),
        ("lost", "unanswered", "silent", "pass", "pass", "pass"),
    ),
    "twice-and-late": (
        ("twice", "both", "late", "again", "pass"),
        ("twice", "both", "late", "again", "pass"),
    ),
}
Harms = tuple[tuple[str, ...], tuple[str, ...]]


def harmed(site: Site, camera: Camera, harms: Harms, records: int) -> None:
    """Until so many batches are recorded, calls meet harms."""
    herd = site.herd
    relays = [site.relays["inference"], site.relays["aggregator"]]
    before = [dict(relay.counts) for relay in relays]
    names = site.start_streams(camera)
    with relays[0].harming(*harms[0]), relays[1].harming(*harms[1]):
        herd.wait_records(len(herd.lines()) + records, 30 + 6 * records)
    met = [
        {harm: count - old.get(harm, 0) for harm, count in relay.counts.items() if harm in set_}
        for relay, old, set_ in zip(relays, before, harms, strict=True)
    ]
    assert all(sum(m.values()) > 0 for m, set_ in zip(met, harms, strict=True) if set_), met
    site.end(names)
    print({"records": records, "met": met})


@pytest.mark.parametrize("harms", HARMED.values(), ids=HARMED.keys())
def test_batches_that_meet_harm_on_their_way_are_recorded_once(
    site: Site, camera: Camera, harms: Harms
) -> None:
    harmed(site, camera, harms, 4)


@pytest.mark.long
@pytest.mark.parametrize("harms", HARMED.values(), ids=HARMED.keys())
def test_many_batches_that_meet_harm_are_recorded_once(
    site: Site, camera: Camera, harms: Harms
) -> None:
    harmed(site, camera, harms, 200)


@pytest.mark.long
def test_a_stream_samples_less_often_before_its_frames_are_dropped(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(CAPTURE_SPOOL_STREAM_MAX_BYTES="6MiB")
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=INTERVAL)
    herd.wait_records(1)
    herd.kill("inference")
    seen = set()

    def widened() -> bool:
        stream = herd.stream("CAM-001")
        assert stream["interval_seconds"] == INTERVAL
        assert stream["accounting"]["dropped"] == {}, stream
        factor = round(stream["effective_interval_seconds"] / INTERVAL)
        seen.add(factor)
        assert factor == 1 or "while the spool is filled" in stream["state_reason"], stream
        return factor >= 8

    wait_for(widened, 60, lambda: f"widened: {seen}")
    assert seen == {1, 2, 4, 8}, seen
    assert "camherd_capture_widened_streams 1" in herd.metrics("capture")
    # What falls due is that of the interval that holds.
    before, start = herd.stream("CAM-001"), time.monotonic()
    wait_for(lambda: time.monotonic() > start + 8, 10)
    after = herd.stream("CAM-001")
    due = after["accounting"]["due"] - before["accounting"]["due"]
    assert 8 / (16 * INTERVAL) - 2 <= due <= 8 / (8 * INTERVAL) + 2, due
    herd.restart("inference")
    herd.wait_stream("CAM-001", lambda s: s["effective_interval_seconds"] == INTERVAL, 30)
    assert "camherd_capture_widened_streams 0" in herd.metrics("capture")
    herd.stop_stream("CAM-001")
    stream = herd.wait_stream("CAM-001", lambda s: s["state"] == "stopped", 60)
    assert stream["accounting"]["dropped"] == {}, stream
    print({"due_in_8_seconds": due, "accounting": stream["accounting"]})


def test_a_disk_that_is_low_is_not_ready_and_one_that_is_full_takes_no_picture(
    make_herd: HerdMaker, camera: Camera
) -> None:
    """By watermarks that no disk has room for."""
    herd = make_herd(CAPTURE_LOW_DISK_BYTES="512TiB", CAPTURE_FULL_DISK_BYTES="0")

    def reason() -> str:
        answer = herd.get("/readyz")
        return answer.json["services"]["capture"]["reason"] if answer.status == 503 else ""

    wait_for(lambda: "capture.low_disk_bytes" in reason(), 10, reason)
    # It goes on.
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=INTERVAL)
    herd.wait_captured("CAM-001", 5)
    herd.terminate("capture")
    herd.settings["CAPTURE_FULL_DISK_BYTES"] = "512TiB"
    herd.start()
    stream = herd.wait_stream(
        "CAM-001", lambda s: s["accounting"]["missed"].get("disk_full", 0) > 5, 30
    )
    assert "the disk is full" in stream["state_reason"], stream
    herd.terminate("capture")
    herd.settings["CAPTURE_LOW_DISK_BYTES"] = herd.settings["CAPTURE_FULL_DISK_BYTES"] = "0"
    herd.start()
    wait_for(lambda: herd.get("/readyz").status == 200, 15, "ready again")
    herd.wait_captured("CAM-001", stream["accounting"]["captured"] + 3)
