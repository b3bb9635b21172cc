"""Does the file decide as its source does, on clean images and under attack?

clean       logits of both on every image
crafted     white-box attack on the source: one candidate per image, shown to both
black box   attacks on the file itself that see its scores only; their finds are shown to the source

agree       same class on the clean image
attacked    same class on every adversarial image that either of them was shown
robust      the file is right on the clean image, on the crafted one, and no attack on it broke it
gap         largest absolute difference of a logit, over all images that both were shown
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.building import build_attack
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.projection import inside
from fgmf.classifier.steadiness import refuse_nonfinite
from fgmf.errors import InvalidInput
from fgmf.robustness import RobustnessPlan, measure_robustness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels, Logits


@dataclass(frozen=True, kw_only=True)
class ParityPlan:
    """The question.

    Attributes:
        threat: Ball and box.
        crafting: Attack on the source; None crafts nothing, for sources without gradients.
        black_box: Attacks on the file.
        seed: Fixes every draw.
        deadline: Value of ``time.monotonic()`` after which attacks on the file stop; None never.
        on_progress: Called with what is done, what there is, and the stage.
    """

    threat: ThreatModel
    crafting: AttackPlan | None
    black_box: tuple[AttackPlan, ...]
    seed: int
    deadline: float | None = None
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True)
class ParityMeasurement:
    """The answer, image by image.

    Attributes:
        labels: (n,) true classes.
        source_logits: (n, classes) of the source on the clean images.
        logits: (n, classes) of the file.
        source_attacked: (n, classes) of the source on the crafted images; None where none were.
        attacked: (n, classes) of the file on them.
        crafted: (n,) False where crafting failed.
        differs_where_found: (n,) the source gives an example that broke the file another class
            than the file does.
        black_box: What attacks on the file found.
        found_gap: Largest difference of a logit on the examples that they found; 0 if none.
    """

    labels: Labels
    source_logits: Logits
    logits: Logits
    source_attacked: Logits | None
    attacked: Logits | None
    crafted: ImageFlags
    differs_where_found: ImageFlags
    black_box: RobustnessMeasurement
    found_gap: float

    @property
    def agree(self) -> ImageFlags:
        """(n,) same class on the clean image."""
        return self.source_logits.argmax(dim=1) == self.logits.argmax(dim=1)

    @property
    def agree_attacked(self) -> ImageFlags:
        """(n,) same class on every adversarial image that both were shown."""
        same = ~self.differs_where_found
        if self.source_attacked is None or self.attacked is None:
            return same
        return same & (self.source_attacked.argmax(dim=1) == self.attacked.argmax(dim=1))

    @property
    def broken(self) -> ImageFlags:
        """(n,) the file is wrong on the clean image, or on an adversarial one."""
        broken = self.black_box.broken
        if self.attacked is None:
            return broken
        return broken | (self.attacked.argmax(dim=1) != self.labels)

    @property
    def source_broken(self) -> ImageFlags:
        """(n,) the source is wrong on the clean image, or on the crafted one."""
        broken = self.source_logits.argmax(dim=1) != self.labels
        if self.source_attacked is None:
            return broken
        return broken | (self.source_attacked.argmax(dim=1) != self.labels)

    @property
    def clean_gap(self) -> float:
        """Largest difference of a logit on the clean images."""
        return float((self.source_logits - self.logits).abs().max())

    @property
    def attacked_gap(self) -> float:
        """Largest difference of a logit on adversarial images."""
        if self.source_attacked is None or self.attacked is None:
            return self.found_gap
        crafted = float((self.source_attacked - self.attacked).abs().max())
        return max(crafted, self.found_gap)

    @property
    def gap(self) -> float:
        """Largest difference of a logit."""
        return max(self.clean_gap, self.attacked_gap)

    @property
    def near_margin(self) -> ImageFlags:
        """(n,) the source's two first classes are within twice the gap: either could win."""
        first, second = self.source_logits.topk(2, dim=1).values.unbind(dim=1)
        return first - second <= 2 * self.gap


