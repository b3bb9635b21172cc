"""Ideas that were to make PGCA's maps depend more on what the last layers have learnt.

    python -m benchmarks.pgca_ideas

On validation images, never those of the tables. For each idea: mean |Spearman| of maps with those
of the same network with the last layer (or all layers) drawn anew, mean over several draws, and
how faithful its maps are. Beside it what bounds it from below: maps of two networks whose last
layers were drawn independently of each other, which have nothing learnt in common there.

Evidence (drops of cells, gradients, Grad-CAM++) is gathered once per network; ideas differ in what
they make of it. *As it was* compares the image with its mean, as all ideas do that do not say
otherwise; that with a blur of side / 7 became PGCA's. Results are kept beside the networks.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from benchmarks import faithfulness_metrics as metrics
from benchmarks.faithfulness_randomised import drawn_anew, random_phases, spearman
from benchmarks.faithfulness_subjects import SUBJECTS, Subject, subject
from benchmarks.fashion_models import Shelf
from fgmf.attribution import passes
from fgmf.attribution import pgca_consensus as consensus
from fgmf.attribution.class_activation import activation_maps, grad_cam_plus_plus
from fgmf.attribution.images import enlarge, gaussian_blur, mean_and_deviation
from fgmf.attribution.layers import find_place
from fgmf.attribution.occlusion import cell_drops, whole_replacement
from fgmf.attribution.path_gradients import ExpectedGradients, noise_path_gradient
from fgmf.attribution.pgca import Pgca
from fgmf.attribution.request import make_request
from fgmf.attribution.smooth_grad import smooth_gradient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.classifier import Classifier

Output = Literal["log-odds", "logit", "probability", "margin", "contrast"]
DRAWS = 6
EXPECTED = ExpectedGradients()
_SEED = 3


@dataclass(frozen=True, kw_only=True)
class Idea:
    """What is made of the evidence; the defaults are what PGCA's were.

    Attributes:
        cells: Whose drops.
        gradients: Whose gradients.
        path_share: Of gradients on the way from noise.
        return_share: Of a cell's disagreement.
        gain: Of Grad-CAM++.
        blur: Factor on the blur.
        blurred: Deviation, as a share of the side, of the blur of the image that it is compared
            with instead of its mean; 0 is the mean.
        blurred_share: Of that in what it is compared with; the rest is the mean.
    """

    cells: Output = "log-odds"
    gradients: Output = "log-odds"
    path_share: float = Pgca.path_share
    return_share: float = Pgca.return_share
    gain: float = Pgca.gain
    blur: float = 1.0
    blurred: float = 0.0
    blurred_share: float = 1.0


IDEAS: dict[str, Idea] = {
    "as it was": Idea(),
    "cells by margin to the runner-up": Idea(cells="margin"),
    "all by margin to the runner-up": Idea(cells="margin", gradients="margin"),
    "all by logit less the mean of the others": Idea(cells="contrast", gradients="contrast"),
    "cells by probability": Idea(cells="probability"),
    "all by probability": Idea(cells="probability", gradients="probability"),
    "no Grad-CAM++": Idea(gain=0.0),
    "no cells (gradients alone)": Idea(return_share=0.0, gain=0.0),
    "cells weigh twice": Idea(return_share=0.6),
    "cells alone decide a cell": Idea(return_share=1.0),
    "gradients around the image alone": Idea(path_share=0.0),
    "gradients from noise alone": Idea(path_share=1.0),
    "no blur": Idea(blur=0.0),
    "image less itself blurred, side / 7": Idea(blurred=1 / 7),
    "image less itself blurred, side / 14": Idea(blurred=1 / 14),
    "image less itself blurred, side / 4": Idea(blurred=1 / 4),
    "half of it, side / 7": Idea(blurred=1 / 7, blurred_share=0.5),
    "half of it, side / 14": Idea(blurred=1 / 14, blurred_share=0.5),
    "half of it, side / 4": Idea(blurred=1 / 4, blurred_share=0.5),
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one network said, by output; all float64 on the CPU."""

    cells: Mapping[str, torch.Tensor]
    around: Mapping[str, torch.Tensor]
    along: Mapping[str, torch.Tensor]
    attention: torch.Tensor


def maps_of(idea: Idea, found: Evidence, images: torch.Tensor) -> torch.Tensor:
    """PGCA's stages 1 to 5, with what the idea changes."""
    usual = Pgca()
    images = images.double()
    cells = found.cells[idea.cells]
    around, along = found.around[idea.gradients], found.along[idea.gradients]
    slope = (1 - idea.path_share) * around + idea.path_share * along
    less = mean_and_deviation(images)[0].expand_as(images)
    if idea.blurred:
        local = gaussian_blur(images, images.shape[-1] * idea.blurred)
        less = less + idea.blurred_share * (local - less)
    gradients = ((images - less) * slope).sum(dim=1)
    agreed = consensus.agree(gradients, cells, share=idea.return_share, floor=usual.return_floor)
    if idea.blur:
        agreed = consensus.smooth(
            agreed,
            images,
            scale=usual.blur_scale * idea.blur,
            least=usual.blur_least,
            most=usual.blur_most,
        )
    return consensus.amplify(agreed, cells, found.attention, gain=idea.gain)


