"""The catalogue says of Quantus' classes what they say themselves."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from typing import Any

import pytest

from fgmf.faithfulness.catalogue import METRICS
from fgmf.faithfulness.replacements import REPLACEMENTS

BY_QUANTUS = [entry for entry in METRICS.values() if entry.quantus_class]


@pytest.fixture(scope="module")
def quantus() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

        return quantus


def test_directions_and_categories_are_those_of_quantus(quantus: Any) -> None:
    for entry in BY_QUANTUS:
        metric = getattr(quantus, entry.quantus_class)
        assert metric.evaluation_category.value.lower() == entry.category
        turned = entry.name == "region-perturbation"  # its drops are good, where Quantus says bad
        assert (metric.score_direction.value == "higher") == (entry.higher_is_better != turned)


def test_answers_are_those_that_quantus_asks_for(quantus: Any) -> None:
    for entry in BY_QUANTUS:
        metric = getattr(quantus, entry.quantus_class)
        softmax = inspect.signature(metric.__call__).parameters["softmax"].default
        if entry.output != "none":
            assert softmax == (entry.output == "probability"), entry.name


def test_each_default_is_accepted() -> None:
    for entry in METRICS.values():
        for parameter in entry.parameters.values():
            assert parameter.accepts(parameter.default), entry.name
        assert entry.replacement in {"", *REPLACEMENTS}
        assert entry.fast or entry.quantus_class


def test_names_cost_neither_torch_nor_quantus() -> None:
    code = (
        "import sys, fgmf.faithfulness.catalogue, fgmf.faithfulness.replacements;"
        "print([m for m in ('torch', 'quantus', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_our_own_metrics_cost_no_quantus() -> None:
    code = (
        "import sys, fgmf.faithfulness.measuring;"
        "print([m for m in ('quantus', 'captum', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
