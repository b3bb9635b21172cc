"""Specimens of gradient masking: they build, they work, and their labels hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from specimens.held_out.catalogue import held_out_specimens
from specimens.honest.catalogue import honest_specimens
from specimens.open.catalogue import open_specimens
from specimens.oracles.proof import QUICK, prove

if TYPE_CHECKING:
    from specimens.value import Specimen

SPLIT = json.loads(
    (Path(__file__).resolve().parents[2] / "benchmarks" / "masking_split.json").read_text()
)
OPEN = {specimen.name: specimen for specimen in open_specimens()}
HELD_OUT = {specimen.name: specimen for specimen in held_out_specimens()}
HONEST = {specimen.name: specimen for specimen in honest_specimens()}
ALL = [*OPEN.values(), *HONEST.values(), *HELD_OUT.values()]
COUNT = 50
SLACK = 0.02  # one image of 50: the full study has 160
PROVEN = ("logits-x1000", "rounded-16", "hook-flip", "call-counter", "random-ripple")
TRUSTED = ("plain-gelu", "pgd-0", "straight-through-64", "log-softmax")


def test_names_are_unique_and_every_open_mechanism_has_a_specimen() -> None:
    assert len(OPEN) == len(open_specimens())
    assert len(HONEST) == len(honest_specimens())
    assert len({*OPEN, *HONEST, *HELD_OUT}) == len(OPEN) + len(HONEST) + len(HELD_OUT)
    assert {specimen.mechanism for specimen in OPEN.values()} == set(SPLIT["open"])
    assert {specimen.mechanism for specimen in HELD_OUT.values()} == set(SPLIT["held_out"])


@pytest.mark.parametrize("specimen", ALL, ids=lambda s: s.name)
def test_a_specimen_reads_its_images(specimen: Specimen) -> None:
    subject = specimen.build()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits = subject.model(subject.images)
        if not torch.equal(logits, subject.model(subject.images)):  # it draws in every pass
            logits = sum(subject.model(subject.images).softmax(dim=1) for _ in range(16))
    assert logits.shape[0] == len(subject.labels)
    assert (logits.argmax(dim=1) == subject.labels).double().mean() > 0.7
    assert not any(module.training for module in subject.model.modules())
    assert float(subject.images.min()) >= subject.threat.bounds[0]
    assert float(subject.images.max()) <= subject.threat.bounds[1]


@pytest.mark.parametrize("name", PROVEN)
def test_a_masked_one_is_broken_by_what_its_gradients_hide(name: str) -> None:
    proof = prove(OPEN[name], QUICK, count=COUNT)
    assert proof.gap(OPEN[name]) >= 0.1
    assert proof.holds(OPEN[name])


@pytest.mark.parametrize("name", TRUSTED)
def test_an_honest_one_hides_nothing(name: str) -> None:
    proof = prove(HONEST[name], QUICK, count=COUNT)
    assert proof.gap(HONEST[name]) <= 0.04 + SLACK
    assert proof.clean > proof.oracle
