# SPDX-License-Identifier: Apache-2.0
"""One camera's whole way to predictions.json, beside document A's flow."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from capture_rows import INTERVAL, capture_service, now
from inference_rows import inference_service, model_python
from measure import Contender, race, resident_mib, tree, tree_cpu_seconds
from rig import ROOT, Rig, Running, wait_for
from table import CAMHERD, Line, Say, race_lines


@contextlib.contextmanager
def _four_processes(rig: Rig, model: str, say: Say) -> Iterator[list[Running]]:
    """Aggregator, inference, capture and gateway, talking to each other."""
    data = rig.folder("whole")
    with contextlib.ExitStack() as stack:
        aggregator = stack.enter_context(
            rig.service("aggregator", rig.work / "aggregator.log", data, {})
        )
        inference = stack.enter_context(inference_service(rig, aggregator.address, [model], say))
        capture_process = stack.enter_context(
            capture_service(rig, inference.address, aggregator.address, data)
        )
        peers = {
            "listen": "127.0.0.1:0",
            "capture": capture_process.address,
            "inference": inference.address,
            "aggregator": aggregator.address,
        }
        gateway = stack.enter_context(rig.service("gateway", rig.work / "gateway.log", data, peers))
        yield [capture_process, inference, aggregator, gateway]


def _records(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _at_a_record(path: Path, count: int) -> None:
    """Waits until the file holds `count` records: a window ends with a batch."""
    wait_for(f"{path.name}: record {count}", lambda: _records(path) >= count, 120)


def _whole_camherd(
    rig: Rig, url: str, model: str, batches: int, say: Say
) -> tuple[float, dict[str, float]]:
    with _four_processes(rig, model, say) as processes:
        rig.start_stream(processes[0].address, url, "CAM-001", model)
        path = rig.work / "whole/predictions.json"
        _at_a_record(path, 1)
        before, start = [tree_cpu_seconds(p.pid) for p in processes], now()
        _at_a_record(path, 1 + batches)
        minutes = (now() - start) / 60
        costs = [
            (tree_cpu_seconds(p.pid) - cpu) / minutes
            for p, cpu in zip(processes, before, strict=True)
        ]
        names = ("capture", "inference", "aggregator", "gateway")
        notes = dict(zip(names, costs, strict=True))
        notes["MiB"] = resident_mib([pid for p in processes for pid in tree(p.pid)])
    return sum(costs), notes


@contextlib.contextmanager
def document_a(rig: Rig, runner: Sequence[str | Path]) -> Iterator[Running]:
    """A's flow in the folder `document_a`, without cameras yet."""
    script = ROOT / "tests/bench/document_a.py"
    command = ["/usr/bin/python3", script, rig.folder("document_a"), str(INTERVAL), *runner]
    with rig.run(command, rig.work / "document_a.log", stdin=subprocess.PIPE) as flow:
        try:
            yield flow
        finally:
            # It ends once its processes have; else it is ended by rig.run.
            flow.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                flow.process.wait(60)


def tell(flow: Running, order: str) -> None:
    """A line for document_a.py."""
    flow.process.stdin.write(order.encode() + b"\n")
    flow.process.stdin.flush()


def _whole_document_a(
    rig: Rig, url: str, model: str, batches: int
) -> tuple[float, dict[str, float]]:
    results = rig.work / "document_a/predictions.json"
    runner = [model_python(rig, model), ROOT / f"models/{model}/run_inference.py"]
    with document_a(rig, runner) as flow:
        tell(flow, f"start CAM-001 {url}")
        _at_a_record(results, 1)
        cpu, start = tree_cpu_seconds(flow.pid), now()
        _at_a_record(results, 1 + batches)
        cost = (tree_cpu_seconds(flow.pid) - cpu) / ((now() - start) / 60)
        notes = {"MiB": resident_mib(tree(flow.pid))}
    return cost, notes


def whole_way1(rig: Rig, say: Say, rounds: int, models: list[str]) -> list[Line]:
    """From camera to predictions.json: the four processes, and A's flow."""
    lines: list[Line] = []
    url, peer = rig.cameras(1)[0], "A's flow rebuilt"
    for model in models:
        result = race(
            [
                Contender(CAMHERD, lambda m=model: _whole_camherd(rig, url, m, 1, say)),
                Contender(peer, lambda m=model: _whole_document_a(rig, url, m, 1)),
            ],
            max(2, rounds // 2),
            say,
        )
        budgets = {peer: 1 / 12} if model == "animals" else {}
        found = race_lines(f"whole-way1 {model}", result, "CPU-s/cam-min", budgets)
        ours = result.samples[CAMHERD]
        parts = ("capture", "inference", "aggregator", "gateway")
        found[0].remark += "; " + ", ".join(f"{p} {ours.note(p):.2g}" for p in parts)
        for line in found:
            line.remark += f"; {result.samples[line.who].note('MiB'):.0f} MiB"
        lines += found
    return lines
