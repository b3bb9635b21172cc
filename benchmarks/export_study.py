"""What structured pruning costs and brings: accuracy, robust accuracy, size, parity.

For CNN, ViT and hybrid, standard and robust, at some shares of removed units:

    before   the pruned network as it is: units with the lowest scores on its own recipe's loss
    after    taken out for good, and trained two more epochs by that recipe on 4000 images; longer
             and other repairs: `benchmarks.export_repair`
    file     exported to ONNX; bytes, also compressed; gate measurements on 1000 test images

`python -m benchmarks.export_study` computes what is missing, cell by cell, into the cache, then
writes `benchmarks/results/export_study.json`. `--cell cnn robust 0.9` computes one cell.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.export_models import ARCHITECTURES, IMAGES, KINDS, load, plan_of, recipe_of
from benchmarks.fashion_models import EPSILON, Shelf, held_out
from fgmf.attacks.plans import plan_attacks
from fgmf.canonical import tensor_digest, write_atomically
from fgmf.classifier import Classifier
from fgmf.datasets import Samples, fashion_mnist
from fgmf.export import ExportSettings, artefact_of, export_onnx
from fgmf.export.parity import ParityPlan, measure_parity
from fgmf.sparsity import compact, find_units, gradient_scores, prune_units
from fgmf.threat import ThreatModel
from fgmf.training import Schedule, train

SHARES = (0.0, 0.5, 0.8, 0.9)
VIT_SHARES = (0.0, 0.5, 0.73, 0.8, 0.9)
TESTED = 1000
EPOCHS = 2
VERSION = 1
_PEAK = {"cnn": 4e-3, "vit": 2e-3, "hybrid": 2e-3}
_PGD = {"steps": 20}
RESULTS = Path(__file__).parent / "results" / "export_study.json"


def shares_of(architecture: str) -> tuple[float, ...]:
    """Return the shares of removed units that are measured."""
    return VIT_SHARES if architecture == "vit" else SHARES


def folder() -> Path:
    """Return where cells and exported files are kept."""
    path = Shelf.usual().folder / f"export-study-{VERSION}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def name_of(architecture: str, kind: str, share: float, epochs: int = EPOCHS) -> str:
    """Return the name of a cell's files."""
    longer = "" if epochs == EPOCHS else f"-{epochs}-epochs"
    return f"{architecture}-{kind}-{round(100 * share)}{longer}"


def cell(architecture: str, kind: str, share: float, epochs: int = EPOCHS) -> dict:
    """Return one cell, from the cache where it is there."""
    path = folder() / f"{name_of(architecture, kind, share, epochs)}.json"
    if not path.is_file():
        found = _measured(architecture, kind, share, epochs)
        write_atomically(path, json.dumps(found, indent=1).encode())
    return json.loads(path.read_text())


def _measured(architecture: str, kind: str, share: float, epochs: int) -> dict:
    started = time.process_time()
    train_set, test = fashion_mnist(split="train"), held_out(0, TESTED)
    count = IMAGES if epochs == EPOCHS else plan_of(architecture, kind).images
    used = Samples(images=train_set.images[:count], labels=train_set.labels[:count])
    network = load(architecture, kind)
    schedule = Schedule(epochs=epochs, peak_learning_rate=_PEAK[architecture])
    recipe = recipe_of(kind, schedule)
    before, shipped, pruned = None, network, {}
    if share:
        found = find_units(network, used.images[:2])
        scores = gradient_scores(network, used, recipe, image_count=512, seed=1)
        pattern = prune_units(network, found, scores, share)
        compacted = compact(network, test.images[:64], pattern=pattern)
        shipped = compacted.model
        before = _accuracies(copy.deepcopy(shipped), test)
        train(shipped, used, recipe, seed=5)
        pruned = {
            "removed_parameters": 1 - compacted.parameters / compacted.parameters_before,
            "removed_weights_masked": pattern.share_removed(network),
            "compaction_gap": compacted.output_gap,
            "refused": dict(compacted.refused),
            "plan": compacted.plan,
        }
    shipped.eval()
    path = folder() / f"{name_of(architecture, kind, share, epochs)}.onnx"
    classifier = Classifier(shipped, bounds=(0, 1), device="cpu", batch_size=250)
    settings = ExportSettings(removal=pruned.pop("plan", None))
    exported = export_onnx(classifier, test.images[:64], path, settings)
    parity = _parity(classifier, path, test)
    return {
        "architecture": architecture,
        "kind": kind,
        "share": share,
        "epochs": epochs,
        "fine_tuning_images": count,
        "parameters": sum(p.numel() for p in shipped.parameters()),
        **pruned,
        "before": before,
        **parity,
        "bytes": exported.bytes,
        "bytes_compressed": len(gzip.compress(path.read_bytes(), mtime=0)),
        "cpu_seconds": time.process_time() - started,
    }