def evidence(classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> Evidence:
    """Everything that any idea needs."""
    usual = Pgca()
    cells, around, along = {}, {}, {}
    with classifier.guard(seed=_SEED):
        request = make_request(classifier, images, targets, None, _SEED)
        fills = [
            whole_replacement(request, "zero", zero=0.0),
            whole_replacement(request, "noise", zero=0.0),
        ]
        place = find_place(request, "auto")
        attention = activation_maps(request, place, grad_cam_plus_plus, output="log-odds")
        for output in ("log-odds", "margin", "contrast", "probability"):
            how: Any = output
            drops, _ = cell_drops(request, fills, grid=usual.grid, output=how)
            cells[output] = consensus.perturb(list(drops.unbind(dim=1)))
            around[output] = smooth_gradient(
                request,
                samples=usual.smoothing_samples,
                deviation=usual.smoothing_deviation,
                output=how,
                paired=True,
            )
            along[output] = noise_path_gradient(request, samples=usual.path_samples, output=how)
    return Evidence(cells=cells, around=around, along=along, attention=attention.double())


def _more_outputs() -> None:
    """Teach the package's score two numbers that it does not offer."""
    usual = passes.score

    def score(logits: torch.Tensor, targets: torch.Tensor, *, output: Output) -> torch.Tensor:
        if output not in {"margin", "contrast"}:
            return usual(logits, targets, output=cast("passes.Output", output))
        wide = logits.double()
        own = wide.gather(1, targets[:, None])[:, 0]
        if output == "margin":
            return own - wide.scatter(1, targets[:, None], -torch.inf).amax(dim=1)
        return own - (wide.sum(dim=1) - own) / (wide.shape[1] - 1)

    passes.score = score


def enveloped(maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Random phases of what multiplies the image less its mean, under that same factor."""
    factor = (images.double() - mean_and_deviation(images.double())[0]).sum(dim=1)
    safe = torch.where(factor.abs() > 1e-3, factor, 1e-3)
    return random_phases(maps / safe) * factor


def studied(who: Subject, *, folder: Path) -> dict[str, dict[str, float]]:
    """All ideas on one model."""
    count = len(who.jury.images)
    path = folder / f"ideas2-{who.name.replace(' ', '-')}-{count}-{DRAWS}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    images, targets = who.jury.images, who.jury.targets
    known = evidence(who.classifier, images, targets)
    few = 40
    last, whole = (
        [
            evidence(
                drawn_anew(who.classifier, last_alone=alone, seed=s), images[:few], targets[:few]
            )
            for s in range(DRAWS)
        ]
        for alone in (True, False)
    )
    sets = who.jury.random_sets()
    drops = {name: who.jury.drops(name, sets) for name in metrics.REPLACEMENTS}
    found, columns = {}, {}
    cells = {"perturbation map": enlarge(known.cells["log-odds"], *images.shape[2:])}
    cells["expected gradients"] = EXPECTED.explain(who.classifier, images, targets, seed=_SEED).maps
    for name, maps in cells.items():
        columns[name] = [
            metrics.scores(who.jury, maps.double(), r, sets, drops[r]).mean(dim=1).tolist()
            for r in drops
        ]
    for name, idea in IDEAS.items():
        maps = maps_of(idea, known, images)
        scores = torch.stack(
            [metrics.scores(who.jury, maps, r, sets, drops[r]).mean(dim=1) for r in drops]
        )
        foreign = [metrics.REPLACEMENTS.index(r) for r in metrics.FOREIGN]
        theirs = [maps_of(idea, one, images[:few]) for one in last]
        others = [maps_of(idea, one, images[:few]) for one in whole]
        mine = maps[:few]
        rows = {
            "last": [spearman(mine, one) for one in theirs],
            "two last": [spearman(a, b) for a, b in pairwise(theirs)],
            "all": [spearman(mine, one) for one in others],
            "chance": [spearman(mine, random_phases(one)) for one in others],
            "chance, image kept": [spearman(mine, enveloped(one, images[:few])) for one in others],
            "two all": [spearman(a, b) for a, b in pairwise(others)],
        }
        found[name] = {key: float(torch.tensor(v).mean()) for key, v in rows.items()}
        found[name] |= {f"sd {key}": float(torch.tensor(v).std()) for key, v in rows.items()}
        found[name] |= {"mean": float(scores.mean()), "foreign": float(scores[foreign].mean())}
        columns[name] = scores.tolist()
        print(who.name, name, {k: round(v, 3) for k, v in found[name].items()}, flush=True)
    found["columns"] = columns
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="validation images of each model")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    _more_outputs()
    folder = Shelf.usual().folder / "explanations"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        name: studied(subject(name, images=given.images, validation=True), folder=folder)
        for name in given.subjects
    }
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
