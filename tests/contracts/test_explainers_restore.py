"""Promise: whatever an explainer does with a classifier, the model comes back as it was."""

from __future__ import annotations

import pytest
from contracts.attribution_cases import explained
from contracts.test_model_restored import ERRORS, assert_restored

from fgmf.attribution.catalogue import EXPLAINERS


@pytest.mark.parametrize(("error", "passes"), ERRORS)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_model_comes_back_from_every_explainer(
    name: str, error: BaseException | None, passes: int
) -> None:
    assert_restored(lambda classifier: explained(classifier, name), error, passes, "auto")
