"""What does a PGD-40 gate cost over a bare loop of the same passes?

The floor is the shortest loop that takes the same number of forward and backward passes: no
checks, no re-verification logic, no bookkeeping. Beside it: the same floor once more (A/A), and
Foolbox called directly as its documentation shows.
"""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.pairing import arguments, paired_ratio, publish, run_rounds
from fgmf import Classifier
from fgmf.gates import RobustnessGate
from fgmf.verdict import Cost, Outcome

IMAGES, BATCH, EPSILON, STEPS = 512, 128, 0.1, 40


def build_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    ).eval()


def draw_images(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on which the model is right, so that every one of them is attacked."""
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, model(images).argmax(1)


def gate_run(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, Cost]:
    gate = RobustnessGate(
        norm="linf",
        epsilon=EPSILON,
        min_robust_accuracy=0.5,
        attacks=({"name": "pgd", "steps": STEPS},),  # type: ignore[arg-type]
        images="all",
        waive=("clean-accuracy-at-chance",),
    )
    classifier = Classifier(model, bounds=(0, 1), device="cpu", batch_size=BATCH)
    started = time.process_time()
    verdict = gate.check(classifier, images, labels)
    seconds = time.process_time() - started
    if verdict.outcome is Outcome.ERROR:
        raise SystemExit(f"the gate could not be measured: {verdict.reason}")
    return seconds, verdict.cost


def bare_run(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, cost: Cost) -> float:
    """The same number of passes, with the update of PGD and nothing else."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    started = time.process_time()
    backward, forward = cost.backward_passes, cost.forward_passes - cost.backward_passes
    position = 0
    while backward > 0:
        size = min(BATCH, backward)
        start = position % IMAGES
        clean, truth = images[start : start + size], labels[start : start + size]
        size = len(clean)
        moved = clean + torch.empty_like(clean).uniform_(-EPSILON, EPSILON)
        for _ in range(STEPS):
            if backward <= 0:
                break
            moved = moved.clone().requires_grad_()
            loss = cross_entropy(model(moved), truth, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = moved.detach() + 0.1 * EPSILON * gradient.sign()
            moved = clean + (moved - clean).clamp(-EPSILON, EPSILON)
            moved = moved.clamp(0, 1)
            backward -= size
        position += size
    with torch.no_grad():
        while forward > 0:
            model(images[: min(BATCH, forward)])
            forward -= BATCH
    seconds = time.process_time() - started
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return seconds


def foolbox_run(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    import foolbox

    started = time.process_time()
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=0.1)
    for start in range(0, IMAGES, BATCH):
        part = slice(start, start + BATCH)
        attack(wrapped, images[part], labels[part], epsilons=EPSILON)
    model.zero_grad(set_to_none=True)
    return time.process_time() - started


def foolbox_cost() -> Cost:
    return Cost(forward_passes=IMAGES * (STEPS + 1), backward_passes=IMAGES * STEPS)


def main() -> None:
    options = arguments(__doc__ or "", rounds=15)
    torch.set_num_threads(1)
    model = build_model()
    images, labels = draw_images(model)
    _, cost = gate_run(model, images, labels)
    times = run_rounds(
        {
            "bare": lambda: bare_run(model, images, labels, cost),
            "bare again (A/A)": lambda: bare_run(model, images, labels, cost),
            "gate": lambda: gate_run(model, images, labels)[0],
            "bare, Foolbox's passes": lambda: bare_run(model, images, labels, foolbox_cost()),
            "Foolbox directly": lambda: foolbox_run(model, images, labels),
        },
        rounds=options.rounds,
    )
    publish(
        "CPU time over a bare loop of the same passes (PGD-40, 1 thread)",
        [
            paired_ratio("gate", times, floor="bare"),
            paired_ratio("bare again (A/A)", times, floor="bare"),
            paired_ratio("Foolbox directly", times, floor="bare, Foolbox's passes"),
        ],
        {
            "images": IMAGES,
            "batch": BATCH,
            "gate passes": f"{cost.forward_passes} forward, {cost.backward_passes} backward",
            "rounds": options.rounds,
        },
        times,
        options.output,
    )


if __name__ == "__main__":
    main()
