"""`fgmf explain`: pictures, page and table from a gate file."""

from __future__ import annotations

import json
from typing import Any

from fgmf.explaining.criteria import CRITERIA


def test_explanations_are_written_beside_the_gate_file(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    result = shop.run("explain", "--explainer", "occlusion", "--parameter", "grid=2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("occlusion on Brightness: 8 images, 5 forward and 0 backward")
    folder = shop.directory / ".fgmf" / "explanations" / "occlusion"
    assert {file.name for file in folder.iterdir()} == {
        "overlays.png",
        "index.html",
        "explanations.json",
    }
    numbers = json.loads((folder / "explanations.json").read_text())
    assert numbers["parameters"]["grid"] == 2
    assert numbers["seed"] == 7


def test_explainers_are_compared_in_a_table(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    result = shop.run("explain", "--explainer", "occlusion", "--parameter", "grid=2", "--compare")
    assert result.exit_code == 0, result.output
    # PGCA needs a layer over the image, and this model has none.
    assert "pgca is not compared: expected a layer of Brightness" in result.stdout
    rows = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert {"explainer", "weight", "occlusion", "integrated-gradients", "random"} <= set(rows)
    table = [line for line in result.stdout.splitlines() if line.split()[:1] != ["pgca"]]
    start = next(i for i, line in enumerate(table) if line.startswith("explainer"))
    assert table[start].split()[1:] == ["weighted", *CRITERIA]
    assert len({len(line) for line in table[start : start + 4]}) == 1  # columns are columns
    page = (shop.directory / ".fgmf" / "explanations" / "occlusion" / "index.html").read_text()
    assert "Explainers side by side" in page


def test_a_map_that_orders_no_pixels_has_a_picture_and_no_curves(shop: Any) -> None:
    """The gradient of the mean of an image is the same everywhere."""
    shop.write(shop.head, shop.passing)
    result = shop.run("explain", "--explainer", "gradient")
    assert result.exit_code == 0, result.output
    assert "no curves: expected maps that deletion has a score for" in result.stdout
    page = (shop.directory / ".fgmf" / "explanations" / "gradient" / "index.html").read_text()
    assert "no curves" in page
    assert "polyline" not in page


def test_wrong_names_are_wrong_use(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    for words, arguments in {
        "an explainer of": ("--explainer", "gradcam"),
        "among output": ("--explainer", "gradient", "--parameter", "grid=2"),
        "as name=value": ("--parameter", "grid"),
        "pgca.grid as a whole number >= 1, got 'many'": ("--parameter", "grid=many"),
    }.items():
        result = shop.run("explain", *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.stderr


def test_labels_can_be_explained_and_the_directory_named(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    result = shop.run(
        "explain",
        "--explainer",
        "gradient",
        "--target",
        "label",
        "--output",
        "shown",
        "--seed",
        "3",
    )
    assert result.exit_code == 0, result.output
    numbers = json.loads((shop.directory / "shown" / "explanations.json").read_text())
    assert numbers["targets"] == [0, 1] * 4
    assert numbers["seed"] == 3
