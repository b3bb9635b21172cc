"""Read-outs: they separate, their threshold is close to the edge, and none is made up."""

from __future__ import annotations

import pytest
import torch

from fgmf.selftest.readout import fit_readout


def _cloud(count: int = 50, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((count, width), generator=generator, dtype=torch.float64)


def test_a_separable_point_is_separated() -> None:
    inner, edge = _cloud(), torch.full((8,), 1.2, dtype=torch.float64)
    readout = fit_readout(inner, edge, margin=7.0)
    assert readout is not None
    assert not bool(readout.logits(inner).argmax(dim=1).any())
    assert readout.logits(edge.unsqueeze(0)).argmax(dim=1).tolist() == [1]


def test_the_clean_image_has_the_margin_that_was_asked() -> None:
    inner, edge = _cloud(), torch.full((8,), 1.2, dtype=torch.float64)
    readout = fit_readout(inner, edge, margin=7.0)
    assert readout is not None
    logits = readout.logits(inner[:1])[0]
    assert float(logits[0] - logits[1]) == pytest.approx(7.0)


@pytest.mark.parametrize("closeness", [0.5, 0.999])
def test_the_threshold_lies_where_it_was_asked(closeness: float) -> None:
    inner, edge = _cloud(), torch.full((8,), 1.2, dtype=torch.float64)
    readout = fit_readout(inner, edge, margin=1.0, closeness=closeness)
    assert readout is not None
    highest = float((inner @ readout.weights).max())
    top = float(edge @ readout.weights)
    assert (readout.threshold - highest) / (top - highest) == pytest.approx(closeness)


@pytest.mark.parametrize(
    "edge",
    [
        pytest.param(torch.full((8,), 0.5), id="in the middle"),
        pytest.param(torch.full((8,), torch.nan), id="nan"),
    ],
)
def test_what_cannot_be_separated_has_no_readout(edge: torch.Tensor) -> None:
    assert fit_readout(_cloud(2000), edge, margin=1.0) is None


def test_constant_features_have_no_readout() -> None:
    assert fit_readout(torch.ones(5, 3), torch.ones(3), margin=1.0) is None
