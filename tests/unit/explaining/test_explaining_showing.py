from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from grid_models import SmallConv
from PIL import Image
from tiny_models import classify, make_images

from fgmf.attribution.building import explainer
from fgmf.explaining.comparing import compare_explainers
from fgmf.explaining.page import Curves, Picture, render_explanations
from fgmf.explaining.painting import Strip, coloured, draw_strips, overlay, shown_image
from fgmf.explaining.showing import ShownImages, explain_and_measure, write_explanations

if TYPE_CHECKING:
    from pathlib import Path


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_signs_have_colours_and_zero_is_white() -> None:
    colours = coloured(np.array([[1.0, -1.0], [0.0, 0.5]]))
    red, blue, white, pale = colours.reshape(4, 3)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white.tolist() == [1, 1, 1]
    assert 1 > pale[2] > red[2]
    assert coloured(np.zeros((2, 2))).min() == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_any_channels_are_shown(channels: int) -> None:
    image = np.full((channels, 4, 6), -1.0)
    image[0, 0, 0] = 1.0
    shown = shown_image(image, (-1.0, 1.0))
    assert shown.shape == (4, 6, 3)
    assert shown[1, 1].tolist() == [0, 0, 0]
    assert shown[0, 0, 0] == pytest.approx(1.0 if channels == 3 else 1 / channels)


def test_an_overlay_is_coloured_where_the_map_speaks() -> None:
    map_ = np.zeros((4, 4))
    map_[0, 0], map_[3, 3] = 1.0, -1.0
    mixed = overlay(np.zeros((1, 4, 4)), map_, (0.0, 1.0))
    assert mixed[0, 0, 0] > mixed[0, 0, 2]
    assert mixed[3, 3, 2] > mixed[3, 3, 0]
    assert np.ptp(mixed[1, 1]) == 0


def test_strips_hold_every_tile_in_its_place() -> None:
    red, blue = np.zeros((8, 8, 3)), np.zeros((8, 8, 3))
    red[:, :, 0], blue[:, :, 2] = 1, 1
    strips = [Strip(caption="first", tiles=[red, blue]), Strip(caption="ü", tiles=[blue, red])]
    picture = pixels_of(draw_strips(strips, title="two", names=["a", "b"]))
    assert ((picture == [255, 0, 0]).all(axis=2)).sum() == 2 * 112**2
    assert ((picture == [0, 0, 255]).all(axis=2)).sum() == 2 * 112**2
    rows, columns = np.nonzero((picture == [255, 0, 0]).all(axis=2))
    assert columns[rows == rows.min()].max() < columns[rows == rows.max()].min()


def test_of_very_many_images_the_first_are_drawn() -> None:
    tile = np.zeros((300, 300, 3))
    strips = [Strip(caption=str(i), tiles=[tile]) for i in range(70)]
    picture = pixels_of(draw_strips(strips, title="many", names=["a"]))
    assert ((picture == 0).all(axis=2)).sum() >= 64 * 256**2


def test_the_page_is_self_contained_and_escapes_names() -> None:
    page = render_explanations(
        title="<script>alert(1)</script>",
        pictures=[Picture(name="<b>", png=b"\x89PNG", caption="&")],
        curves=[Curves(replacement="zero", deletion=(1.0, 0.5, 0.0), insertion=(0.0, 0.5, 1.0))],
        facts=[("model", "<i>")],
        comparison=None,
    )
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "mean while pixels go 0.500" in page
    assert "Explainers side by side" not in page


def test_curves_are_drawn_between_the_axes() -> None:
    curve = Curves(replacement="zero", deletion=(1.0, -3.0), insertion=(7.0,))
    (first, last) = curve.deletion_points.split()
    assert first == "40.0,12.0"
    assert last == "448.0,206.0"
    assert curve.insertion_points == "40.0,12.0"


def test_everything_is_written(tmp_path: Path) -> None:
    classifier = classify(SmallConv(channels=3))
    shown = ShownImages(
        images=make_images(3, shape=(3, 12, 10)),
        targets=torch.tensor([0, 1, 2]),
        labels=torch.tensor([0, 1, 1]),
    )
    how = explainer("pgca", {"grid": 4, "path_samples": 2, "smoothing_samples": 2})
    explained = explain_and_measure(how, classifier, shown, seed=4)
    others = {"pgca": how, "gradient": explainer("gradient")}
    comparison = compare_explainers(classifier, shown.images, shown.targets, others, seed=4)
    files = write_explanations(
        explained, classifier, shown, tmp_path / "out", comparison=comparison
    )
    assert [file.name for file in files] == [
        "overlays.png",
        "stages.png",
        "index.html",
        "explanations.json",
    ]
    stages = pixels_of((tmp_path / "out" / "stages.png").read_bytes())
    assert stages.shape[1] > 9 * 100  # image, two occlusions, CAM, and five stages
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "Explainers side by side" in page
    numbers = json.loads((tmp_path / "out" / "explanations.json").read_text())
    assert numbers["parameters"]["layer"] == "4"
    assert numbers["parameters"]["grid"] == 4
    assert len(numbers["diagnostics"]["disagreement"]) == 3
    assert set(numbers["curves"]) == {"zero", "blur"}
    assert numbers["comparison"]["weights"].keys() == comparison.weights.keys()


def test_the_curves_start_and_end_with_the_whole_image() -> None:
    classifier = classify(SmallConv(seed=2))
    images = make_images(2, shape=(1, 12, 12))
    shown = ShownImages(images=images, targets=torch.tensor([0, 1]))
    explained = explain_and_measure(explainer("gradient"), classifier, shown, seed=0)
    with torch.no_grad():
        shares = classifier.logits(images).double().softmax(dim=1)
    whole = float((shares[0, 0] + shares[1, 1]) / 2)
    for curve in explained.curves:
        assert curve.deletion[0] == pytest.approx(whole, abs=1e-6)  # rounding of float32 logits
        assert curve.insertion[-1] == pytest.approx(whole, abs=1e-6)
