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
stall          passes --target through, and after --seconds no byte any more
cut            passes --target through, and closes after --seconds

Standard library only; `Misbehaving` is the same as a class, for tests.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass

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
    "stall",
    "cut",
)
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


@dataclass
class Options:
    """What the server does wrong, and when."""

    mode: str
    # Port of the real camera (stall, cut) or URL to redirect to.
    target: str = ""
    code: int = 453
    method: str = "DESCRIBE"
    seconds: float = 2.0
    encoding: str = "H264"


class Misbehaving:
    """One misbehaving camera on 127.0.0.1, from construction to close()."""

    def __init__(self, options: Options, port: int = 0) -> None:
        self._options = options
        self._closing = threading.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        if options.mode != "refuse":  # A bound port that nobody listens on.
            self._socket.listen(64)
            threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "cam") -> str:
        """An address of this camera."""
        return f"rtsp://127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        """Ends it, its connections too."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Misbehaving:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        mode = self._options.mode
        with connection, contextlib.suppress(OSError):
            if mode == "silent":
                self._closing.wait()
            elif mode == "close":
                pass
            elif mode == "garbage":
                connection.sendall(b"\x00\x01\x02 this is no RTSP \xff\xfe\r\n" * 64)
                self._closing.wait(1.0)
            elif mode in ("stall", "cut"):
                self._pass_through(connection)
            else:
                self._talk(connection)

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
            self._answer(connection, method, cseq)

    def _answer(self, connection: socket.socket, method: str, cseq: str) -> None:
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

    def _pass_through(self, client: socket.socket) -> None:
        """A proxy before a real camera that goes wrong after a while."""
        options = self._options
        end = time.monotonic() + options.seconds
        with socket.create_connection(("127.0.0.1", int(options.target))) as camera:
            peers = {client: camera, camera: client}
            while not self._closing.is_set():
                left = end - time.monotonic()
                if left <= 0:
                    if options.mode == "stall":
                        self._closing.wait()
                    return
                for ready in select.select(list(peers), [], [], min(left, 0.2))[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    peers[ready].sendall(data)


def main() -> int:
    """Runs one of them until it is killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--target", default="", help="camera's port, or a URL")
    parser.add_argument("--code", type=int, default=453)
    parser.add_argument("--method", default="DESCRIBE")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--encoding", default="H264")
    args = parser.parse_args()
    options = Options(args.mode, args.target, args.code, args.method, args.seconds)
    options.encoding = args.encoding
    with Misbehaving(options, args.port) as server:
        print(f"ready port={server.port}", flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
