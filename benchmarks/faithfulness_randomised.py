"""Does a map depend on what the model has learnt?

    rho(a, b) = |Spearman's rank correlation| of two maps, mean over images
    all layers:   maps of the model against maps of the same network with every weight drawn anew
    last layer:   with the weights of the last linear layer alone drawn anew
    by chance:    maps of the model against maps of the same network with every weight drawn anew
                  whose phases are random: what two unrelated maps of such a grain give by chance
    two drawn:    maps of two networks whose weights (all of them, or those of the last layer) were
                  drawn independently: what is alike without anything learnt in common

Weights are drawn from a normal distribution with the mean and deviation of each tensor. All are
means over several draws; their deviation over draws is told beside.
"""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from fgmf.attribution.building import explainer
from fgmf.classifier import Classifier

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faithfulness_subjects import Subject

CHECKED = {
    "pgca": ("pgca", {}),
    "expected gradients": ("expected-gradients", {}),
    "gradient": ("gradient", {}),
    "grad-cam++": ("grad-cam-plus-plus", {}),
}
DRAWN = range(5, 10)
"""Seeds of the drawn weights."""
_IMAGES = 50
_SEED = 3


def randomised_check(who: Subject, *, folder: Path, digest: str) -> dict[str, dict[str, float]]:
    """Mean |rho| of each explainer for all layers, the last layer, and by chance."""
    path = folder / f"randomised-{len(DRAWN)}-{who.name.replace(' ', '-')}-{digest}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    images, targets = who.jury.images[:_IMAGES], who.jury.targets[:_IMAGES]
    found = {}
    for name, (method, parameters) in CHECKED.items():
        how = explainer(method, parameters)

        def maps(
            classifier: Classifier, images: torch.Tensor = images, how: object = how
        ) -> torch.Tensor:
            made = how.explain(classifier, images, targets, seed=_SEED)  # type: ignore[attr-defined]
            return made.maps.double()

        known = maps(who.classifier)
        whole, last = (
            [maps(drawn_anew(who.classifier, last_alone=a, seed=s)) for s in DRAWN]
            for a in (False, True)
        )
        rows = {
            "all layers": [spearman(known, one) for one in whole],
            "by chance": [spearman(known, random_phases(one)) for one in whole],
            "two drawn, all layers": [spearman(a, b) for a, b in pairwise(whole)],
            "last layer": [spearman(known, one) for one in last],
            "two drawn, last layer": [spearman(a, b) for a, b in pairwise(last)],
        }
        found[name] = {key: float(torch.tensor(v).mean()) for key, v in rows.items()}
        found[name] |= {f"deviation of {k}": float(torch.tensor(v).std()) for k, v in rows.items()}
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def drawn_anew(classifier: Classifier, *, last_alone: bool, seed: int) -> Classifier:
    """The same network with the weights of its last linear layer, or all, drawn anew."""
    network = copy.deepcopy(classifier.module)
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (last if last_alone else network).parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            spread = parameter.std(correction=0) if parameter.numel() > 1 else 0.0
            parameter.copy_(parameter.mean() + spread * noise)
    return Classifier(network, bounds=classifier.bounds, device="cpu", batch_size=256)


def spearman(left: torch.Tensor, right: torch.Tensor) -> float:
    """Mean over maps (n, h, w) of |Spearman's rho|; a constant map has none, and counts as 0."""
    a, b = (_ranks(maps.flatten(1)) for maps in (left, right))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    scale = a.norm(dim=1) * b.norm(dim=1)
    rho = torch.where(scale > 0, (a * b).sum(dim=1) / scale.where(scale > 0, 1.0), 0.0)
    return float(rho.abs().mean())


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks (n, p) with equal values sharing the mean of theirs."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(values.numpy(), axis=1))


def random_phases(maps: torch.Tensor) -> torch.Tensor:
    """Maps (n, h, w) of the same spectrum, whose phases are those of noise."""
    generator = torch.Generator().manual_seed(6)
    noise = torch.fft.fft2(torch.randn(maps.shape, generator=generator, dtype=maps.dtype))
    spectrum = torch.fft.fft2(maps).abs()
    return torch.fft.ifft2(spectrum * noise / noise.abs().clamp_min(1e-12)).real
