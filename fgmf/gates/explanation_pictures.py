"""Explanations as pictures in the evidence of a verdict: what was measured anyway, drawn small.

maps of the sample        image | map | overlay; of explainers with stages, a strip of them
within epsilon            image | nearest neighbour that keeps the class | change | map | its map
after an attack           image | adversarial | perturbation | explanation before | and after
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fgmf.explaining.painting import coloured, overlay, shown_image
from fgmf.explaining.tiles import TileRow, shown_change, tiled_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fgmf.attribution.interface import Attribution
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Bounds, Images, Json

    Floats = NDArray[np.float64]

SIGNS: Final = "red speaks for the class, blue against it; each map has its own scale"


def sample_pictures(
    attribution: Attribution, images: Images, captions: Sequence[str], bounds: Bounds
) -> list[Json]:
    """Draw the first explanations of a sample.

    Args:
        attribution: Of n images at least.
        images: (n, c, h, w), at least as many as there are captions.
        captions: One per image that is drawn; none draws nothing.
        bounds: Pixel values of black and white.

    Returns:
        Pictures for the evidence of a verdict: maps, and stages where the explainer has some.
    """
    if not captions:
        return []
    pixels, maps = _pixels(images), _pixels(attribution.maps)
    rows = [
        TileRow(
            caption=caption,
            tiles=[
                shown_image(pixels[at], bounds),
                coloured(maps[at]),
                overlay(pixels[at], maps[at], bounds),
            ],
        )
        for at, caption in enumerate(captions)
    ]
    columns = ("image", "map", "overlay")
    made: list[Json] = [tiled_picture("Explanations", columns, rows, hint=SIGNS)]
    return [*made, *stage_pictures(attribution, images, captions, bounds)]


def stage_pictures(
    attribution: Attribution,
    images: Images,
    captions: Sequence[str],
    bounds: Bounds,
    title: str = "",
) -> list[Json]:
    """Draw what each stage of an explainer made of the one before; nothing without stages.

    Args:
        attribution: Of n images at least.
        images: (n, c, h, w) likewise.
        captions: One per image that is drawn.
        bounds: Pixel values of black and white.
        title: Above the strips; empty takes the explainer's name.
    """
    if not attribution.stages or not captions:
        return []
    pixels = _pixels(images)
    stages = {name: _pixels(values) for name, values in attribution.stages.items()}
    rows = [
        TileRow(
            caption=caption,
            tiles=[
                shown_image(pixels[at], bounds),
                *(coloured(stage[at]) for stage in stages.values()),
            ],
        )
        for at, caption in enumerate(captions)
    ]
    columns = ("image", *(name.replace("_", " ") for name in stages))
    return [tiled_picture(title or f"{attribution.method}, stage by stage", columns, rows)]


def change_picture(
    title: str,
    images: tuple[Images, Images],
    maps: tuple[Any, Any],
    captions: Sequence[str],
    bounds: Bounds,
    *,
    changed: str,
) -> dict[str, Json]:
    """Draw images and explanations before and after a change.

    Args:
        title: Above it.
        images: (n, c, h, w) before, and after.
        maps: (n, h, w) before, and after.
        captions: n.
        bounds: Pixel values of black and white.
        changed: What the second image is called.
    """
    before, after = (_pixels(side) for side in images)
    map_before, map_after = (_pixels(side) for side in maps)
    rows = [
        TileRow(
            caption=caption,
            tiles=[
                shown_image(before[at], bounds),
                shown_image(after[at], bounds),
                shown_change(after[at] - before[at]),
                coloured(map_before[at]),
                coloured(map_after[at]),
            ],
        )
        for at, caption in enumerate(captions)
    ]
    columns = ("image", changed, "change, amplified", "explanation before", "after")
    return tiled_picture(title, columns, rows, hint=SIGNS)


def captions_of(attribution: Attribution, measured: MeasuredImages, *, count: int) -> list[str]:
    """Return the words above the first images of a sample.

    Args:
        attribution: Their explanations.
        measured: The sample.
        count: How many are drawn; fewer where there are fewer.
    """
    return [
        f"#{measured.indices[at]}: label {int(measured.labels[at])}, "
        f"class {int(attribution.targets[at])} explained"
        for at in range(min(count, len(measured.indices)))
    ]


def _pixels(values: Any) -> Floats:  # noqa: ANN401 - a tensor; torch stays out of this module
    pixels: Floats = values.detach().cpu().double().numpy()
    return pixels
