"""The live table of a fleet, above the counters of the demo."""

from __future__ import annotations

from typing import Any, Protocol, TextIO

from herz.cli.demo.fleet_tally import Cell
from herz.cli.demo.screen import Counted, LiveScreen, plain_text

WIDTH = 8
"""Columns that an instance takes."""
LEGEND = "· stable   ◐ has built the next release   ● runs it   ✗ cannot"


class CountedFleet(Counted, Protocol):
    """Counters, and every instance besides."""

    def cells(self) -> list[Cell]:
        """Every instance, in order."""


class FleetScreen(LiveScreen):
    """A panel with every instance and the release that it runs; the narration scrolls above it. Needs rich."""

    def __init__(self, tally: CountedFleet, stream: TextIO) -> None:
        self._fleet = tally  # first, for rich looks at the panel at once
        super().__init__(tally, stream)

    def _panel(self) -> Any:
        from rich.console import Group
        from rich.rule import Rule
        from rich.table import Table
        from rich.text import Text

        across = max(1, (self._width - 4) // WIDTH)
        grid = Table.grid(padding=(0, 1, 0, 0))
        for _ in range(across):
            grid.add_column(width=WIDTH - 1, no_wrap=True)
        cells = [Text(self._said(cell.text), cell.style) for cell in self._fleet.cells()]
        for start in range(0, len(cells), across):
            grid.add_row(*cells[start : start + across])
        legend = Text(self._said(LEGEND), "dim")
        line = Rule(style="dim", characters="─" if self._unicode else "-")
        return self._framed(Group(grid, legend, line, self._counters()))

    def _said(self, text: str) -> str:
        return text if self._unicode else plain_text(text)
