"""CPU time of our evaluation of maps beside Quantus' own classes, on the same images and maps.

Image by image (as a notebook does) and in batches of 16 and 64. Each round runs Quantus twice
(A/A). The network is small: the larger it is, the nearer every ratio comes to that of the passes,
which are the same on both sides. Weights and images don't matter for time, so none are loaded.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.pairing import paired_ratio, publish, run_rounds
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fgmf.parameters import Value

METRICS: dict[str, tuple[str, Mapping[str, Value]]] = {
    "pixel-flipping": ("PixelFlipping", {"features_in_step": 4}),
    "faithfulness-correlation": (
        "FaithfulnessCorrelation",
        {"nr_runs": 100, "subset_size": 196},
    ),
    "faithfulness-estimate": ("FaithfulnessEstimate", {"features_in_step": 4}),
    "region-perturbation": (
        "RegionPerturbation",
        {"patch_size": 4, "regions_evaluation": 49},
    ),
}
# Images of one measurement, and how many of them are handed over at once.
WAYS = {"image by image": (8, 1), "batches of 16": (16, 16), "batches of 64": (64, 64)}
QUANTUS, AGAIN, OWN = "Quantus", "Quantus again (A/A)", "own"


def explained(count: int) -> ExplainedImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 28, 28, generator=generator)
    maps = torch.randn(count, 28, 28, generator=generator)
    return ExplainedImages(images=images, targets=torch.arange(count) % 10, maps=maps)


def by_quantus(name: str, network: torch.nn.Module, given: ExplainedImages, batch: int) -> None:
    import quantus

    class_name, parameters = METRICS[name]
    metric = getattr(quantus, class_name)(
        disable_warnings=True, return_aggregate=False, **parameters
    )
    for start in range(0, len(given.images), batch):
        part = slice(start, start + batch)
        metric(
            model=network,
            x_batch=given.images[part].numpy(),
            y_batch=given.targets[part].numpy(),
            a_batch=given.maps[part, None].numpy(),
            channel_first=True,
            softmax=name in {"pixel-flipping", "region-perturbation"},
        )


def by_us(name: str, classifier: Classifier, given: ExplainedImages, batch: int) -> None:
    plan = MetricPlan(metric=name, parameters=METRICS[name][1])
    with classifier.guard():  # once, as around any loop; inside, it costs nothing more
        for start in range(0, len(given.images), batch):
            part = slice(start, start + batch)
            one = ExplainedImages(
                images=given.images[part],
                targets=given.targets[part],
                maps=given.maps[part],
                keys=given.keys[part],
            )
            measure_metric(plan, classifier, one)


def timed(call: Callable[[], None]) -> Callable[[], float]:
    def run() -> float:
        gc.collect()
        started = time.process_time()
        call()
        return time.process_time() - started

    return run


def contestants(name: str, way: str) -> dict[str, Callable[[], float]]:
    count, batch = WAYS[way]
    network: Any = ConvNet(ConvNetConfig(widths=(8, 16), hidden=64), seed=1).eval()
    classifier, given = Classifier(network, bounds=(0, 1), device="cpu"), explained(count)
    theirs = timed(lambda: by_quantus(name, network, given, batch))
    ours = timed(lambda: by_us(name, classifier, given, batch))
    return {QUANTUS: theirs, AGAIN: theirs, OWN: ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="number of pairs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    ratios, times = [], {}
    for name in options.metrics:
        for way in options.ways:
            measured = run_rounds(contestants(name, way), rounds=options.rounds)
            for contestant in (AGAIN, OWN):
                ratio = paired_ratio(contestant, measured, floor=QUANTUS)
                ratios.append(replace(ratio, name=f"{name}, {way}: {contestant}"))
            times |= {f"{name}, {way}: {key}": value for key, value in measured.items()}
    publish(
        "CPU time over that of Quantus' own class",
        ratios,
        {"metrics": {name: dict(values) for name, (_, values) in METRICS.items()}},
        times,
        options.output,
    )


if __name__ == "__main__":
    main()
