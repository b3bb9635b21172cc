"""The examination: what naive attacks say, what looks wrong, and what undoes it.

    traits    does the output depend on draws, on earlier questions, on the batch?
    naive     FGSM and PGD-40 on every image that is right; the repository's suite on the scouts
    enough?   a naive attack that leaves almost nothing cannot be hiding much
    probes    on the scouts
    scouting  counter-attacks on the scouts, by symptoms (`league`)
    proof     those that broke scouts on all images, until a gap is proven or all are through

Everything happens inside the classifier's guard; the model comes back as it was.

Cost: about two PGD-40 for an honest model and 256 images: PGD-40 itself, and some 250 passes for
each of 64 scouts. What counter-attacks find costs more.
Randomness: fixed by the seed and each image's key.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.building import build_attack
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.own import Square
from fgmf.classifier.memory import is_out_of_memory
from fgmf.classifier.state import ModelSnapshot
from fgmf.classifier.steadiness import refuse_nonfinite
from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.gradient_masking.answers import find_traits, probe_form, probe_modes
from fgmf.gradient_masking.countering import Assault, Countering
from fgmf.gradient_masking.examined import Examined, Traits, copied
from fgmf.gradient_masking.judge import ITERATIVE, ONE_STEP, judge_masking
from fgmf.gradient_masking.league import (
    Ground,
    distilled,
    estimated,
    gradient_sources,
)
from fgmf.gradient_masking.naive import FORTY_STEPS, climb
from fgmf.gradient_masking.naive import ONE_STEP as ONE_STEP_ASCENT
from fgmf.gradient_masking.paths import probe_path, probe_ray, probe_unbounded, walk_ray
from fgmf.gradient_masking.slopes import (
    measure_slopes,
    probe_direction,
    probe_presence,
    probe_steadiness,
    probe_truth,
)
from fgmf.gradient_masking.values import MaskingMeasurement, NaiveOutcome
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.naive import Ascent, Path
    from fgmf.gradient_masking.sources import Source
    from fgmf.gradient_masking.values import MaskingPlan, Symptom
    from fgmf.types import Images, Labels, Logits

_WORTH: Final = 2
"""Scouts that a counter-attack has to break to be run on all images."""
_SURE: Final = 4
"""Scouts that Square has to break to be run on all: it is slow, and others may do better."""
_AMPLE: Final = 3
"""Images per scout from which on the black-box attacks of the scouts cost little."""


def measure_gradient_masking(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    plan: MaskingPlan,
    *,
    keys: Sequence[str],
) -> MaskingMeasurement:
    """Examine a model for gradient masking.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        labels: (n,) true classes.
        plan: Threat, the repository's suite, seed, deadline.
        keys: One stable key per image (a digest), for its random draws.

    Returns:
        What naive attacks say and what counter-attacks leave of it, image by image; symptoms.

    Raises:
        InvalidInput: No images, or not one label and key for each.
        NonFiniteOutput: The model's clean logits are NaN or infinite.
    """
    if not len(images) or len({len(images), len(labels), len(keys)}) > 1:
        message = "expected at least one image, and one label and key for each, got"
        raise InvalidInput(f"{message} {len(images)}, {len(labels)} and {len(keys)}")
    started = time.perf_counter()
    before = classifier.cost_meter.reading()
    with classifier.guard(seed=plan.seed, tolerate_changes=True):
        measurement = _Examination(classifier, images, labels, plan, tuple(keys)).run()
    seconds = time.perf_counter() - started
    return replace(measurement, cost=classifier.cost_meter.since(before, seconds=seconds))


class _Examination:
    """One examination on its way."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        plan: MaskingPlan,
        keys: tuple[str, ...],
    ) -> None:
        self._classifier, self._plan = classifier, plan
        module = classifier.module
        self._all = Examined(
            classifier=classifier,
            images=images,
            labels=labels,
            keys=keys,
            threat=plan.threat,
            seed=plan.seed,
            traits=Traits(),
            snapshot=None if module is None else ModelSnapshot(module),
        )
        order = image_generator(plan.seed, "scouts").permutation(len(images))
        self._scouts = torch.tensor(sorted(order[: plan.scouts].tolist()))
        self._symptoms: list[Symptom] = []
        self._naive: list[NaiveOutcome] = []
        self._ray: torch.Tensor | None = None
        self._complete = True
        self._suite_gain = self._square_gain = 0

    def run(self) -> MaskingMeasurement:
        """Carry it out."""
        first = self._look()
        self._clean = self._all.right(self._all.images)
        limit = 0.05 if self._all.traits.random else 0.0
        self._live = (self._clean > limit).nonzero().flatten()
        self._state = Countering(
            examined=self._all,
            right=torch.where(self._clean > limit, self._clean, 0.0),
            attacked=torch.zeros(len(self._clean), dtype=torch.bool),
        )
        self._scouts = self._scouts[self._state.right[self._scouts] > 0]
        if len(self._live) and len(self._scouts):
            try:
                self._examine(first)
            except BudgetSpent:
                self._complete = False
        self._state.settle()
        missed = torch.zeros(len(self._all), dtype=torch.bool)
        for outcome in self._naive[:2]:
            missed[outcome.rows] |= outcome.right > 0.5
        return replace(self._measured(), examples=self._state.examples(missed))

    def _look(self) -> Logits:
        part = self._all.of(self._scouts)
        traits, symptoms, first = find_traits(self._classifier, part.images, seed=self._plan.seed)
        refuse_nonfinite(first)
        self._all = replace(self._all, traits=traits)
        self._symptoms += symptoms
        return first

    def _examine(self, first: Logits) -> None:
        self._symptoms.append(probe_form(first))
        self._say("naive attacks")
        self._run_naive()
        scouts = self._all.of(self._scouts)
        copies = self._copies()
        self._say("probes")
        if self._classifier.gradient_available:
            self._probe(scouts, copies[0] or self._classifier)
        if self._nothing_to_hide():
            return
        self._say("the repository's suite")
        self._run_suite()
        ground = Ground(
            examined=self._all,
            free=copies[1],
            standing=frozenset(s.name for s in self._symptoms if s.stands),
        )
        self._counter(ground)

    def _run_naive(self) -> None:
        if not self._classifier.gradient_available:
            return
        one_step = self._naive_attack(ONE_STEP, ONE_STEP_ASCENT)
        path = self._naive_attack(ITERATIVE, FORTY_STEPS)
        live = self._live
        fgsm, pgd = (outcome.right[live] for outcome in self._naive)
        self._symptoms += probe_path(path, pgd, fgsm)
        self._ray = self._naive[0].right.clone()
        self._ray[live] = walk_ray(self._all.of(live), one_step.points, fgsm)
        self._symptoms.append(probe_ray(fgsm, self._ray[live]))

    def _naive_attack(self, name: str, ascent: Ascent) -> Path:
        before, part = self._state.passes, self._all.of(self._live)
        path = climb(part, ascent)
        right = torch.zeros(len(self._all), dtype=torch.float64)
        right[self._live] = self._as_found(part, path.points)
        examples = self._all.images.clone()
        examples[self._live] = path.points
        self._naive.append(
            NaiveOutcome(
                name=name,
                rows=torch.arange(len(self._all)),
                right=right,
                examples=examples,
                unavailable=path.unavailable,
                passes=self._state.passes - before,
            )
        )
        self._book(self._live, path.points, right[self._live], name)
        return path

    def _as_found(self, part: Examined, points: Images) -> torch.Tensor:
        """(m,) right, as a naive evaluation sees it: whatever the attack left behind."""
        plain = replace(part, traits=replace(part.traits, stateful=False, batch_dependent=False))
        return plain.right(points)

    def _book(self, rows: torch.Tensor, points: Images, right: torch.Tensor, name: str) -> None:
        """Let the worst case include what a naive attack found."""
        traits = self._all.traits
        if traits.random or traits.stateful or traits.batch_dependent:
            self._state.judge(rows, points, name)
            return
        self._state.right[rows] = torch.minimum(self._state.right[rows], right)

    def _copies(self) -> tuple[Classifier | None, Classifier | None]:
        """A copy in float64 as the model is, and one without backward hooks."""
        if self._all.traits.stateful or not self._classifier.gradient_available:
            return None, None
        probe = self._all.of(self._scouts[:4]).images
        own = self._classifier.logits_in_batches(probe)
        made: list[Classifier | None] = []
        for keep_hooks in (True, False):
            made.append(None)
            for double in (True, False):
                copy = copied(self._classifier, double=double, keep_hooks=keep_hooks)
                if copy is not None and self._answers_alike(copy, probe, own):
                    made[-1] = copy
                    break
        return made[0], made[1]

    def _answers_alike(self, copy: Classifier, images: Images, own: Logits) -> bool:
        try:
            answers = copy.logits_in_batches(images)
        except Exception as error:  # a copy in another precision can raise anything
            if is_out_of_memory(error):
                raise
            return False
        if self._all.traits.random:
            return answers.shape == own.shape
        return bool((answers.argmax(dim=1) == own.argmax(dim=1)).all())

    def _probe(self, scouts: Examined, exact: Classifier) -> None:
        self._symptoms += probe_modes(scouts)
        slopes = measure_slopes(scouts, exact)
        self._symptoms += probe_presence(slopes)
        self._symptoms += probe_truth(scouts, slopes)
        self._symptoms += probe_steadiness(slopes)
        self._symptoms += probe_direction(scouts, slopes)
        if not self._nothing_to_hide():
            self._symptoms.append(probe_unbounded(scouts))

    def _nothing_to_hide(self) -> bool:
        """Whether the iterative attack leaves less than could be feigned."""
        return bool(self._naive) and self._naive[-1].robust_accuracy <= self._plan.min_gap

    def _run_suite(self) -> None:
        if not self._plan.suite:
            return
        before, part = self._state.passes, self._all.of(self._scouts)
        right = self._clean[self._scouts].clone()
        examples, failure = part.images.clone(), ""
        for plan in self._plan.suite:
            left = (right > 0.05).nonzero().flatten()
            if not len(left):
                break
            attack = build_attack(
                plan,
                self._classifier,
                self._plan.threat,
                seed=self._plan.seed,
                deadline=self._plan.deadline,
            )
            some = part.of(left)
            batch = AttackBatch(
                images=some.images,
                criterion=Criterion(kind="misclassification", labels=some.labels),
                keys=some.keys,
            )
            result = attack.run(batch, restart=0)
            failure = failure or next(iter(result.failures.values()), "")
            found = self._as_found(some, result.adversarial)
            lower = found < right[left]
            right[left[lower]] = found[lower]
            examples[left[lower]] = result.adversarial[lower]
        self._naive.append(
            NaiveOutcome(
                name=f"suite {self._plan.suite_name}".strip(),
                rows=self._scouts,
                right=right,
                examples=examples,
                unavailable=failure,
                passes=self._state.passes - before,
            )
        )
        self._suite_gain = self._state.judge(self._scouts, examples, "suite")

    def _counter(self, ground: Ground) -> None:
        """Try sources on the scouts; what breaks some is run on all images, until it is proof."""
        if any(self._try(source) for source in gradient_sources(ground)) or self._square(ground):
            return
        suspect = ground.suspect or self._square_gain >= _WORTH
        if suspect and any(map(self._try, distilled(ground, copies=3, updates=200))):
            return
        if suspect or self._ample:
            self._try(estimated(ground, pairs=16 if suspect else 8, steps=16 if suspect else 8))

    def _try(self, source: Source) -> bool:
        """Run a source; say whether that ends the search."""
        if self._out_of_time():
            return True
        self._say(source.name)
        gain = self._state.follow(source, self._scouts, scouting=True)
        if source.name.startswith("margin"):
            gain += self._suite_gain  # the suite follows margins, too
        if gain < _WORTH or self._out_of_time():
            return False
        self._say(f"{source.name}, all images")
        self._state.follow(source, self._live, scouting=False)
        return self._proven()

    def _square(self, ground: Ground) -> bool:
        """Run Square on the scouts, and on all if it is worth it; say whether that is enough."""
        if self._out_of_time():
            return True
        self._say("Square")
        logits = ground.averaged(self._all.logits, draws=4)
        assault = Assault(name="Square")
        self._square_gain = self._state.run(
            Square(queries=100 if self._ample else 60),
            logits,
            self._scouts,
            assault,
            scouting=True,
        )
        if self._square_gain < _SURE or self._out_of_time():
            return False
        self._state.run(Square(queries=200), logits, self._live, assault, scouting=False)
        return self._proven()

    @property
    def _ample(self) -> bool:
        """Whether the black-box attacks of the scouts cost little beside the rest."""
        return len(self._all) >= _AMPLE * self._plan.scouts

    def _proven(self) -> bool:
        judgement = judge_masking(
            self._measured(), min_gap=self._plan.min_gap, confidence=self._plan.confidence
        )
        return judgement.finding == "masked" and not self._all.traits.random

    def _out_of_time(self) -> bool:
        over = self._plan.deadline is not None and time.monotonic() > self._plan.deadline
        if over:
            self._complete = False
        return over

    def _say(self, what: str) -> None:
        if self._plan.on_progress is not None:
            self._plan.on_progress(len(self._state.records), 10, what)

    def _measured(self) -> MaskingMeasurement:
        """What is known by now."""
        return MaskingMeasurement(
            labels=self._all.labels,
            clean_right=self._clean,
            naive=tuple(self._naive),
            ray=self._ray,
            right=self._state.right,
            attacked=self._state.attacked,
            symptoms=tuple(self._symptoms),
            counterattacks=tuple(self._state.records),
            examples=(),
            random=self._all.traits.random,
            complete=self._complete,
        )
