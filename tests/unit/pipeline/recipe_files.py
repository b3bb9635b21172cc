"""Recipe files for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """
schema = 1
seed = 7
output = "out"

[data]
factory = "fgmf.datasets:digits"
images = 120

[model]
backbone = "cnn"
arguments = { widths = [4], hidden = 8 }

[defence]
name = "scor-pio-2"
epsilon = "1/10"
every = 2

[schedule]
epochs = 2
batch_size = 24

[writing]
checkpoint_updates = 2
metrics_every = 1
"""


def written(folder: Path, text: str = RECIPE, *more: str) -> Path:
    """Write a recipe file, with more tables at its end."""
    path = folder / "recipe.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((text, *more)))
    return path
