"""What do attacks leave of a model whose logits hide its gradients, but not its decisions?

The standard network of the example at Linf 0.15, with its logits z changed so that the order of
the classes stays the same, so that its robust accuracy stays the same too:

    tanh(a z)                          bounded: cross-entropy is nearly flat
    q round(z / q) + r z               steps, with a smooth residual that keeps the order
    s z                                scaled: the cross-entropy saturates in float32

The truth is what all attacks together leave of the network itself, unchanged. Each row says what
one method leaves of the changed one: the default attacks of a gate, Foolbox's PGD (40 steps, 5
restarts), and our own: the minimum-margin attack on 3 and on 9 classes (20 steps each), APGD on
the margin (100 steps), and the same aimed at 9 classes in turn. Every example is judged on the
unchanged network. Passes are forward + backward for each image.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.determinism import recorded
from benchmarks.digit_study import digit_images, say, train_reader, write_result
from fgmf import Classifier
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import Apgd, AttackTask, MinimumMargin
from fgmf.attacks.own.task import image_keys
from fgmf.gates import RobustnessGate
from fgmf.preflight import blocking
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fgmf.datasets import Samples
    from fgmf.verdict import Cost

    Method = Callable[["Subject", "Changed"], tuple[torch.Tensor, float, str]]
    Logits = Callable[[torch.Tensor], torch.Tensor]

EPSILON = 0.15
PGD_STEPS, PGD_RESTARTS = 40, 5


class Changed(torch.nn.Module):
    """A network and what is done to its logits."""

    def __init__(self, network: torch.nn.Module, change: Logits) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change(self.network(images))


class Metered(torch.nn.Module):
    """Counts the passes of a foreign attack as a classifier counts its own."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier.logits(images)


def bounded(factor: float) -> Logits:
    return lambda logits: torch.tanh(factor * logits)


def quantised(step: float, residual: float) -> Logits:
    return lambda logits: step * (logits / step).round() + residual * logits


def scaled(factor: float) -> Logits:
    return lambda logits: factor * logits


CHANGES: dict[str, Logits] = {
    "unchanged": scaled(1.0),
    "tanh(0.2 z)": bounded(0.2),
    "tanh(0.5 z)": bounded(0.5),
    "tanh(z)": bounded(1.0),
    "round(z) + 0.001 z": quantised(1.0, 1e-3),
    "8 round(z / 8) + 0.001 z": quantised(8.0, 1e-3),
    "10 z": scaled(10.0),
    "100 z": scaled(100.0),
    "1000 z": scaled(1000.0),
}
QUICK = ("unchanged", "tanh(0.5 z)", "8 round(z / 8) + 0.001 z", "1000 z")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method leaves of one changed network.

    Attributes:
        change: What was done to the logits.
        method: What attacked.
        left: Share of images that no example broke, judged on the unchanged network.
        passes: Forward and backward passes for each image.
        note: What the preflight said.
    """

    change: str
    method: str
    left: float
    passes: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The unchanged network, its images, and which of them it gets right."""

    network: torch.nn.Module
    samples: Samples

    @property
    def right(self) -> torch.Tensor:
        with torch.no_grad():
            return self.network(self.samples.images).argmax(dim=1) == self.samples.labels

    def unbroken(self, examples: torch.Tensor) -> torch.Tensor:
        """(n,) right with and without these adversarial images."""
        with torch.no_grad():
            predicted = self.network(examples).argmax(dim=1)
        return self.right & (predicted == self.samples.labels)

    def moved_decisions(self, change: Logits) -> int:
        """Clean images and noisy copies whose class the change alters; 0 is expected."""
        draws = torch.Generator().manual_seed(0)
        noise = torch.rand(self.samples.images.shape, generator=draws) - 0.5
        noisy = (self.samples.images + 2 * EPSILON * noise).clamp(0, 1)
        with torch.no_grad():
            logits = self.network(torch.cat([self.samples.images, noisy]))
        return int((logits.argmax(dim=1) != change(logits).argmax(dim=1)).sum())


def default_gate(subject: Subject, model: Changed) -> tuple[torch.Tensor, float, str]:
    """The default attacks of a gate; blocking findings are waived and noted."""
    samples, note = subject.samples, ""
    waive: tuple[str, ...] = ()
    classifier = Classifier(model, bounds=(0, 1), device="cpu")
    while True:
        gate = RobustnessGate(
            norm="linf", epsilon=EPSILON, min_robust_accuracy=0.0, images="all", waive=waive
        )
        with recorded() as kept:
            verdict = gate.check(classifier, samples.images, samples.labels)
        if kept:
            break
        blocked = tuple(finding.name for finding in blocking(verdict.findings))
        if not blocked:
            raise SystemExit(f"the gate could not be measured: {verdict.reason}")
        waive += blocked
        note = f"preflight error, waived here: {', '.join(waive)}"
    examples = samples.images.clone()
    for example in kept[0].examples:
        examples[example.position] = example.image
    return subject.unbroken(examples), _passes(verdict.cost, len(samples)), note


