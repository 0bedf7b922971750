# SPDX-License-Identifier: Apache-2.0
"""CPU time of processes, and how contenders take turns.

Every figure is CPU time, user + sys, never wall time. Contenders are measured
one after the other in the order A B B A, so that what drifts on the machine
meets both; a measurement during which the hypervisor stole more than 2 % is
thrown away and made again.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Share of the machine's time a hypervisor may steal from a measurement.
MAX_STEAL = 0.02
# Measurements of one row that may be made again.
MAX_DISCARDED = 3
# Share of the machine that others may use before a row is called disturbed.
MAX_FOREIGN = 0.10

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its threads, living and ended, to the ns."""
    # The kernel's clock id of another process, as clock_getcpuclockid gives it.
    return time.clock_gettime_ns((~pid << 3) | 2) * 1e-9


def _stat_fields(pid: int) -> list[str]:
    # Behind the command's name, which may hold anything, in brackets.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parents() -> dict[int, int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(_stat_fields(int(entry))[1])
            except (OSError, IndexError):
                continue
    return parents


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    parents = _parents()
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found


def tree_cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants, those it waited for included."""
    total = 0.0
    for member in tree(pid):
        try:
            own = cpu_seconds(member)
            waited = sum(int(ticks) for ticks in _stat_fields(member)[13:15])
        except OSError:
            continue
        total += own + waited / _TICKS
    return total


def proportional_mib(pids: Sequence[int]) -> float:
    """Memory of processes, what they share counted once, MiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def resident_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes, MiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class _Machine:
    busy: float
    stolen: float
    total: float
    own: float


def _machine() -> _Machine:
    ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, stolen = ticks
    busy = user + nice + system + irq + softirq
    total = busy + idle + iowait + stolen
    own = tree_cpu_seconds(os.getpid())
    return _Machine(busy / _TICKS, stolen / _TICKS, total / _TICKS, own)


class Weather:
    """What the machine did besides the bench, between `start` and `read`."""

    def __init__(self) -> None:
        self._start = _machine()

    def busy(self) -> float:
        """Share of the machine's time that anyone used."""
        now, start = _machine(), self._start
        return (now.busy - start.busy) / max(now.total - start.total, 1e-9)

    def read(self) -> tuple[float, float]:
        """Shares of the machine's time that were stolen, and that others used."""
        now, start = _machine(), self._start
        total = max(now.total - start.total, 1e-9)
        foreign = (now.busy - start.busy) - (now.own - start.own)
        return (now.stolen - start.stolen) / total, max(foreign, 0.0) / total


@dataclass
class Samples:
    """What one contender was measured to cost, per unit of the row."""

    name: str
    costs: list[float] = field(default_factory=list)
    notes: dict[str, list[float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median of the costs."""
        return statistics.median(self.costs)

    def note(self, name: str) -> float:
        """Median of what was noted beside the cost."""
        return statistics.median(self.notes[name])


@dataclass(frozen=True)
class Contender:
    """Something that is measured in turn with others.

    `measure` runs it once and returns its CPU cost per unit of the row, and
    what else is worth noting by name.
    """

    name: str
    measure: Callable[[], tuple[float, dict[str, float]]]


@dataclass
class Race:
    """Contenders' samples, and the weather they were taken in."""

    samples: dict[str, Samples]
    steal: float = 0.0
    foreign: float = 0.0
    discarded: int = 0

    @property
    def disturbed(self) -> bool:
        """Whether others had so much of the machine that ratios may be off."""
        return self.foreign > MAX_FOREIGN or self.steal > MAX_STEAL


def race(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]) -> Race:
    """Measures each contender `rounds` times, forwards and backwards in turn."""
    result = Race({c.name: Samples(c.name) for c in contenders})
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            while True:
                weather = Weather()
                cost, notes = contender.measure()
                steal, foreign = weather.read()
                extra = "".join(f" {name} {value:.4g}" for name, value in notes.items())
                say(
                    f"  {contender.name}: {cost:.4g}{extra}"
                    f" (stolen {steal:.1%}, others {foreign:.1%})"
                )
                if steal <= MAX_STEAL or result.discarded >= MAX_DISCARDED:
                    break
                result.discarded += 1
                say("  thrown away: too much was stolen")
            samples = result.samples[contender.name]
            samples.costs.append(cost)
            for name, value in notes.items():
                samples.notes.setdefault(name, []).append(value)
            result.steal = max(result.steal, steal)
            result.foreign = max(result.foreign, foreign)
    return result
