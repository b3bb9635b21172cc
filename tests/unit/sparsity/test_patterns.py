"""Sparsity patterns as values: bits, digests, files, and what they do to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.sparsity import SparsityPattern, TensorPattern, load_pattern, save_pattern

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=4)


@st.composite
def flags(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(SHAPES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return torch.rand(shape, generator=generator) < draw(st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(kept=flags())
def test_bits_hold_what_was_given(kept: torch.Tensor) -> None:
    pattern = TensorPattern.of(kept)
    assert torch.equal(pattern.kept(), kept)
    assert pattern.kept_count == int(kept.sum())
    assert pattern.element_count == kept.numel()


@settings(max_examples=40, deadline=None)
@given(kept=flags().filter(lambda f: f.numel() > 0), at=st.integers(0, 10**6))
def test_any_other_pattern_has_another_digest(kept: torch.Tensor, at: int) -> None:
    other = kept.clone().reshape(-1)
    other[at % kept.numel()] ^= True
    pattern = TensorPattern.of(kept)
    assert TensorPattern.of(other.reshape(kept.shape)).digest != pattern.digest
    assert TensorPattern.of(kept[None]).digest != pattern.digest


def test_bits_behind_the_last_element_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 bits"):
        TensorPattern(shape=(3,), bits=b"\xf0")
    with pytest.raises(InvalidInput, match="3 bits"):
        TensorPattern(shape=(3,), bits=b"\xe0\x00")


def _model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def _pattern() -> SparsityPattern:
    kept = torch.ones(4, 5, dtype=torch.bool)
    kept[1] = False
    return SparsityPattern.of({"0.weight": kept, "2.bias": torch.tensor([1, 0, 1])})


def test_what_is_removed_becomes_zero_and_is_seen_to_come_back() -> None:
    model, pattern = _model(), _pattern()
    assert pattern.violations(model) == {"0.weight": 5, "2.bias": 1}
    pattern.apply(model)
    assert pattern.violations(model) == {}
    assert pattern.removed_count == 6
    assert pattern.share_removed(model) == 6 / 39
    with torch.no_grad():
        model[0].weight[1, 2] = 1e-30
    assert pattern.violations(model) == {"0.weight": 1}
    assert pattern.differences(SparsityPattern.of_zeros(model)) == {"0.weight": "1 of 20 weights"}


def test_nan_is_removed_too() -> None:
    model = _model()
    with torch.no_grad():
        model[0].weight[1] = torch.nan
    _pattern().apply(model)
    assert bool(model[0].weight[1].eq(0).all())


def test_the_pattern_of_another_model_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    before = model[0].weight.detach().clone()
    with pytest.raises(InvalidInput, match="another model"):
        _pattern().apply(model)
    assert torch.equal(model[0].weight, before)


def test_files_hold_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "pattern.safetensors"
    pattern = SparsityPattern.of({**_pattern().kept(), "empty": torch.ones(0, 3)})
    save_pattern(pattern, path)
    loaded = load_pattern(path)
    assert loaded.differences(pattern) == {}
    assert loaded.digest == pattern.digest


def test_a_changed_file_is_refused_or_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pattern.safetensors"
    save_pattern(_pattern(), path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x11
        path.write_bytes(bytes(changed))
        try:
            loaded = load_pattern(path)
        except StaleEvidence:
            continue
        assert loaded.digest == _pattern().digest, at


def test_joining_keeps_what_both_keep() -> None:
    one, two = torch.tensor([1, 1, 0]), torch.tensor([0, 1, 1])
    both = SparsityPattern.of({"a": one, "b": one}).joined(SparsityPattern.of({"a": two}))
    assert both.kept()["a"].tolist() == [False, True, False]
    assert both.kept()["b"].tolist() == [True, True, False]
