"""Which explainer is how faithful: explainers x metrics x replacements, on seven models.

    python -m benchmarks.attribution_faithfulness

Fashion-MNIST with a standard and a robust CNN, ViT and hybrid, and digits; test images that no
constant was chosen on. What each explainer is judged by is in `faithfulness_metrics`. Results per
image are kept beside the networks, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from benchmarks import faithfulness_metrics as metrics
from benchmarks.faithfulness_randomised import randomised_check
from benchmarks.faithfulness_subjects import SUBJECTS, Subject, subject
from benchmarks.faithfulness_summary import describe, summarise
from benchmarks.fashion_models import Shelf
from benchmarks.pairing import machine_facts
from fgmf.attribution.building import explainer
from fgmf.attribution.pgca import Pgca

if TYPE_CHECKING:
    from fgmf.attribution.interface import Attribution

PGCA = "pgca"
PERTURBATION = "perturbation map"
CAM = "grad-cam++"
LIGHT: dict[str, object] = {"fills": "alternate", "smoothing_samples": 4, "path_samples": 2}
"""64 fills and 6 gradients."""
PLANS: dict[str, tuple[str, dict[str, object]]] = {
    PGCA: ("pgca", {}),
    "pgca light": ("pgca", LIGHT),
    "pgca published": ("pgca", {"fusion": "published"}),
    "expected gradients": ("expected-gradients", {}),
    "smoothgrad": ("smooth-grad", {}),
    "smoothgrad centred": ("smooth-grad", {"times": "centred"}),
    "integrated gradients": ("integrated-gradients", {}),
    "gradient": ("gradient", {}),
    CAM: ("grad-cam-plus-plus", {}),
    "occlusion zero": ("occlusion", {}),
    "random": ("random", {}),
}
"""Explainers by name here; the perturbation map is a stage of PGCA."""
SEED = 3


def judged(who: Subject, *, folder: Path) -> dict[str, torch.Tensor]:
    """(replacements, metrics, n) per explainer, and (1,) passes and zero maps under own names."""
    path = folder / f"{who.name.replace(' ', '-')}-{_digest(who)}.safetensors"
    kept = load_file(path) if path.is_file() else {}
    sets = who.jury.random_sets()
    drops: dict[str, torch.Tensor] = {}
    known: dict[str, Attribution] = {}
    for name in (*PLANS, PERTURBATION):
        if name in kept:
            continue
        drops = drops or {r: who.jury.drops(r, sets) for r in metrics.REPLACEMENTS}
        started = time.process_time()
        made, maps = _explained(who, name, known)
        seconds = time.process_time() - started
        kept[name] = torch.stack(
            [metrics.scores(who.jury, maps.double(), r, sets, drops[r]) for r in drops]
        )
        count = len(maps)
        facts = [
            made.cost.forward_passes / count,
            made.cost.backward_passes / count,
            float((maps.flatten(1) == 0).all(dim=1).double().mean()),
            1e3 * seconds / count,
        ]
        kept[f"facts of {name}"] = torch.tensor(facts, dtype=torch.float64)
        partial = path.with_suffix(".partial")
        save_file(kept, partial)
        partial.replace(path)
        print(f"{who.name}: {name} {kept[name].mean():.3f}", flush=True)
    return kept


def _explained(
    who: Subject, name: str, known: dict[str, Attribution]
) -> tuple[Attribution, torch.Tensor]:
    """An explanation with its maps; those of PGCA are kept for its stage."""
    owner = name if name in PLANS else PGCA
    if owner not in known:
        method, parameters = PLANS[owner]
        known[owner] = explainer(method, parameters).explain(
            who.classifier, who.jury.images, who.jury.targets, seed=SEED
        )
    made = known[owner]
    return made, made.maps if owner == name else made.stages["perturbation"]


def _digest(who: Subject) -> str:
    """Changes with the images, the network, the metrics and PGCA's constants."""
    words = repr(
        (
            who.classifier.state_digest(),
            tuple(who.jury.images.shape),
            float(who.jury.images.double().sum()),
            metrics.STEPS,
            metrics.SETS,
            Pgca(),
            sorted(map(repr, PLANS.items())),
        )
    )
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200, help="test images of each model")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--validation", action="store_true", help="images to choose constants on")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = Shelf.usual().folder / "explanations"
    folder.mkdir(parents=True, exist_ok=True)
    results, checks = {}, {}
    for name in given.subjects:
        who = subject(name, images=given.images, validation=given.validation)
        results[name] = judged(who, folder=folder)
        checks[name] = randomised_check(who, folder=folder, digest=_digest(who))
    document = summarise(results, checks, parents=(PERTURBATION, CAM), ours=PGCA)
    document["images"] = given.images
    document["explainers"] = {name: f"{m} {p}" for name, (m, p) in PLANS.items()}
    document["machine"] = machine_facts()
    print(describe(document))
    if given.output is not None:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
