#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cameras that misbehave: small socket servers, one fault each.

    misbehave.py silent
    ready port=43211

refuse         the port is taken, and every connection refused
silent         accepts and says nothing
close          accepts and closes
garbage        answers what is no RTSP
redirect       302 to --target
redirect-loop  302 to itself
endless-sdp    DESCRIBE with a Content-Length of 2,000,000,000, sent slowly
status         answers --method (DESCRIBE, SETUP, PLAY) with --code
sdp            offers video of --encoding only, such as VP8
huge-sdp       DESCRIBE with 20 MB of attributes and no video
pass           passes --target through
stall          passes --target through, and after --seconds no byte any more
cut            passes --target through, and closes after --seconds
reset          resets every connection
unreachable    answers no SYN, as if there were no such host
lossy          passes --target through; of the RTP packets the share --loss is
               lost and the share --cut cut short
jump           passes --target through; time stamps jump every --seconds
renumber       passes --target through; after --seconds the packets' numbers go
               back by 20,000
headless       passes --target through without keyframes for --seconds
endless-headers  DESCRIBE answered by headers that do not end
many-tracks    3,000 video tracks
udp-source     SETUP over UDP that names --target, host:port, for the packets
endless-packets  after PLAY packets of 65,535 bytes for a channel of nobody's,
               without end, as fast as they are taken
endless-keyframe  after PLAY one keyframe in as many packets
flood          after PLAY a tiny picture in each packet, as many
huge-picture   after PLAY a small H.264 stream that claims --target, such as
               16384x16384, for the size of its pictures

A server can become another one: connections that are passed through end as the
new one's do, or go on under its rules.

Standard library only; `Misbehaving` is the same as a class, for tests.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import select
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass

from relay import Harm, Relay, headless, jumping, lossy, renumbering

MODES = (
    "refuse",
    "silent",
    "close",
    "garbage",
    "redirect",
    "redirect-loop",
    "endless-sdp",
    "status",
    "sdp",
    "huge-sdp",
    "pass",
    "stall",
    "cut",
    "reset",
    "unreachable",
    "lossy",
    "jump",
    "renumber",
    "headless",
    "endless-headers",
    "many-tracks",
    "udp-source",
    "endless-packets",
    "endless-keyframe",
    "flood",
    "huge-picture",
)
# A camera is behind them.
PASSING = ("pass", "stall", "cut", "lossy", "jump", "renumber", "headless")
REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    453: "Not Enough Bandwidth",
    455: "Method Not Valid in This State",
    503: "Service Unavailable",
}
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 {encoding}/90000\r\n"
    "a=control:track0\r\n"
)


class Bits:
    """Writes the fields of an H.264 parameter set (ITU-T H.264 §7.3)."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, width: int, value: int) -> Bits:
        """A field of so many bits."""
        self._bits += f"{value:0{width}b}"
        return self

    def ue(self, *values: int) -> Bits:
        """Exp-Golomb codes."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code
        return self

    def nal(self, header: int) -> bytes:
        """The NAL unit, ended and without its start code."""
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
        # No byte sequence may look like a start code.
        return bytes([header]) + re.sub(rb"\0\0([\0-\3])", b"\0\0\3\\1", payload)


