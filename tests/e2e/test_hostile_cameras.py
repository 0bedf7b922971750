# SPDX-License-Identifier: Apache-2.0
"""What is meant ill: URLs that no camera has, and cameras that want to be a
burden. Neither costs more than its own stream."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd, import_protos
from misbehave import Misbehaving, Options
from test_many_streams import processes, workers_lost

GOOD = f"good,video={VTEST},fps=10,gop=0.2,size=320x180,seconds=10"

# Odd URLs that lead to a listening port, where they lead anywhere.
ODD_URLS = {
    "no host": "rtsp://:{port}/x",
    "nothing": "rtsp://",
    "no host, user": "rtsp://u:p@:{port}/x",
    "port 0": "rtsp://127.0.0.1:0/x",
    "port 65536": "rtsp://127.0.0.1:65536/x",
    "port wraps around": "rtsp://127.0.0.1:{wrapped}/x",
    "port with sign": "rtsp://127.0.0.1:+{port}/x",
    "space": "rtsp://127.0.0.1:{port}/x y",
    "space in host": "rtsp://127.0.0.1 :{port}/x",
    "leading space": " rtsp://127.0.0.1:{port}/x",
    "newline": "rtsp://127.0.0.1:{port}/x\r\nX: y",
    "encoded newline": "rtsp://127.0.0.1:{port}/x%0d%0aX:%20y",
    "encoded newline in user": "rtsp://a%0a:b@127.0.0.1:{port}/x",
    "encoded newline in query": "rtsp://127.0.0.1:{port}/?x=%0ay",
    "NUL": "rtsp://127.0.0.1:{port}/x\0y",
    "encoded NUL": "rtsp://127.0.0.1:{port}/x%00y",
    "user twice": "rtsp://a:b@c:d@127.0.0.1:{port}/x",
    "user behind the host": "rtsp://127.0.0.1:{port}/x:canary@example",
    "decimal host": "rtsp://2130706433:{port}/x",
    "hexadecimal host": "rtsp://0x7f000001:{port}/x",
    "hexadecimal parts": "rtsp://0x7f.0.0.0x1:{port}/x",
    "octal host": "rtsp://0177.0.0.1:{port}/x",
    "short host": "rtsp://127.1:{port}/x",
    "encoded host": "rtsp://%31%32%37.0.0.1:{port}/x",
    "full-width digits": "rtsp://\uff11\uff12\uff17.0.0.1:{port}/x",
    "umlaut": "rtsp://k\u00e4mera:{port}/x",
    "IPv6 without brackets": "rtsp://::ffff:127.0.0.1:{port}/x",
    "bracket open": "rtsp://[::ffff:127.0.0.1:{port}/x",
    "bracket closed": "rtsp://::1]:{port}/x",
    "brackets twice": "rtsp://[[::ffff:127.0.0.1]]:{port}/x",
    "IPv4 in brackets": "rtsp://[127.0.0.1]:{port}/x",
    "IPv6 with zone": "rtsp://[fe80::1%25lo]:{port}/x",
    "IPv6, tail": "rtsp://[::ffff:127.0.0.1]x:{port}/x",
    "backslash": "rtsp://127.0.0.1:{port}\\x",
    "http": "http://127.0.0.1:{port}/x",
    "rtmp": "rtmp://127.0.0.1:{port}/x",
    "udp": "udp://127.0.0.1:{port}",
    "file": "file:///etc/passwd",
    "concat": "concat:rtsp://127.0.0.1:{port}/x|rtsp://127.0.0.1:{port}/y",
    "exec": "exec:true",
    "rtsp+tcp": "rtsp+tcp://127.0.0.1:{port}/x",
    "scheme relative": "//127.0.0.1:{port}/x",
    "one slash": "rtsp:/127.0.0.1:{port}/x",
    "fragment": "rtsp://127.0.0.1:{port}/x#y",
    "long password": "rtsp://u:canary{long}@127.0.0.1:{port}/x",
    "long path": "rtsp://127.0.0.1:{port}/{longer}?token=canary",
}


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that notes who connects: accept() then does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def test_odd_urls_are_refused_before_anything_is_connected_to(module_herd: Herd) -> None:
    herd = module_herd
    import_protos()
    import grpc
    from camherd.v1 import capture_service_pb2

    with listening() as listener, herd.stub("capture") as capture:
        port = listener.getsockname()[1]
        urls = {
            name: url.format(port=port, wrapped=port + 65536, long="x" * 300, longer="x" * 3000)
            for name, url in ODD_URLS.items()
        }
        calls = {
            "start": lambda url: capture.StartStream(
                capture_service_pb2.StartStreamRequest(rtsp_url=url), timeout=10
            ),
            "probe": lambda url: list(
                capture.ProbeSource(
                    capture_service_pb2.ProbeSourceRequest(rtsp_url=url), timeout=10
                )
            ),
        }
        megabyte = f"rtsp://u:canary@127.0.0.1:{port}/{'x' * (1 << 20)}"
        for name, url in {**urls, "a megabyte": megabyte}.items():
            for what, call in calls.items():
                with pytest.raises(grpc.RpcError) as raised:
                    call(url)
                assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (name, what)
                details = raised.value.details()
                assert "rtsp_url" in details and "canary" not in details, (name, details)
                assert len(details) < 500, name
        for name, url in urls.items():
            for path in ("/start_stream", "/api/v1/streams", "/api/v1/probe"):
                answer = herd.request("POST", path, {"rtsp_url": url})
                assert answer.status == 400, (name, path, answer.text)
                assert "rtsp_url" in answer.text and "canary" not in answer.text, (name, path)
        answer = herd.request("POST", "/api/v1/streams", {"rtsp_url": megabyte})
        assert answer.status == 413
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert herd.streams() == []
    assert "canary" not in herd.log("capture") + herd.log("gateway")


def test_the_url_of_a_running_stream_cannot_become_an_odd_one(herd: Herd) -> None:
    with Camera(GOOD) as camera, listening() as listener:
        herd.start_stream(camera.url("good"), camera_id="one", interval=0.5)
        herd.wait_captured("one", 1)
        port = listener.getsockname()[1]
        for name in ("newline", "encoded newline", "decimal host", "user twice", "file"):
            url = ODD_URLS[name].format(port=port)
            answer = herd.request("PATCH", "/api/v1/streams/one", {"rtsp_url": url})
            assert answer.status == 400, (name, answer.text)
        with pytest.raises(BlockingIOError):
            listener.accept()
        stream = herd.wait_captured("one", 3)
    assert (stream["connects"], stream["state"]) == (1, "running")


def test_no_camera_is_looked_for_on_loopback_where_that_is_not_allowed(
    make_herd: HerdMaker,
) -> None:
    # The gateway may be reached from elsewhere: whoever does so must not see
    # what listens on this host only.
    herd = make_herd(start=False)
    reachable = {"CAMHERD_GATEWAY_LISTEN": "0.0.0.0:0,0.0.0.0:0", "CAMHERD_GATEWAY_AUTH": "none"}
    herd.environment.update(reachable)
    herd.start()
    with listening() as listener:
        port = listener.getsockname()[1]
        hosts = ["127.0.0.1", "localhost", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"]
        hosts += ["0.0.0.0", "169.254.169.254", "[fd00:ec2::254]", "224.0.0.1", "[::]"]
        for n, host in enumerate(hosts):
            fields = {"rtsp_url": f"rtsp://{host}:{port}/x", "camera_id": f"camera-{n}"}
            answer = herd.request("POST", "/api/v1/streams", fields)
            if answer.status == 201:
                stream = herd.wait_stream(
                    f"camera-{n}", lambda s: s["next_retry_at"], 20, f"{host} refused"
                )
                told = stream["state_reason"]
            else:
                assert answer.status in (400, 403), answer.text
                told = answer.text
            assert re.search("address", told), (host, told)
            assert re.search("allow_networks|metadata", told), (host, told)
        with pytest.raises(BlockingIOError):
            listener.accept()


@dataclass
class Hostile:
    """One of misbehave.py's cameras, and what has to be said of it."""

    options: Options
    state: str
    reason: str = ""
    # Among the reasons of missed samples.
    missed: str = ""


