"""The control with known answers: logits times 1, 10, 100, 1000; decisions are the same.

A label here is what PGD-40 itself says: masked from where at least 10 points of its robust
accuracy are an illusion against the unscaled network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.masking_specimens import specimens_module

if TYPE_CHECKING:
    from specimens.value import Specimen, Subject

FACTORS = (1.0, 10.0, 100.0, 1000.0)
NETWORKS = ("plain-0", "pgd-0")


def scaled_specimens() -> tuple[Specimen, ...]:
    """Every factor on an undefended and a robust network, labelled by measurement."""
    return tuple(_labelled(network, factor) for network in NETWORKS for factor in FACTORS)


def _labelled(network: str, factor: float) -> Specimen:
    value, making = specimens_module("value"), specimens_module("making")
    logits, proof = specimens_module("open.logits"), specimens_module("oracles.proof")

    def build() -> Subject:
        model = logits.ChangedLogits(making.digit_network(network), logits.scaled(factor))
        twin = value.Twin(model=making.digit_network(network))
        subject: Subject = making.digit_subject(model, twin)
        return subject

    name, about = f"{network} x {factor:g}", f"logits x {factor:g}"
    options = {"name": name, "mechanism": "logit-scale", "build": build, "about": about}
    specimen: Specimen = value.Specimen(label="masked", **options)
    if proof.prove(specimen).holds(specimen):
        return specimen
    honest: Specimen = value.Specimen(label="honest", **options)
    return honest
