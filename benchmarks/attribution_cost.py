"""What do explanations cost over the bare passes that they need, and beside Captum?

    python -m benchmarks.attribution_cost --output benchmarks/results/attribution_cost.json

Every contestant explains the same images by the same network once per round, in random order; the
times are CPU times of one process with one thread. A bare loop makes the same passes in the same
batches and does nothing else: it is the floor. The floor runs twice (A/A). The model's guard is
held around all of them, as a gate does; what it costs a single call is shown for the cheapest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.fashion_models import Shelf, held_out
from benchmarks.pairing import arguments, paired_ratio, publish, run_rounds
from fgmf.attribution.building import explainer
from fgmf.classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = 64
BATCH = 128
STEPS = 32
GRID = 7
_AA = "(A/A)"


def main() -> None:
    given = arguments(__doc__.splitlines()[0], rounds=9)
    torch.set_num_threads(1)
    network = Shelf.usual().load("undefended")
    images = held_out(0, IMAGES).images
    with torch.no_grad():
        targets = network(images).argmax(dim=1)
    classifier = Classifier(network, bounds=(0.0, 1.0), device="cpu", batch_size=BATCH)
    ours = {
        "pgca": ("pgca", {}),
        "grad-cam++": ("grad-cam-plus-plus", {"layer": "features.4"}),
        "grad-cam++, layer found": ("grad-cam-plus-plus", {}),
        "integrated gradients": ("integrated-gradients", {"steps": STEPS}),
        "occlusion": ("occlusion", {"grid": GRID}),
    }
    passes = {
        "pgca": (129, 13),
        "grad-cam++": (0, 1),
        "grad-cam++, layer found": (0, 1),
        "integrated gradients": (2, STEPS),
        "occlusion": (GRID**2 + 1, 0),
    }
    runs: dict[str, Callable[[], object]] = {}
    for name, (method, parameters) in ours.items():
        made = explainer(method, parameters)
        runs[name] = lambda made=made: made.explain(classifier, images, targets)
        runs[f"floor of {name}"] = lambda p=passes[name]: _bare(network, images, targets, *p)
        runs[f"floor of {name} {_AA}"] = runs[f"floor of {name}"]
    runs |= _captum(network, images, targets)
    alone = "grad-cam++, a guard of its own"
    with classifier.guard():  # as a gate does, once for all that it measures
        times = run_rounds({n: _timed(run) for n, run in runs.items()}, rounds=given.rounds)
    unguarded = {n: _timed(runs[n]) for n in ("grad-cam++", "floor of grad-cam++")}
    apart = run_rounds(unguarded, rounds=given.rounds)
    times |= {alone: apart["grad-cam++"], f"floor of {alone}": apart["floor of grad-cam++"]}
    ratios = []
    for name in ours:
        for other in (name, f"floor of {name} {_AA}"):
            found = paired_ratio(other, times, floor=f"floor of {name}")
            ratios.append(found)
    ratios.append(paired_ratio(alone, times, floor=f"floor of {alone}"))
    for captum, mine in (
        ("captum IG, internal batch", "integrated gradients"),
        ("captum IG, as called", "integrated gradients"),
        ("captum occlusion", "occlusion"),
        ("captum occlusion, 8 at once", "occlusion"),
    ):
        if captum in times:
            ratios.append(paired_ratio(captum, times, floor=mine))
    facts = {
        **_difference(network, classifier, images, targets),
        "images": IMAGES,
        "batch": BATCH,
        "passes per image": str(passes),
    }
    publish(
        "CPU time of explanations over their bare passes, and of Captum over ours",
        ratios,
        facts,
        times,
        given.output,
    )


def _timed(run: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    return timed


def _bare(
    network: torch.nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    forwards: int,
    gradients: int,
) -> None:
    """The passes alone, in batches of the same size."""
    many = images.repeat_interleave(max(1, BATCH // len(images)), dim=0)
    classes = targets.repeat_interleave(max(1, BATCH // len(images)), dim=0)
    for count, with_gradient in ((forwards, False), (gradients, True)):
        left = count * len(images)
        while left > 0:
            part = many[:left].clone().requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                logits = network(part)
                if with_gradient:
                    own = logits.gather(1, classes[: len(part), None]).sum()
                    torch.autograd.grad(own, part)
            left -= len(part)


def _difference(
    network: torch.nn.Module,
    classifier: Classifier,
    images: torch.Tensor,
    targets: torch.Tensor,
) -> dict[str, object]:
    """How far our maps of the logit are from Captum's at most, where it is installed."""
    captum = _captum(network, images, targets)
    if not captum:
        return {}
    logit = {"output": "logit"}
    path = explainer("integrated-gradients", {**logit, "steps": STEPS})
    cells = explainer("occlusion", {**logit, "grid": GRID})
    theirs = captum["captum IG, internal batch"]()[0], captum["captum occlusion"]()
    return {
        f"largest difference of {made.name} from captum": float(
            (made.explain(classifier, images, targets).maps - other[:, 0]).abs().max()
        )
        for made, other in zip((path, cells), theirs, strict=True)
    }


def _captum(
    network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor
) -> dict[str, Callable[[], Any]]:
    """Captum's ways, where it is installed."""
    try:
        from captum.attr import IntegratedGradients, Occlusion
    except ImportError:
        print("captum is not installed: nothing is compared with it")
        return {}
    integrated, occlusion = IntegratedGradients(network), Occlusion(network)
    side = images.shape[-1] // GRID

    def path(batch: int | None) -> object:
        return integrated.attribute(
            images,
            target=targets,
            n_steps=STEPS,
            method="riemann_middle",
            internal_batch_size=batch,
            return_convergence_delta=True,
        )

    def covered(at_once: int) -> object:
        with torch.no_grad():
            return occlusion.attribute(
                images,
                target=targets,
                sliding_window_shapes=(1, side, side),
                strides=(1, side, side),
                perturbations_per_eval=at_once,
            )

    return {
        "captum IG, internal batch": lambda: path(BATCH),
        "captum IG, as called": lambda: path(None),
        "captum occlusion": lambda: covered(1),
        "captum occlusion, 8 at once": lambda: covered(8),
    }


if __name__ == "__main__":
    main()