def parameter_sets(width: int, height: int) -> list[bytes]:
    """SPS and PPS of Baseline profile for pictures of that size."""
    sps = Bits().u(8, 66).u(8, 0xC0).u(8, 62)
    # id, frame numbers of 4 bits, picture order by decoding, one reference.
    sps.ue(0, 0, 2, 1).u(1, 0).ue(width // 16 - 1, height // 16 - 1)
    # Frames only, direct 8x8, no cropping, no VUI.
    sps.u(1, 1).u(1, 1).u(1, 0).u(1, 0)
    pps = Bits().ue(0, 0).u(1, 0).u(1, 0).ue(0, 0, 0).u(1, 0).u(2, 0)
    pps.ue(0, 0, 0).u(1, 0).u(1, 0).u(1, 0)
    return [sps.nal(0x67), pps.nal(0x68)]


def keyframe_slice(number: int) -> bytes:
    """An I slice of an IDR picture whose macroblocks soon end."""
    # First macroblock, type I, PPS, frame number, IDR id, no marking, QP.
    bits = Bits().ue(0, 7, 0).u(4, 0).ue(number % 2).u(1, 0).u(1, 0).ue(0)
    for _ in range(32):
        bits.ue(3).ue(0, 0, 0)
    return bits.nal(0x65)


def rtp(payload: bytes, sequence: int, timestamp: int, marker: bool) -> bytes:
    """An interleaved RTP packet (RFC 2326 §10.12, RFC 3550 §5.1)."""
    packet = struct.pack(
        ">BBHII", 0x80, 96 | marker << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 1
    )
    return b"$\0" + struct.pack(">H", len(packet) + len(payload)) + packet + payload


@dataclass
class Options:
    """What the server does wrong, and when."""

    mode: str
    # Port of the real camera, URL to redirect to, host:port for packets, or size.
    target: str = ""
    code: int = 453
    method: str = "DESCRIBE"
    seconds: float = 2.0
    encoding: str = "H264"
    loss: float = 0.0
    cut: float = 0.0
    # Of what is lost and cut.
    seed: int = 1

    def harm(self) -> Harm:
        """What happens to RTP from now on."""
        if self.mode == "lossy":
            return lossy(self.loss, self.cut, self.seed)
        if self.mode == "jump":
            return jumping(self.seconds)
        if self.mode == "renumber":
            return renumbering(self.seconds)
        if self.mode == "headless":
            return headless(self.seconds)
        return lambda packet: packet


class Misbehaving:
    """One misbehaving camera on an address of this machine, from construction
    to close()."""

    def __init__(self, options: Options, port: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
        self._closing = threading.Event()
        self.port = port
        self.connections = 0
        self._fillers: list[socket.socket] = []
        self._listen(options)

    def url(self, path: str = "cam") -> str:
        """An address of this camera."""
        return f"rtsp://{self.host}:{self.port}/{path}"

    def become(self, options: Options) -> None:
        """Does something else wrong, or nothing, from now on."""
        self._unlisten()
        self._listen(options)

    def close(self) -> None:
        """Ends it, its connections too."""
        self._closing.set()
        self._unlisten()

    def __enter__(self) -> Misbehaving:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, options: Options) -> None:
        self._options = options
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self.host, self.port))
        self.port = self._socket.getsockname()[1]
        if options.mode == "refuse":
            return  # A bound port that nobody listens on.
        if options.mode == "unreachable":
            # Where nobody accepts and the queue is full, SYNs are dropped.
            self._socket.listen(0)
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((self.host, self.port))
                self._fillers.append(filler)
            return
        self._socket.listen(64)
        threading.Thread(target=self._accept, args=[self._socket], daemon=True).start()

    def _unlisten(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        mode = self._options.mode
        with connection, contextlib.suppress(OSError):
            if mode == "silent":
                self._hold(connection)
            elif mode == "close":
                pass
            elif mode == "reset":
                self._reset(connection)
            elif mode == "garbage":
                connection.sendall(b"\x00\x01\x02 this is no RTSP \xff\xfe\r\n" * 64)
                self._closing.wait(1.0)
            elif mode in PASSING:
                self._pass_through(connection)
            else:
                self._talk(connection)

    def _hold(self, connection: socket.socket) -> None:
        """Says nothing until the client goes."""
        while not self._closing.is_set():
            if select.select([connection], [], [], 0.2)[0] and not connection.recv(65536):
                return

    @staticmethod
    def _reset(connection: socket.socket) -> None:
        """Ends it by RST."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _talk(self, connection: socket.socket) -> None:
        """Answers requests as a camera would, but for the fault."""
        pending = b""
        while not self._closing.is_set():
            while b"\r\n\r\n" not in pending:
                data = connection.recv(4096)
                if not data:
                    return
                pending += data
            head, pending = pending.split(b"\r\n\r\n", 1)
            method = head.split(b" ", 1)[0].decode("ascii", "replace")
            found = re.search(rb"CSeq: *(\d+)", head, re.IGNORECASE)
            cseq = found.group(1).decode() if found else "0"
            self._answer(connection, method, cseq, head)
            if method == "PLAY":
                self._play(connection)

    def _answer(self, connection: socket.socket, method: str, cseq: str, head: bytes) -> None:
        options = self._options

        def reply(status: str, headers: str = "", body: str = "") -> None:
            text = f"RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}"
            if body:
                text += f"Content-Length: {len(body)}\r\n"
            connection.sendall(f"{text}\r\n{body}".encode())

        if options.mode == "status" and method == options.method:
            extra = ""
            if options.code == 401:
                extra = 'WWW-Authenticate: Basic realm="test"\r\n'
            reply(f"{options.code} {REASONS.get(options.code, 'Error')}", extra)
        elif options.mode.startswith("redirect") and method == "DESCRIBE":
            target = options.target if options.mode == "redirect" else self.url("again")
            reply("302 Moved Temporarily", f"Location: {target}\r\n")
        elif options.mode == "endless-sdp" and method == "DESCRIBE":
            headers = "Content-Type: application/sdp\r\nContent-Length: 2000000000\r\n"
            reply("200 OK", headers)
            while not self._closing.wait(0.01):
                connection.sendall(b"a=x:" + b"y" * 60000 + b"\r\n")
        elif options.mode == "huge-sdp" and method == "DESCRIBE":
            sdp = SDP.partition("m=")[0] + ("a=x:" + "y" * 1000 + "\r\n") * 20_000
            reply("200 OK", "Content-Type: application/sdp\r\n", sdp)
        elif options.mode == "endless-headers" and method == "DESCRIBE":
            connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n".encode())
            while not self._closing.is_set():
                connection.sendall(b"X-More: and more\r\n" * 4096)
        elif options.mode == "many-tracks" and method == "DESCRIBE":
            head_lines, track = SDP.format(encoding="H264").split("m=", 1)
            sdp = head_lines + "".join(
                "m=" + track.replace("track0", f"track{n}") for n in range(3000)
            )
            reply("200 OK", "Content-Type: application/sdp\r\n", sdp)
        elif options.mode == "udp-source" and method == "SETUP":
            host, port = options.target.rsplit(":", 1)
            asked = re.search(rb"client_port=(\d+-\d+)", head)
            ports = asked.group(1).decode() if asked else "1-2"
            transport = f"Transport: RTP/AVP/UDP;unicast;client_port={ports};source={host}"
            reply("200 OK", f"{transport};server_port={port}-{int(port) + 1}\r\nSession: 1\r\n")
        elif method == "OPTIONS":
            reply("200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")
        elif method == "DESCRIBE":
            sdp = SDP.format(encoding=options.encoding)
            reply("200 OK", "Content-Type: application/sdp\r\n", sdp)
        elif method == "SETUP":
            transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            reply("200 OK", f"{transport}Session: 1\r\n")
        else:
            reply("200 OK", "Session: 1\r\n")

    def _play(self, connection: socket.socket) -> None:
        """What comes after PLAY, where there is anything."""
        mode = self._options.mode
        noise = bytes(0x80 | n * 37 & 0x7F for n in range(65535 - 14))
        sequence = 0

        def send(payload: bytes, timestamp: int, marker: bool = True) -> bytes:
            nonlocal sequence
            sequence += 1
            return rtp(payload, sequence, timestamp, marker)

        if mode == "endless-packets":
            packet = b"$\x4d\xff\xff" + b"\xa5" * 65535
            while not self._closing.is_set():
                connection.sendall(packet * 16)
        elif mode == "endless-keyframe":
            for nal in parameter_sets(320, 240):
                connection.sendall(send(nal, 0, marker=False))
            # Fragments (RFC 6184 §5.8): the first says so, none is the last.
            connection.sendall(send(b"\x7c\x85" + keyframe_slice(0)[1:], 0, marker=False))
            while not self._closing.is_set():
                connection.sendall(send(b"\x7c\x05" + noise, 0, marker=False))
        elif mode in ("flood", "huge-picture"):
            width, _, height = (self._options.target or "320x240").partition("x")
            size = int(width), int(height)
            number = 0
            while not self._closing.wait(0 if mode == "flood" else 0.1):
                data = b""
                for _ in range(500 if mode == "flood" else 1):
                    number += 1
                    nals = [*parameter_sets(*size), keyframe_slice(number)]
                    for nal in nals:
                        data += send(nal, number * 9000, marker=nal is nals[-1])
                connection.sendall(data)

    def _pass_through(self, client: socket.socket) -> None:
        """Stands before a real camera, and goes wrong when it is told to."""
        target = int(self._options.target)
        begin = time.monotonic()
        options = None
        with (
            socket.create_connection(("127.0.0.1", target)) as camera,
            contextlib.closing(Relay(client, camera)) as relay,
        ):
            while not self._closing.is_set():
                if options is not self._options:
                    options = self._options
                    harm = options.harm()
                late = time.monotonic() - begin >= options.seconds
                if options.mode == "reset":
                    return self._reset(client)
                if options.mode in ("silent", "unreachable") or (options.mode == "stall" and late):
                    break
                if options.mode not in PASSING or (options.mode == "cut" and late):
                    return None
                if not relay.step(0.1, harm):
                    return None
        # The camera has gone; its client is not told.
        return self._hold(client)


def main() -> int:
    """Runs one of them until it is killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--target", default="", help="camera's port, URL, host:port, or size")
    parser.add_argument("--code", type=int, default=453)
    parser.add_argument("--method", default="DESCRIBE")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--encoding", default="H264")
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--cut", type=float, default=0.0)
    args = parser.parse_args()
    options = Options(
        **{name: value for name, value in vars(args).items() if name != "port"},
    )
    with Misbehaving(options, args.port) as server:
        print(f"ready port={server.port}", flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
