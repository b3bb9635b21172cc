"""Our maps are Captum's where both have the method; Captum's are written down, not computed."""

from __future__ import annotations

import pytest
import torch
from oracles import captum_case as case
from tiny_models import classify

from fgmf.attribution.building import explainer

PARAMETERS = {
    "integrated-gradients": {"steps": case.STEPS},
    "occlusion": {"grid": case.GRID},
    "grad-cam": {"layer": case.LAYER},
}


@pytest.mark.parametrize("name", case.recorded())
@pytest.mark.parametrize("batch_size", [2, 64])
def test_maps_of_the_logit_are_those_of_captum(name: str, batch_size: int) -> None:
    parameters = {"output": "logit", **PARAMETERS.get(name, {})}
    classifier = classify(case.model(), batch_size=batch_size)
    result = explainer(name, parameters).explain(classifier, case.images(), case.TARGETS)
    expected = case.recorded()[name]
    if name == "grad-cam":  # ours are brought to [0, 1]
        lowest, highest = (getattr(expected, end)((1, 2), keepdim=True) for end in ("amin", "amax"))
        expected = (expected - lowest) / (highest - lowest)
    assert float(expected.abs().max()) > 0.1
    # Captum's steps and sums over windows are float32 inside.
    rough = name in {"integrated-gradients", "occlusion"}
    torch.testing.assert_close(result.maps, expected, rtol=1e-9, atol=2e-7 if rough else 1e-11)
