# SPDX-License-Identifier: Apache-2.0
"""The gateway: what it adds to an RPC, and whether it lets anyone starve."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from pathlib import Path

from measure import Weather
from rig import BenchError, Rig, Running, wait_for
from table import CAMHERD, Line, Say

CALLS = 3000
CLIENTS = 64
VIEWERS = 32
# What they watch: a 1080p picture each INTERVAL seconds, each keyframe of the clip.
STREAMS = 4
INTERVAL = 2
SECONDS = 6
WATCHED = 14
# Added to the direct RPC's p99, milliseconds.
ADDED = 2.0
# An ordinary request beside whatever else goes on, milliseconds.
WORST = 1000.0
PLAIN = "plain cpp-httplib handler"

Figures = dict[str, float]


def rest(rig: Rig, say: Say, rounds: int) -> list[Line]:
    """Added latency, requests a second, and both kinds of clients at once."""
    program = rig.program("camherd_bench_rest")
    backend = rig.null_backend().address
    data = rig.folder("rest")
    weather = Weather()
    with (
        rig.service(
            "capture",
            data / "capture.log",
            data / "capture",
            {"inference": backend, "aggregator": backend},
        ) as capture,
        rig.service(
            "gateway",
            data / "gateway.log",
            data / "gateway",
            {
                "listen": "127.0.0.1:0",
                "capture": capture.address,
                "inference": backend,
                "aggregator": backend,
            },
        ) as gateway,
        rig.server(
            [program, "plain"], data / "plain.log", re.compile(r"^serving (\S+)$", re.MULTILINE)
        ) as plain,
    ):
        lines = _latency(program, gateway, capture, rounds, say)
        lines += _requests(program, gateway, plain, rounds, say)
        lines += _together(rig, program, gateway, capture, rounds, say)
    _, foreign = weather.read()
    if foreign > 0.1:
        lines[0].remark += f"; DISTURBED: others used {foreign:.0%} of the machine"
    return lines


def _printed(process: subprocess.Popen[str]) -> dict[str, Figures]:
    output, _ = process.communicate(timeout=120)
    if process.returncode != 0:
        raise BenchError(f"{process.args}: exited {process.returncode}")
    return json.loads(output)


def _start(program: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([str(program), *map(str, words)], stdout=subprocess.PIPE, text=True)


def _verdict(figure: float, budget: float) -> str:
    return f"budget {budget:g} ms: {'met' if figure <= budget else 'MISSED'}"


def _latency(
    program: Path, gateway: Running, capture: Running, rounds: int, say: Say
) -> list[Line]:
    added, rpc, through, usual = [], [], [], []
    for _ in range(rounds):
        one = _printed(_start(program, "latency", gateway.address, capture.address, CALLS))
        rpc.append(one["rpc"]["p99"])
        through.append(one["rest"]["p99"])
        added.append(one["rest"]["p99"] - one["rpc"]["p99"])
        usual.append(one["rest"]["p50"] - one["rpc"]["p50"])
        say(f"  p99: RPC {rpc[-1]:.3g} ms, REST {through[-1]:.3g} ms")
    found = statistics.median(added)
    remark = (
        f"{min(added):.3g} to {max(added):.3g}; p50 {statistics.median(usual):.3g}; "
        f"ListStreams by RPC p99 {statistics.median(rpc):.3g} ms, "
        f"by REST {statistics.median(through):.3g}; {_verdict(found, ADDED)}"
    )
    return [Line("rest", "added to the RPC, p99", found, "ms", remark=remark)]


def _requests(program: Path, gateway: Running, plain: Running, rounds: int, say: Say) -> list[Line]:
    figures: dict[str, list[Figures]] = {CAMHERD: [], PLAIN: []}
    for turn in range(rounds):
        servers = [(CAMHERD, gateway), (PLAIN, plain)]
        # A B B A.
        for name, server in servers if turn % 2 == 0 else reversed(servers):
            one = _printed(_start(program, "load", server.address, "/livez", CLIENTS, SECONDS))
            figures[name].append(one)
            say(f"  {name}: {one['per_second']:.0f} requests/s, p99 {one['p99']:.3g} ms")
    lines = []
    ours = statistics.median(one["per_second"] for one in figures[CAMHERD])
    for name, all_of_it in figures.items():
        rates = [one["per_second"] for one in all_of_it]
        line = Line("rest", f"{name}, {CLIENTS} clients", statistics.median(rates), "requests/s")
        line.remark = (
            f"{min(rates):.0f} to {max(rates):.0f}; "
            f"p99 {statistics.median(one['p99'] for one in all_of_it):.3g} ms; of one client "
            f"{min(one['least'] for one in all_of_it):.0f} to "
            f"{max(one['most'] for one in all_of_it):.0f} requests"
        )
        if name != CAMHERD:
            line.ratio = ours / line.cost
        lines.append(line)
    return lines


def _together(
    rig: Rig, program: Path, gateway: Running, capture: Running, rounds: int, say: Say
) -> list[Line]:
    names = [f"CAM-{n}" for n in range(STREAMS)]
    for name, url in zip(names, rig.cameras(STREAMS), strict=True):
        rig.start_stream(capture.address, url, name, "null", interval_seconds=INTERVAL)
    wait_for(
        "pictures of all cameras",
        lambda: all(s.accounting.captured > 1 for s in rig.streams(capture.address)),
    )
    alone, beside, shown = [], [], []
    load = ("load", gateway.address, "/api/v1/streams", CLIENTS, WATCHED - 2)
    watched = ",".join(f"/api/v1/streams/{name}/live.mjpeg" for name in names)
    for _ in range(rounds):
        alone.append(_printed(_start(program, *load)))
        viewers = _start(program, "watch", gateway.address, watched, VIEWERS, WATCHED)
        beside.append(_printed(_start(program, *load)))
        shown.append(_printed(viewers))
        say(
            f"  {CLIENTS} clients: worst {alone[-1]['worst']:.3g} ms, with {VIEWERS} viewers "
            f"{beside[-1]['worst']:.3g} ms; a viewer saw {shown[-1]['least']} to "
            f"{shown[-1]['most']} pictures"
        )
    for name in names:
        rig.delete_stream(capture.address, name)
    lines = []
    for who, all_of_it in (
        (f"{CLIENTS} clients", alone),
        (f"{CLIENTS} clients beside {VIEWERS} viewers of live.mjpeg", beside),
    ):
        worst = max(one["worst"] for one in all_of_it)
        remark = (
            f"p99 {statistics.median(one['p99'] for one in all_of_it):.3g} ms; of one client "
            f"{min(one['least'] for one in all_of_it):.0f} to "
            f"{max(one['most'] for one in all_of_it):.0f} requests; {_verdict(worst, WORST)}"
        )
        lines.append(
            Line("rest", f"{who}, worst of GET /api/v1/streams", worst, "ms", remark=remark)
        )
    least = min(one["least"] for one in shown)
    most = max(one["most"] for one in shown)
    # One may be missed at either end.
    fair = WATCHED // INTERVAL - 1
    remark = f"to {most}, in {WATCHED} s; starved: {'none' if least >= fair else 'SOME'}"
    lines.append(Line("rest", "the viewer with least", least, "pictures", remark=remark))
    return lines
