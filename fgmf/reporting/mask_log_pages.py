"""Pages that show the masks of a log: self-contained HTML, so many samples on each.

No script, nothing from elsewhere; pictures are in the page. What a log holds is escaped.
"""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput
from fgmf.mask_log.masks import INPUT, array_of, saliency_mask_of_row
from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np

    from fgmf.mask_log.samples import LoggedSample

_SMALLEST: Final = 96
"""Pixels of a side to which small pictures are enlarged."""


def write_pages(
    samples: Iterable[LoggedSample], directory: Path, *, size: int, facts: Mapping[str, str]
) -> list[Path]:
    """Write the pages of some samples.

    Args:
        samples: In the order in which they are shown; taken as they come, never all at once.
        directory: Where ``page-00001.html`` and its like are written.
        size: Samples on a page.
        facts: What stands above each page, by name.

    Returns:
        The pages; one at least.

    Raises:
        OSError: The directory cannot be written.
    """
    pages: list[Path] = []
    for number, (chunk, last) in enumerate(_chunks(iter(samples), size), start=1):
        cards = [_card(sample) for sample in chunk]
        path = directory / _name(number)
        following = None if last else _name(number + 1)
        before = _name(number - 1) if number > 1 else None
        text = _rendered(cards, facts, number=number, before=before, following=following)
        write_atomically(path, text.encode())
        pages.append(path)
    return pages


def _chunks(
    samples: Iterator[LoggedSample], size: int
) -> Iterator[tuple[list[LoggedSample], bool]]:
    """Yield samples page by page, and whether it is the last one."""
    chunk = list(islice(samples, size))
    while True:
        following = list(islice(samples, size))
        yield chunk, not following
        if not following:
            return
        chunk = following


def _name(number: int) -> str:
    return f"page-{number:05d}.html"


def _card(sample: LoggedSample) -> dict[str, Any]:
    body = sample.body
    facts = {
        "sample": "erased" if sample.sample is None else str(sample.sample),
        "step": str(body["step"]),
        "pass": f"{body['pass']} ({body['purpose']}{', training' if body['training'] else ''})",
        "stream": f"{sample.stream}, record {sample.record}, row {sample.row}",
        "time": datetime.fromtimestamp(sample.at / 1000, UTC).isoformat(timespec="milliseconds"),
        "input": sample.input_digest,
        "weights": str(body["weights"]),
    }
    if sample.prediction is not None:
        facts["prediction"] = str(sample.prediction)
    pictures, note = [], ""
    if sample.sample is not None:
        try:
            pictures = [(name, _picture(values)) for name, values in _views(sample)]
        except (InvalidInput, ValueError) as error:
            note = f"the masks cannot be shown: {error}"
    shown = {name: printable(value) for name, value in facts.items()}
    return {"facts": shown, "pictures": pictures, "note": printable(note)}


def _views(sample: LoggedSample) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """What is shown of a sample, in the order of the forward pass."""
    import numpy as np

    layout = sample.layout
    mask = saliency_mask_of_row(layout, sample.arrays).astype(np.float64)
    if not np.isfinite(mask).all():
        raise InvalidInput("the mask has values that are no numbers")
    if INPUT in sample.arrays:
        form = next(form for form in layout.arrays if form.name == INPUT)
        image = array_of(form, sample.arrays[INPUT]).astype(np.float64)
        masked = image * mask
        yield "input", image
        yield "saliency (dark: none)", 1.0 - mask
        yield "mask (bright: 1)", mask
        yield "masked input", masked
        if (mask > 0).all():
            yield "inverse", masked / mask
    else:
        yield "saliency (dark: none)", 1.0 - mask
        yield "mask (bright: 1)", mask


def _picture(values: np.ndarray[Any, Any]) -> str:
    """Make a PNG in a ``data:`` address of (c, h, w) values; those outside [0, 1] are stretched."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(values)
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    bytes_ = np.round((values - low) / (high - low) * 255).astype(np.uint8)
    image = (
        Image.fromarray(bytes_.transpose(1, 2, 0), "RGB")
        if len(bytes_) == 3
        else Image.fromarray(bytes_.mean(axis=0).astype(np.uint8), "L")
    )
    factor = max(1, -(-_SMALLEST // max(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _rendered(
    cards: list[dict[str, Any]],
    facts: Mapping[str, str],
    *,
    number: int,
    before: str | None,
    following: str | None,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fgmf.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("mask_log.html.j2")
    shown = {name: printable(value) for name, value in facts.items()}
    return template.render(
        cards=cards, facts=shown, number=number, before=before, following=following
    )