def foolbox_pgd(subject: Subject, model: Changed) -> tuple[torch.Tensor, float, str]:
    """Foolbox's PGD as its documentation shows it, every restart on every image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    samples = subject.samples
    meter = Classifier(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=PGD_STEPS, rel_stepsize=0.1)
    unbroken = subject.right
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        wrapped = foolbox.PyTorchModel(Metered(meter).eval(), bounds=(0, 1), device="cpu")
        for _ in range(PGD_RESTARTS):
            _, moved, _ = attack(wrapped, samples.images, samples.labels, epsilons=EPSILON)
            unbroken = unbroken & subject.unbroken(moved)
    return unbroken, _passes(meter.cost_meter.reading(), len(samples)), ""


def own_attack(attack: Apgd | MinimumMargin) -> Method:
    """One of our own attacks; images that are wrong without it are not attacked."""

    def run(subject: Subject, model: Changed) -> tuple[torch.Tensor, float, str]:
        samples = subject.samples
        task = AttackTask(
            images=samples.images,
            criterion=Criterion(kind="misclassification", labels=samples.labels),
            threat=ThreatModel(norm="linf", epsilon=EPSILON, bounds=(0, 1)),
            keys=image_keys(samples.images),
        )
        outcome = attack.run(model, task)
        passes = int((outcome.forward_passes + outcome.backward_passes).sum())
        return subject.unbroken(outcome.adversarial), passes / len(samples), ""

    return run


METHODS: dict[str, Method] = {
    "default attacks": default_gate,
    f"Foolbox PGD-{PGD_STEPS}x{PGD_RESTARTS}": foolbox_pgd,
    "minimum margin, 3": own_attack(MinimumMargin()),
    "minimum margin, 9": own_attack(MinimumMargin(targets=9)),
    "APGD margin": own_attack(Apgd(loss="margin")),
    "APGD margin, 9": own_attack(Apgd(loss="margin", targets=9)),
}


def truth(subject: Subject) -> torch.Tensor:
    """(n,) what all methods together leave of the unchanged network."""
    model = Changed(subject.network, CHANGES["unchanged"]).eval()
    unbroken = subject.right
    for method in METHODS.values():
        unbroken = unbroken & method(subject, model)[0]
    return unbroken


def measure(subject: Subject, change: str) -> list[Row]:
    """One row for each method."""
    model = Changed(subject.network, CHANGES[change]).eval()
    rows = []
    for name, method in METHODS.items():
        unbroken, passes, note = method(subject, model)
        left = float(unbroken.double().mean())
        rows.append(Row(change=change, method=name, left=left, passes=passes, note=note))
    return rows


def table(rows: list[Row], moved: Mapping[str, int]) -> str:
    """Share left and passes for each image, by change and method."""
    methods = list(METHODS)
    lines = [f"{'':<26}" + "".join(f"{name:>20}" for name in methods)]
    for change in dict.fromkeys(row.change for row in rows):
        mine = {row.method: row for row in rows if row.change == change}
        cells = [f"{mine[name].left:.3f} ({mine[name].passes:.0f})" for name in methods]
        lines.append(f"{change:<26}" + "".join(f"{cell:>20}" for cell in cells))
        notes = [f"{name}: {row.note}" for name, row in mine.items() if row.note]
        if moved[change]:
            notes.append(f"{moved[change]} decisions are not the network's own")
        lines += [f"    {note}" for note in notes]
    return "\n".join(lines)


def _passes(cost: Cost, count: int) -> float:
    return (cost.forward_passes + cost.backward_passes) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, epochs and changes")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = QUICK if options.quick else tuple(CHANGES)
    network = train_reader("standard", epochs=4 if options.quick else None)
    subject = Subject(
        network=network.requires_grad_(False), samples=digit_images(60 if options.quick else None)
    )
    say("the truth")
    true = float(truth(subject).double().mean())
    rows, moved = [], {}
    for number, change in enumerate(changes, 1):
        moved[change] = subject.moved_decisions(CHANGES[change])
        rows += measure(subject, change)
        say(f"{number}/{len(changes)} {change}")
    print(f"robust accuracy of the network itself: {true:.3f} ({len(subject.samples)} images)")
    print("left by each method (passes for each image):")
    print(table(rows, moved))
    if options.output is not None:
        result = {
            "epsilon": EPSILON,
            "images": len(subject.samples),
            "clean_accuracy": float(subject.right.double().mean()),
            "truth": true,
            "moved_decisions": moved,
            "rows": [asdict(row) for row in rows],
        }
        write_result(options.output, __doc__ or "", result)


if __name__ == "__main__":
    main()
