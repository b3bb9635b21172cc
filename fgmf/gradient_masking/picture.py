"""The evidence as a picture: the only module that draws with matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from fgmf.errors import MissingDependency

if TYPE_CHECKING:
    from fgmf.gradient_masking.curves import MaskingCurves


def draw_curves(curves: MaskingCurves, *, title: str, epsilon: float) -> bytes:
    """Draw robust accuracy over epsilon, and the margin along each attack.

    Args:
        curves: What was measured.
        title: First line of the picture.
        epsilon: Of the gate; marked.

    Returns:
        A PNG.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        message = 'expected matplotlib for a picture; pip install "pytest-fgmf[plots]"'
        raise MissingDependency(message) from error
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2)
    for name, values in curves.accuracy.items():
        left.plot(curves.epsilons, values, marker="o", markersize=3, label=name)
    left.axvline(epsilon, color="0.6", linewidth=0.8)
    left.set(xlabel="epsilon", ylabel="robust accuracy", ylim=(-0.02, 1.02))
    left.legend(fontsize=8)
    for name, values in curves.margins.items():
        right.plot(curves.places, values, label=name)
    right.axvline(1.0, color="0.6", linewidth=0.8)
    right.axhline(0.0, color="0.6", linewidth=0.8)
    right.set(
        xlabel="place along the attack (0: the image, 1: the example)",
        ylabel="mean margin of the wrong classes",
    )
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set_title(f"{curves.image_count} images", fontsize=8)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110, metadata={"Software": None})
    return written.getvalue()
