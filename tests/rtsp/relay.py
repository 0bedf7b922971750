# SPDX-License-Identifier: Apache-2.0
"""Passes one RTSP connection on to a real camera, and harms RTP on its way.

RTP is harmed packet by packet, interleaved in the connection or over UDP; what
else the two say to each other arrives as it was. Standard library only.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from random import Random

# A packet as it goes on; empty: it is lost.
Harm = Callable[[bytes], bytes]

RTP_HEADER = 12
CLOCK = 90000
# What `jumping` adds to the time stamps, seconds, one after the other.
JUMPS = (0, 3600, -3600, 5, -5)


def lossy(loss: float, cut: float, seed: int) -> Harm:
    """Loses a share of the packets, and cuts another share short."""
    random = Random(seed)

    def harm(packet: bytes) -> bytes:
        chance = random.random()
        if chance < loss:
            return b""
        if chance < loss + cut and len(packet) > RTP_HEADER + 3:
            return packet[: random.randrange(RTP_HEADER + 3, len(packet))]
        return packet

    return harm


def jumping(seconds: float) -> Harm:
    """Every so many seconds the time stamps jump, forwards or back."""
    begin = time.monotonic()

    def harm(packet: bytes) -> bytes:
        jump = JUMPS[int((time.monotonic() - begin) / seconds) % len(JUMPS)]
        stamp = int.from_bytes(packet[4:8], "big") + jump * CLOCK
        return packet[:4] + (stamp % (1 << 32)).to_bytes(4, "big") + packet[8:]

    return harm


def renumbering(seconds: float) -> Harm:
    """Once, after so many seconds, the packets' numbers go back."""
    end = time.monotonic() + seconds

    def harm(packet: bytes) -> bytes:
        back = 20_000 if time.monotonic() >= end else 0
        number = (int.from_bytes(packet[2:4], "big") - back) % (1 << 16)
        return packet[:2] + number.to_bytes(2, "big") + packet[4:]

    return harm


def headless(seconds: float) -> Harm:
    """H.264 keyframes and parameter sets are lost for so long (RFC 6184 §5.2)."""
    end = time.monotonic() + seconds
    stap_a, fu_a, keyframe, parameter_sets = 24, 28, 5, (7, 8)

    def harm(packet: bytes) -> bytes:
        kind = packet[RTP_HEADER] & 31
        if kind == fu_a:
            kind = packet[RTP_HEADER + 1] & 31
        lost = kind in (stap_a, keyframe, *parameter_sets)
        return b"" if lost and time.monotonic() < end else packet

    return harm


class Splitter:
    """Splits what one side sends into messages and interleaved packets (RFC
    2326 §10.12)."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The whole ones there are now."""
        self._pending += data
        while (size := self._size()) <= len(self._pending):
            yield self._pending[:size]
            self._pending = self._pending[size:]

    def _size(self) -> int:
        """Bytes of the first one; more than there are: not known yet."""
        pending = self._pending
        if pending[:1] == b"$":
            return 4 + int.from_bytes(pending[2:4], "big") if len(pending) >= 4 else 4
        end = pending.find(b"\r\n\r\n")
        if end < 0:
            return len(pending) + 1
        body = re.search(rb"\r\nContent-Length: *(\d+)", pending[:end], re.IGNORECASE)
        return end + 4 + (int(body[1]) if body else 0)


class UdpPorts:
    """Two ports of ours between the two of a client and the two of a camera."""

    def __init__(self, client_ports: tuple[int, int]) -> None:
        self._client = client_ports
        self._camera: tuple[int, int] | None = None
        self.sockets: list[socket.socket] = []
        while not self.sockets:
            # RTCP's is the one after RTP's.
            rtp, rtcp = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
            rtp.bind(("127.0.0.1", 0))
            try:
                rtcp.bind(("127.0.0.1", rtp.getsockname()[1] + 1))
                self.sockets = [rtp, rtcp]
            except (OSError, OverflowError):
                rtp.close()
                rtcp.close()

    def ask(self, setup: bytes) -> bytes:
        """A client's SETUP as the camera gets it."""
        return re.sub(rb"client_port=[\d-]+", b"client_port=" + self._pair(), setup)

    def answer(self, setup: bytes) -> bytes:
        """The camera's answer as the client gets it."""
        found = re.search(rb"server_port=(\d+)-(\d+)", setup)
        if found:
            self._camera = (int(found[1]), int(found[2]))
        asked = b"client_port=%d-%d" % self._client
        text = re.sub(rb"client_port=[\d-]+", asked, setup)
        return re.sub(rb"server_port=[\d-]+", b"server_port=" + self._pair(), text)

    def pass_on(self, index: int, harm: Harm) -> None:
        """What has come to a socket of ours."""
        packet, (_, port) = self.sockets[index].recvfrom(65536)
        if port in self._client:
            if self._camera is not None:
                self.sockets[index].sendto(packet, ("127.0.0.1", self._camera[index]))
            return
        if index == 0:
            packet = harm(packet)
        if packet:
            self.sockets[index].sendto(packet, ("127.0.0.1", self._client[index]))

    def close(self) -> None:
        """Frees the ports."""
        for one in self.sockets:
            one.close()

    def _pair(self) -> bytes:
        return b"%d-%d" % tuple(one.getsockname()[1] for one in self.sockets)


class Relay:
    """One connection between a client and a camera; `close` frees its ports,
    the connections are the caller's."""

    def __init__(self, client: socket.socket, camera: socket.socket) -> None:
        self._client, self._camera = client, camera
        self._splitters = {client: Splitter(), camera: Splitter()}
        self._udp: UdpPorts | None = None

    def step(self, timeout: float, harm: Harm) -> bool:
        """Passes on what comes within `timeout` seconds; False: one of them has
        closed."""
        udp = self._udp.sockets if self._udp else []
        for ready in select.select([*self._splitters, *udp], [], [], timeout)[0]:
            if ready in udp:
                # A port that nobody listens on any more answers with an error.
                with contextlib.suppress(ConnectionRefusedError):
                    self._udp.pass_on(udp.index(ready), harm)
                continue
            data = ready.recv(65536)
            if not data:
                return False
            units = self._splitters[ready].feed(data)
            if ready is self._client:
                self._camera.sendall(b"".join(map(self._ask, units)))
            else:
                self._client.sendall(b"".join(self._answer(unit, harm) for unit in units))
        return True

    def close(self) -> None:
        """Frees what it took."""
        if self._udp is not None:
            self._udp.close()

    def _ask(self, unit: bytes) -> bytes:
        ports = re.search(rb"client_port=(\d+)-(\d+)", unit)
        if unit.startswith(b"SETUP ") and ports:
            self.close()
            self._udp = UdpPorts((int(ports[1]), int(ports[2])))
            return self._udp.ask(unit)
        return unit

    def _answer(self, unit: bytes, harm: Harm) -> bytes:
        if unit[:1] != b"$":
            return self._udp.answer(unit) if self._udp else unit
        if unit[1] % 2:  # RTCP
            return unit
        packet = harm(unit[4:])
        # The length stays: what was cut off is missing in the connection.
        return unit[:4] + packet if packet else b""