HOSTILE = {
    # Read byte by byte: the deadline may come first.
    "endless headers": Hostile(
        Options("endless-headers"), "reconnecting", "more than 4 MiB|not answer within"
    ),
    "2 GB of SDP": Hostile(Options("endless-sdp"), "reconnecting", "more than 4 MiB"),
    "3,000 tracks": Hostile(Options("many-tracks"), "reconnecting", "sent no picture"),
    "packets without end": Hostile(
        Options("endless-packets"), "reconnecting", "MiB for one picture"
    ),
    "a keyframe without end": Hostile(
        Options("endless-keyframe"), "reconnecting", "MiB for one picture"
    ),
    "pictures without end": Hostile(Options("flood"), "running"),
    "pictures of 16384x16384": Hostile(
        Options("huge-picture", target="16384x16384"), "running", missed="decode_error"
    ),
    "pictures of 8192x8192": Hostile(
        Options("huge-picture", target="8192x8192"), "running", missed="decode_error"
    ),
}
# Of a process, at any time.
MOST_MIB = 256


def most_memory_mib(pid: int) -> float:
    """The most that was ever resident of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def test_a_hostile_camera_costs_no_more_than_its_own_stream(
    make_herd: HerdMaker,
) -> None:
    herd = make_herd(
        CAPTURE_WORKER_PROCESSES="1",
        CAPTURE_STALL_TIMEOUT_SECONDS="10",
        CAPTURE_CONNECT_TIMEOUT_SECONDS="4",
    )
    with Camera(GOOD) as camera:
        herd.start_stream(camera.url("good"), camera_id="good", interval=0.5, models=[])
        # It may have missed some until its first connection.
        missed = herd.wait_captured("good", 3)["accounting"]["missed"]
        figures = {}
        for name, hostile in HOSTILE.items():
            with Misbehaving(hostile.options) as server:
                begin = time.monotonic()
                before = herd.stream("good")["accounting"]["captured"]
                herd.start_stream(server.url(), camera_id="hostile", interval=0.5, models=[])
                stream = herd.wait_stream(
                    "hostile",
                    lambda s, h=hostile: (
                        s["state"] == h.state
                        and re.search(h.reason, s["state_reason"])
                        and (not h.missed or h.missed in s["accounting"]["missed"])
                    ),
                    30,
                    name,
                )
                # While it goes on, the other camera does.
                herd.wait_captured("good", before + 5, 20)
                took = time.monotonic() - begin
                assert stream["state_since"] and stream["desired_running"]
                stop = time.monotonic()
                herd.stop_stream("hostile")
                stopped = time.monotonic() - stop
                assert stopped < 5, name
                assert herd.request("DELETE", "/api/v1/streams/hostile").status == 204
            memory = max(map(most_memory_mib, processes(herd)))
            figures[name] = (round(took, 1), round(stopped, 1), round(memory))
            assert memory < MOST_MIB, (name, figures)
            assert workers_lost(herd) == 0, name
        print(figures)
        good = herd.stream("good")
        assert (good["connects"], good["disconnects"]) == (1, 0), good
        assert good["accounting"]["missed"] == missed, good["accounting"]
