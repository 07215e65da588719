"""Dangerous deeds are confirmed by typing a name; the server looks at it as well as the page."""

from __future__ import annotations

from herz.errors import UsageError


def confirmed(typed: str, word: str) -> None:
    """Nothing; `UsageError` where somebody did not type what a dangerous deed asks for."""
    if typed.strip() != word:
        raise UsageError("this was not confirmed; nothing was changed", remedy=f"type {word} into the last field")
