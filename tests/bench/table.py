# SPDX-License-Identifier: Apache-2.0
"""The lines of the table, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measure import Race

CAMHERD = "camherd"

Say = Callable[[str], None]


@dataclass
class Line:
    """One line of the table."""

    row: str
    who: str
    cost: float
    unit: str
    # Cost of ours / cost of this one, and the most it may be; None: no peer.
    ratio: float | None = None
    budget: float | None = None
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Whether the budget is met."""
        if self.ratio is None or self.budget is None:
            return ""
        return "met" if self.ratio <= self.budget else "MISSED"


def race_lines(row: str, result: Race, unit: str, budgets: dict[str, float]) -> list[Line]:
    """Ours first, then the peers with the ratio to them."""
    ours = result.samples[CAMHERD].median
    lines = []
    for name, samples in result.samples.items():
        remark = f"{min(samples.costs):.3g} to {max(samples.costs):.3g}"
        line = Line(row, name, samples.median, unit, remark=remark)
        if name != CAMHERD:
            line.ratio, line.budget = ours / samples.median, budgets.get(name)
        lines.append(line)
    if result.disturbed:
        lines[0].remark += f"; DISTURBED: others used up to {result.foreign:.0%} of the machine"
    return lines


def markdown(lines: Sequence[Line]) -> str:
    """The table, in Markdown."""
    head = [
        "row",
        "who",
        "cost",
        "unit",
        "camherd / it",
        "budget",
        "",
        "range, remarks",
    ]
    body = [
        [
            line.row,
            line.who,
            f"{line.cost:.3g}",
            line.unit,
            "" if line.ratio is None else f"1/{1 / line.ratio:.2f}",
            "" if line.budget is None else f"1/{1 / line.budget:.2g}",
            line.verdict,
            line.remark,
        ]
        for line in lines
    ]
    widths = [max(len(row[n]) for row in [head, *body]) for n in range(len(head))]
    rule = ["-" * max(width, 3) for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, rule, *body]
    )
