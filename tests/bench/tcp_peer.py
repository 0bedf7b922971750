#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The floor under the RPC row: the same bytes through a plain TCP socket.

    tcp_peer.py BATCHES FRAMES FRAME_BYTES
    {"batches": 200, "client_cpu_seconds": 0.1, "server_cpu_seconds": 0.1}

Two processes; each batch is written frame by frame and answered with 1 byte.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time


def serve(connection: socket.socket, batch_bytes: int, warm_up: int) -> float:
    """Takes batches until the end of file; CPU seconds after the warm-up."""
    pending, view = 0, memoryview(bytearray(1 << 18))
    taken, start = 0, 0.0
    while True:
        count = connection.recv_into(view)
        if count == 0:
            return time.process_time() - start
        pending += count
        if pending == batch_bytes:
            pending = 0
            taken += 1
            connection.sendall(b"k")
            if taken == warm_up:
                start = time.process_time()


def main() -> int:
    """Forks the server, sends the batches, prints the costs."""
    batches, frames, frame_bytes = (int(text) for text in sys.argv[1:4])
    warm_up = batches // 10 + 1
    listener = socket.create_server(("127.0.0.1", 0))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        connection, _ = listener.accept()
        cost = serve(connection, frames * frame_bytes, warm_up)
        os.write(writer, f"{cost:.6f}".encode())
        os._exit(0)
    connection = socket.create_connection(listener.getsockname())
    jpeg, start = os.urandom(frame_bytes), 0.0
    for number in range(warm_up + batches):
        if number == warm_up:
            start = time.process_time()
        for _ in range(frames):
            connection.sendall(jpeg)
        connection.recv(1)
    client = time.process_time() - start
    connection.close()
    server = float(os.read(reader, 64))
    os.waitpid(child, 0)
    costs = {"client_cpu_seconds": round(client, 6), "server_cpu_seconds": server}
    print(json.dumps({"batches": batches, **costs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