def _plans(queries: int) -> ParityPlan:
    (pgd,) = plan_attacks([("pgd", _PGD, None)], restarts=1)
    return ParityPlan(
        threat=ThreatModel(norm="linf", epsilon=EPSILON),
        crafting=pgd,
        black_box=plan_attacks([("square", {"queries": queries}, None)], restarts=1),
        seed=3,
    )


def _parity(classifier: Classifier, path: Path, test: Samples) -> dict:
    keys = [tensor_digest(image) for image in test.images]
    artefact = artefact_of(path, classifier, baked=True)
    found = measure_parity(classifier, artefact, test.images, test.labels, _plans(50), keys=keys)
    decided = ~found.near_margin
    return {
        "clean_accuracy": _share(found.source_logits.argmax(1) == found.labels),
        "robust_accuracy": _share(~found.source_broken),
        "file_robust_accuracy": _share(~found.broken),
        "clean_gap": found.clean_gap,
        "attacked_gap": found.attacked_gap,
        "agreement": _share(found.agree),
        "attacked_agreement": _share(found.agree_attacked),
        "near_margin": int(found.near_margin.sum()),
        "disagree_outside_of_twice_the_gap": int((decided & ~found.agree).sum()),
        "clean_images": len(found.labels),
        "crafted_images": int(found.crafted.sum()),
        "black_box_finds": len(found.black_box.examples),
    }


def _accuracies(network: nn.Module, test: Samples) -> dict[str, float]:
    """Clean and under PGD, as the source is measured below."""
    from fgmf.attacks.building import build_attack
    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.interface import AttackBatch

    classifier = Classifier(network.eval(), bounds=(0, 1), device="cpu", batch_size=250)
    plan = _plans(1)
    with classifier.guard():
        right = classifier.predict(test.images) == test.labels
        attack = build_attack(plan.crafting, classifier, plan.threat, seed=3, deadline=None)
        kept = right.clone()
        for rows in torch.arange(len(right)).split(250):
            batch = AttackBatch(
                images=test.images[rows],
                criterion=Criterion(kind="misclassification", labels=test.labels[rows]),
                keys=tuple(tensor_digest(test.images[at]) for at in rows.tolist()),
            )
            moved = attack.run(batch, restart=0).adversarial
            kept[rows] &= classifier.predict(moved) == test.labels[rows]
    return {"clean_accuracy": _share(right), "robust_accuracy": _share(kept)}


def _share(flags: torch.Tensor) -> float:
    return int(flags.sum()) / flags.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", nargs=3, metavar=("NETWORK", "KIND", "SHARE"))
    parser.add_argument("--cached", action="store_true", help="Compute nothing that is missing.")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="Of the fine-tuning.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.cell:
        name, kind, share = asked.cell
        print(json.dumps(cell(name, kind, float(share), asked.epochs), indent=1))
        return
    wanted = [
        (architecture, kind, share, EPOCHS)
        for architecture in ARCHITECTURES
        for kind in KINDS
        for share in shares_of(architecture)
    ]
    if asked.cached:
        wanted = [one for one in wanted if (folder() / f"{name_of(*one)}.json").is_file()]
    cells = [cell(*one) for one in wanted]
    for one in cells:
        before = one["before"] or {"clean_accuracy": float("nan"), "robust_accuracy": float("nan")}
        print(
            f"{one['architecture']:<6} {one['kind']:<8} {one['share']:.2f} "
            f"{one.get('epochs', EPOCHS):>2} "
            f"{one['parameters']:>7} clean {before['clean_accuracy']:.3f} -> "
            f"{one['clean_accuracy']:.3f} robust {before['robust_accuracy']:.3f} -> "
            f"{one['robust_accuracy']:.3f} {one['bytes']:>8} B gap {one['clean_gap']:.1e} "
            f"{one['attacked_gap']:.1e} finds {one['black_box_finds']}"
        )
    write_atomically(RESULTS, (json.dumps({"cells": cells}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
