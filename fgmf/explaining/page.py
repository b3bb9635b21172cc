"""Explanations as one HTML file: no script, no style, font or picture from elsewhere.

Whatever a model or its names contributed is escaped.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.explaining.criteria import CRITERIA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.explaining.comparing import Comparison

WIDTH: Final = 460
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 34


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG, with its name and what it shows."""

    name: str
    png: bytes
    caption: str

    @property
    def address(self) -> str:
        """As a ``data:`` address."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Mean probability of the explained class, at equal steps from no pixel to all of them.

    Attributes:
        replacement: What stands in the place of pixels.
        deletion: While the most important pixels go.
        insertion: While they come.
    """

    replacement: str
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def deletion_points(self) -> str:
        """In the units of the drawing."""
        return _points(self.deletion)

    @property
    def insertion_points(self) -> str:
        """In the units of the drawing."""
        return _points(self.insertion)

    @property
    def summary(self) -> str:
        """Mean heights in words."""
        going, coming = (_mean(curve) for curve in (self.deletion, self.insertion))
        return f"mean while pixels go {going:.3f} (lower is better), come {coming:.3f} (higher is)"


def render_explanations(
    *,
    title: str,
    pictures: Sequence[Picture],
    curves: Sequence[Curves],
    facts: Sequence[tuple[str, str]],
    comparison: Comparison | None,
) -> str:
    """Write the page.

    Args:
        title: Heading.
        pictures: In the order in which they are shown.
        curves: One chart each.
        facts: Names and values.
        comparison: A table of explainers, or None.

    Returns:
        One HTML document.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fgmf.explaining"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("explanations.html.j2").render(
        title=title,
        pictures=pictures,
        curves=curves,
        facts=facts,
        comparison=comparison,
        criteria=CRITERIA,
        width=WIDTH,
        height=HEIGHT,
        ticks=[(value, round(_height(value), 1)) for value in (0.0, 0.5, 1.0)],
        left=_LEFT,
        right=WIDTH - _RIGHT,
        bottom=HEIGHT - _BOTTOM,
    )


def _points(values: Sequence[float]) -> str:
    last = max(1, len(values) - 1)
    across = WIDTH - _LEFT - _RIGHT
    places = ((_LEFT + across * i / last, _height(value)) for i, value in enumerate(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _height(value: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, max(0.0, value)))


def _mean(values: Sequence[float]) -> float:
    """By the trapezoid rule."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return (sum(values) - (values[0] + values[-1]) / 2) / (len(values) - 1)
