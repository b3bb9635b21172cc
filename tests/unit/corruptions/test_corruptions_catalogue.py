"""The catalogue is complete, and its severities go up."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, get_args

import pytest
import torch
from tiny_models import keys_of

from fgmf.corruptions import (
    CORRUPTIONS,
    DEFAULT_CORRUPTIONS,
    SEVERITIES,
    CorruptionName,
    Severity,
    corrupt,
)
from fgmf.corruptions.applying import _FUNCTIONS
from fgmf.corruptions.catalogue import LARGE_SIDE

if TYPE_CHECKING:
    from fgmf.corruptions import CorruptionEntry


def test_every_name_has_an_entry_and_a_function() -> None:
    assert list(CORRUPTIONS) == list(get_args(CorruptionName)) == list(_FUNCTIONS)
    assert get_args(Severity) == SEVERITIES
    assert set(DEFAULT_CORRUPTIONS) <= set(CORRUPTIONS)


@pytest.mark.parametrize("entry", CORRUPTIONS.values(), ids=lambda entry: entry.name)
def test_severities_are_whole_and_differ(entry: CorruptionEntry) -> None:
    for steps in (entry.small, entry.large):
        assert len(steps) == len(set(steps)) == 5
        assert all(len(values) == len(entry.parameters) for values in steps)
    assert entry.source


def test_size_decides_which_numbers_count() -> None:
    entry = CORRUPTIONS["gaussian-noise"]
    assert entry.values(1, height=32, width=32) == (0.04,)
    assert entry.values(1, height=224, width=224) == (0.08,)
    assert entry.values(5, height=LARGE_SIDE, width=LARGE_SIDE - 1) == (0.10,)
    assert entry.values(5, height=LARGE_SIDE, width=LARGE_SIDE) == (0.38,)


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_no_less(name: str, side: int) -> None:
    """On smooth images, in the mean square over many."""
    line = torch.linspace(0.1, 0.8, side, dtype=torch.float64)
    waves = torch.sin(line[:, None] * 20) * torch.cos(line[None, :] * 13)
    images = (0.5 + 0.3 * waves).expand(12, 3, side, side).contiguous()
    keys = [f"{key}{at}" for at, key in enumerate(keys_of(images))]
    changes = [
        float((corrupt(images, name, severity=s, keys=keys) - images).square().mean())
        for s in SEVERITIES
    ]
    # Blocks and lines may happen to meet the waves.
    slack = 0.7 if name in {"pixelate", "motion-blur"} else 0.95
    assert all(later >= slack * earlier for earlier, later in pairwise(changes))
    assert changes[-1] > changes[0] > 0