def measure_parity(
    source: Classifier,
    artefact: Classifier,
    images: Images,
    labels: Labels,
    plan: ParityPlan,
    *,
    keys: Sequence[str],
) -> ParityMeasurement:
    """Hold a file against its source.

    Args:
        source: The model that was exported; put back as it was.
        artefact: The file, for the same images.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        labels: (n,) true classes.
        plan: Threat, attacks, seed.
        keys: One stable key per image, for its draws.

    Raises:
        InvalidInput: The two put out another number of classes, or there are no images.
        NonFiniteOutput: One of them puts out NaN or infinities.
        ModelStateChanged: The source's state was changed by its forward pass.

    Cost: two passes of each image and crafted image through each, the attack's on the source, and
        the black-box attacks' on the file.
    Randomness: `plan.seed` and the images' keys.
    """
    criterion = Criterion(kind="misclassification", labels=labels)
    with source.guard(seed=plan.seed):
        source_logits = refuse_nonfinite(source.logits_in_batches(images))
        logits = refuse_nonfinite(artefact.logits_in_batches(images))
        if source_logits.shape != logits.shape:
            message = f"expected {source_logits.shape[1]} classes of the file, as of its source"
            raise InvalidInput(f"{message}, got {logits.shape[1]}")
        candidates, crafted = _crafted(source, images, criterion, plan, keys)
        source_attacked = attacked = None
        if plan.crafting is not None:
            source_attacked = refuse_nonfinite(source.logits_in_batches(candidates))
            attacked = refuse_nonfinite(artefact.logits_in_batches(candidates))
        black_box = measure_robustness(
            artefact,
            images,
            criterion,
            RobustnessPlan(
                threat=plan.threat,
                attacks=plan.black_box,
                seed=plan.seed,
                deadline=plan.deadline,
                example_limit=len(images),
                on_progress=plan.on_progress,
            ),
            keys=keys,
        )
        differs, gap = _held_against(source, artefact, black_box)
    return ParityMeasurement(
        labels=labels,
        source_logits=source_logits,
        logits=logits,
        source_attacked=source_attacked,
        attacked=attacked,
        crafted=crafted,
        differs_where_found=differs,
        black_box=black_box,
        found_gap=gap,
    )


def _crafted(
    source: Classifier,
    images: Images,
    criterion: Criterion,
    plan: ParityPlan,
    keys: Sequence[str],
) -> tuple[Images, ImageFlags]:
    """The candidates of the attack on the source; the clean image where it failed."""
    candidates = images.clone()
    crafted = torch.ones(len(images), dtype=torch.bool)
    if plan.crafting is None:
        return candidates, crafted
    attack = build_attack(plan.crafting, source, plan.threat, seed=plan.seed, deadline=None)
    for rows in torch.arange(len(images)).split(source.batch_size):
        batch = AttackBatch(
            images=images[rows],
            criterion=criterion.of(rows),
            keys=tuple(keys[at] for at in rows.tolist()),
        )
        result = attack.run(batch, restart=0)
        good = inside(images[rows], result.adversarial, plan.threat)
        good[list(result.failures)] = False
        candidates[rows[good]] = result.adversarial[good]
        crafted[rows] = good
        if plan.on_progress is not None:
            plan.on_progress(int(rows[-1]) + 1, len(images), "crafting on the source")
    return candidates, crafted


def _held_against(
    source: Classifier, artefact: Classifier, black_box: RobustnessMeasurement
) -> tuple[ImageFlags, float]:
    """Show the source what broke the file."""
    differs = torch.zeros(len(black_box.labels), dtype=torch.bool)
    if not black_box.examples:
        return differs, 0.0
    shown = torch.stack([example.image for example in black_box.examples])
    positions = torch.tensor([example.position for example in black_box.examples])
    of_source, of_file = source.logits_in_batches(shown), artefact.logits_in_batches(shown)
    differs[positions] = of_source.argmax(dim=1) != of_file.argmax(dim=1)
    return differs, float((of_source - of_file).abs().max())
