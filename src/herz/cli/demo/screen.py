"""What the demo shows: narration that scrolls, and counters that stay below it where there is a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, Protocol, TextIO

_ASCII: Final = str.maketrans({"✓": "+", "✗": "!", "→": "->", "·": "-", "•": "*", "–": "-", "●": "#", "◐": "~"})


class Counted(Protocol):
    """What a screen shows beside the narration: numbers that others count."""

    ok: bool

    def counters(self) -> list[tuple[str, str, bool]]:
        """Names, values, and whether each value is as it should be."""

    def summary(self) -> list[str]:
        """The outcome in numbers."""


class Screen:
    """Plain lines, for pipes and logs, with a line of counters after each act."""

    live = False
    """Whether the counters are seen while they count."""

    def __init__(self, tally: Counted, stream: TextIO) -> None:
        self._tally, self._stream = tally, stream
        self._unicode = _speaks_unicode(getattr(stream, "encoding", None))
        self._counting = False

    # --- the narration, the same everywhere -------------------------------------------------------

    def text(self, *lines: str) -> None:
        """A paragraph."""
        for line in lines:
            self._line(line)

    def act(self, number: int, title: str, moral: str) -> None:
        """The heading of an act, and why it matters."""
        self._heading(f"{number}  {title}", moral)

    def change(self, said: str) -> None:
        """What is done to the files."""
        self._line(said, "yellow", indent=3, mark="•")

    def detail(self, said: str) -> None:
        """What came of it, in the words of configuration."""
        self._line(said, indent=7)

    def message(self, said: str) -> None:
        """An error message of Herz, as the log has it."""
        for line in said.splitlines():
            self._line(line, "red", indent=7)

    def fact(self, held: bool, said: str) -> None:
        """Something that was expected and happened, or did not."""
        self._line(said, "" if held else "bold red", indent=5, mark="✓" if held else "✗")

    def summary(self, *said: str) -> None:
        """The end of the story in numbers, then `said`."""
        style = "bold" if self._tally.ok else "bold red"
        for line in self._tally.summary():
            self._line(line, style)
        for line in said:
            self._line(line)

    # --- how it is shown --------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to show the counters."""
        self._counting = True

    def close(self) -> None:
        """Show the counters a last time."""
        self._count()
        self._counting = False

    def _heading(self, title: str, moral: str) -> None:
        self._count()
        self._line()
        self._line(title)
        self._line(moral, indent=3)

    def _count(self) -> None:
        if self._counting:
            self._line(" · ".join(f"{name} {value}" for name, value, _ in self._tally.counters()), indent=3)

    def _line(self, text: str = "", style: str = "", *, indent: int = 0, mark: str = "") -> None:
        line = " " * indent + (f"{mark} " if mark else "") + text
        if not self._unicode:
            line = plain_text(line)
        print(line, file=self._stream, flush=True)


class LiveScreen(Screen):
    """A panel of live counters at the bottom of the terminal, the narration scrolling above it. Needs rich."""

    live = True

    def __init__(self, tally: Counted, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(tally, stream)
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, get_renderable=self._panel, refresh_per_second=8, transient=True)

    def open(self) -> None:
        """Show the panel until `close`."""
        self._live.start()

    def close(self) -> None:
        """Take the panel away; its last numbers are in the summary."""
        self._live.stop()

    def _heading(self, title: str, moral: str) -> None:
        self._line()
        self._line(title, "bold cyan")
        self._line(moral, "dim", indent=3)

    def _line(self, text: str = "", style: str = "", *, indent: int = 0, mark: str = "") -> None:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        if not self._unicode:
            text, mark = plain_text(text), plain_text(mark)
        row = Table.grid(padding=(0, 1, 0, 0))  # so that the second line of a long one stands below the first
        if mark:
            row.add_column(no_wrap=True)
        row.add_column(overflow="fold")
        colour = {"✓": "green", "✗": "bold red"}.get(mark, style)
        row.add_row(*([Text(mark, colour)] if mark else []), Text(text, style))
        self._console.print(Padding(row, (0, 0, 0, indent)))

    def _panel(self) -> Any:
        return self._framed(self._counters())

    def _counters(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        cells = self._tally.counters()
        grid = Table.grid(expand=True, padding=(0, 0, 0, 1))
        for _ in cells:
            grid.add_column(justify="right", no_wrap=True)
        grid.add_row(*(Text(name, "dim") for name, _, _ in cells))
        grid.add_row(*(Text(value, "bold green" if well else "bold red") for _, value, well in cells))
        return grid

    @property
    def _width(self) -> int:
        # Two columns stay free, for the ^C that a terminal echoes: it must not wrap, or the panel could not be erased.
        return min(self._console.width - 2, 92)

    def _framed(self, shown: Any) -> Any:
        from rich import box
        from rich.panel import Panel

        shape = box.ROUNDED if self._unicode else box.ASCII
        return Panel(shown, box=shape, border_style="dim", padding=(0, 1), width=self._width)


def screen_for(tally: Any, *, json: bool, live: type[LiveScreen] = LiveScreen) -> Screen:
    """The live screen on a terminal that can show it, else plain lines; on standard error when JSON is asked for."""
    if json or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Screen(tally, sys.stderr if json else sys.stdout)
    try:
        return live(tally, sys.stdout)
    except ModuleNotFoundError:
        return Screen(tally, sys.stdout)


def _speaks_unicode(encoding: str | None) -> bool:
    return (encoding or "ascii").lower().replace("-", "").startswith("utf")


def plain_text(text: str) -> str:
    """`text` for a terminal that only has ASCII."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()
