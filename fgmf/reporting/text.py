"""How numbers and foreign text are written: the same in every report."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.verdict import Interval

_MOST_DIGITS = 12


def printable(text: str) -> str:
    r"""Escape whatever a terminal would act on or not show.

    Args:
        text: Anything a user's model, data or file can contribute, such as a class name.

    Returns:
        One line: control, format, surrogate and unassigned characters and line separators as
        ``\x1b``-like escapes, everything else as it was.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"
        else character
        for character in text
    )


def first_line(text: str) -> str:
    """Return the first line of `text` that is not blank, printable."""
    lines = (line.strip() for line in text.splitlines())
    return printable(next((line for line in lines if line), ""))


def shown_number(value: float, threshold: float | None = None) -> str:
    """Write a measured number with three decimals.

    Args:
        value: The number.
        threshold: More decimals are written where three would show the number on another side
            of this threshold: 0.4997 against 0.5 must not read 0.500.
    """
    text = f"{value:.3f}"
    for digits in range(3, _MOST_DIGITS + 1):
        text = f"{value:.{digits}f}"
        if threshold is None or _side(float(text), threshold) == _side(value, threshold):
            return text
    return text


def shown_threshold(value: float) -> str:
    """Write a threshold as the user wrote it, with two decimals at least."""
    text = f"{value:.2f}"
    return text if float(text) == value else f"{value:.{_MOST_DIGITS}g}"


def shown_interval(interval: Interval, threshold: float | None = None) -> str:
    """Write an interval as ``[0.368, 0.457]``, or ``(exact)`` where it is a point."""
    if interval.lower == interval.upper:
        return "(exact)"
    lower, upper = (shown_number(end, threshold) for end in (interval.lower, interval.upper))
    return f"[{lower}, {upper}]"


def shown_count(count: int, noun: str) -> str:
    """Write ``1 image``, ``2 images``: nouns that take an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown_indices(indices: Sequence[int], *, most: int = 20) -> str:
    """Write the first `most` numbers of a list, and how many more there are."""
    listed = ", ".join(str(index) for index in indices[:most])
    rest = len(indices) - most
    return f"{listed} … and {rest} more" if rest > 0 else listed


def _side(value: float, threshold: float) -> int:
    if abs(value - threshold) <= 10.0**-_MOST_DIGITS:
        return 0
    return 1 if value > threshold else -1
