"""The examination: what naive attacks say, what looks wrong, and what undoes it.

    traits    does the output depend on draws, on earlier questions, on the batch?
    naive     FGSM and PGD-40 on every image that is right; the repository's suite on the scouts
    enough?   a naive attack that leaves almost nothing cannot be hiding much
    probes    on the scouts
    scouting  counter-attacks on the scouts, by symptoms (`league`)
    proof     those that broke scouts on all images, until a gap is proven or all are through; a gap
              that no symptom explains has to outlast five starts of PGD-40, or be twice as large
    draws     of a random model the scouts get the whole attack, and other starts of PGD-40: all
              images get it if a gap is left then; candidates are judged on draws of their own

Everything happens inside the classifier's guard; the model comes back as it was.

Cost: about two PGD-40 for an honest model and 256 images. What counter-attacks find costs more.
Randomness: fixed by the seed and each image's key.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own import Square
from fgmf.classifier.memory import is_out_of_memory
from fgmf.classifier.state import ModelSnapshot
from fgmf.classifier.steadiness import refuse_nonfinite
from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.gradient_masking.answers import find_traits, probe_form
from fgmf.gradient_masking.constancy import Revisits, probe_beside
from fgmf.gradient_masking.countering import Assault, Countering
from fgmf.gradient_masking.deciding import Deciding
from fgmf.gradient_masking.examined import Examined, Traits, exact_copies
from fgmf.gradient_masking.judge import ITERATIVE, MARGIN, judge_masking
from fgmf.gradient_masking.league import (
    Ground,
    estimated,
    gradient_sources,
    transferred,
)
from fgmf.gradient_masking.members import probe_members
from fgmf.gradient_masking.naive_runs import NaiveSide
from fgmf.gradient_masking.one_step import lower_along
from fgmf.gradient_masking.probing import probe_budgets, probe_gradients
from fgmf.gradient_masking.repairing import repaired_sources
from fgmf.gradient_masking.suite_runs import suite_outcome
from fgmf.gradient_masking.values import MaskingMeasurement
from fgmf.gradient_masking.walking import probe_layers, walk
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.countering import Algorithm
    from fgmf.gradient_masking.sources import Source
    from fgmf.gradient_masking.values import MaskingPlan, Symptom
    from fgmf.types import Images, Labels, Logits

_WORTH: Final = 2
"""Scouts that a counter-attack has to break to be run on all images."""
_SURE: Final = 4
"""Scouts that Square has to break to be run on all: it is slow, and others may do better."""
_WIDE: Final = 3
"""Times the gap that is allowed: as wide a one on the scouts is not closed by other starts."""
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
        self._complete = True
        self._suite_gain = self._square_gain = 0
        self._explained = False

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
        self._naive = NaiveSide(state=self._state, live=self._live)
        self._scouts = self._scouts[self._state.right[self._scouts] > 0]
        self._complete = len(self._scouts) > 0
        if self._complete:
            self._revisits = Revisits(self._all.of(self._scouts))
            try:
                self._examine(first)
            except BudgetSpent:
                self._complete = False
            self._revisits.ask()
            self._symptoms += self._revisits.symptoms()
        self._state.settle()
        missed = torch.zeros(len(self._all), dtype=torch.bool)
        for outcome in self._naive.outcomes[:2]:
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
        if not self._all.traits.random:
            self._symptoms.append(probe_beside(self._all.of(self._scouts)))
        self._say("naive attacks")
        if self._classifier.gradient_available:
            self._symptoms += self._naive.begin()
        scouts = self._all.of(self._scouts)
        exact, free = exact_copies(self._all, scouts.images[:4])
        self._say("probes")
        if self._classifier.gradient_available:
            self._probe(scouts, exact or self._classifier)
        if self._nothing_to_hide():
            return
        self._say("the repository's suite")
        self._run_suite()
        ground = Ground(
            examined=self._all,
            free=free,
            standing=frozenset(s.name for s in self._symptoms if s.stands),
        )
        self._explained = ground.explained
        self._counter(ground)
        self._prove_on_draws()

    def _probe(self, scouts: Examined, exact: Classifier) -> None:
        self._symptoms += probe_gradients(scouts, exact)
        self._symptoms += self._naive.look_at_turning(self._scouts, self._symptoms)
        if not self._nothing_to_hide():
            self._symptoms += probe_budgets(scouts, exact, self._scouts, self._naive.outcomes[1])

    def _nothing_to_hide(self) -> bool:
        """Whether the iterative attack leaves less than could be feigned."""
        found = self._naive.outcomes
        return bool(found) and found[-1].robust_accuracy <= self._plan.min_gap

    def _run_suite(self) -> None:
        if not self._plan.suite:
            return
        outcome = suite_outcome(self._all, self._scouts, self._clean, self._plan)
        self._naive.outcomes.append(outcome)
        self._suite_gain = self._state.judge(self._scouts, outcome.examples, "suite")

    def _counter(self, ground: Ground) -> None:
        """Try sources on the scouts; what breaks some is run on all images, until it is proof."""
        proven = self._try_all(gradient_sources(ground))
        alarmed = any(symptom.stands and symptom.alarming for symptom in self._symptoms)
        if ground.suspect and (alarmed or not proven):  # half of the truth is soon proven
            proven |= self._try_all(self._repairs(ground))
        if proven:
            return
        if self._square(ground):
            return
        suspect = ground.suspect or self._square_gain >= _WORTH
        if suspect and not ground.suspect and self._try_all(self._repairs(ground)):
            return
        if suspect and self._try_all(transferred(ground)):
            return
        if suspect and self._decide():
            return
        if suspect or self._ample:
            self._try(estimated(ground, pairs=16 if suspect else 8, steps=16 if suspect else 8))

    def _repairs(self, ground: Ground) -> Iterator[Source]:
        """Walk through the modules, and yield networks whose backward pass is another one."""
        if ground.free is None:
            return
        self._say("walk through the modules")
        found = walk(ground.free, self._all.of(self._scouts).images, seed=self._plan.seed)
        if found is not None:
            self._symptoms.append(probe_layers(found))
            self._symptoms.append(probe_members(found.members, found.unheard, found.image_count))
            yield from repaired_sources(ground.free, found, ground.averaged)

    def _try_all(self, sources: Iterator[Source]) -> bool:
        """Run sources of one kind, all of them: the first proof is seldom the whole truth."""
        ended = False
        try:
            for source in sources:
                ended |= self._try(source)
        except BudgetSpent:
            raise
        except Exception as error:  # a changed copy of a user's model can raise anything
            if is_out_of_memory(error):
                raise
            self._state.note("making a counter-attack", error)
        return ended

    def _try(self, source: Source) -> bool:
        """Run a source; say whether that ends the search."""
        if self._out_of_time():
            return True
        self._say(source.name)
        gain = self._state.follow(source, self._scouts, scouting=True)
        if source.name.startswith(MARGIN):
            if self._state.records[-1].failure and source.name != MARGIN:  # the copy's, perhaps
                return self._try(replace(source, name=MARGIN, logits=self._all.logits))
            gain += self._suite_gain  # the suite follows margins, too
        if not self._worth_all(gain) or self._out_of_time():
            return False
        self._say(f"{source.name}, all images")
        rows = self._live
        if self._all.traits.random and source.scout_steps == source.steps:
            rows = rows[~torch.isin(rows, self._scouts)]  # they had all of it
        self._state.follow(source, rows, scouting=False)
        if not self._proven():
            return False
        if self._naive.ray is not None:  # what would FGSM have found with this gradient?
            lower_along(self._all, self._live, source.logits, self._naive.ray)
        return True

    def _worth_all(self, gain: int) -> bool:
        """Whether a source is run on all images: it broke scouts, or shares of draws fell by much.

        Of random models most images are never broken for good. A gap on the scouts that other
        starts of the iterative attack close there is not looked for on all images.
        """
        if not self._all.traits.random or not self._classifier.gradient_available:
            return gain >= _WORTH
        gap = self._naive.gap_on(self._scouts)
        while gap > self._plan.min_gap:
            wide = gap > _WIDE * self._plan.min_gap
            if self._explained or wide or not self._naive.again_on(self._scouts):
                return True
            gap = self._naive.gap_on(self._scouts)
        return False

    def _prove_on_draws(self) -> None:
        """Let a small gap of a random model outlast other starts on all images."""
        if not self._all.traits.random or self._explained:
            return
        while self._is_masked(self._plan.min_gap) and not self._is_masked(2 * self._plan.min_gap):
            if self._out_of_time() or not self._start_again():
                return

    def _square(self, ground: Ground) -> bool:
        """Run Square on the scouts, and on all if it is worth it; say whether that is enough."""
        logits = ground.averaged(self._all.logits, draws=2)
        few = Square(queries=100 if self._ample and not self._all.traits.random else 60)
        self._square_gain, enough = self._search("Square", (few, Square(queries=200)), logits)
        return enough

    def _decide(self) -> bool:
        """Ask for decisions alone; say whether that is enough."""
        if self._all.traits.random:
            return False
        both = Deciding(queries=120), Deciding(queries=240)
        return self._search("decisions (RayS)", both, self._all.logits)[1]

    def _search(
        self, name: str, attacks: tuple[Algorithm, Algorithm], logits: LogitsFunction
    ) -> tuple[int, bool]:
        """Run an attack without gradients on scouts, and a longer one on all if it broke some."""
        if self._out_of_time():
            return 0, True
        self._say(name)
        assault, (few, many) = Assault(name=name), attacks
        gain = self._state.run(few, logits, self._scouts, assault, scouting=True)
        if gain < _SURE or self._out_of_time():
            return gain, False
        self._state.run(many, logits, self._live, assault, scouting=False)
        return gain, self._proven()

    @property
    def _ample(self) -> bool:
        """Whether the black-box attacks of the scouts cost little beside the rest."""
        return len(self._all) >= _AMPLE * self._plan.scouts

    def _proven(self) -> bool:
        """Whether a gap is proven, and more restarts of the naive attack would not close it.

        A gap of twice what is allowed, or one with a symptom, needs no other starts. They are
        made one by one, until the gap is closed.
        """
        if not self._is_masked(self._plan.min_gap):
            return False
        if self._is_masked(2 * self._plan.min_gap):
            return True
        if self._all.traits.random:
            return False  # candidates are judged on new draws at the end
        if self._explained or not self._classifier.gradient_available:
            return True
        while self._start_again():
            if not self._is_masked(self._plan.min_gap):
                return False  # more starts would not open the gap again
        return True

    def _start_again(self) -> bool:
        self._say(f"{ITERATIVE}, start {self._naive.starts + 1}")
        return self._naive.again()

    def _is_masked(self, min_gap: float) -> bool:
        judgement = judge_masking(
            self._measured(), min_gap=min_gap, confidence=self._plan.confidence
        )
        return judgement.finding == "masked"

    def _out_of_time(self) -> bool:
        over = self._plan.deadline is not None and time.monotonic() > self._plan.deadline
        if over:
            self._complete = False
        return over

    def _say(self, what: str) -> None:
        """Tell what begins, and look whether the model still answers as it did."""
        self._revisits.ask()
        if self._plan.on_progress is not None:
            self._plan.on_progress(len(self._state.records), 10, what)

    def _measured(self) -> MaskingMeasurement:
        """What is known by now."""
        return MaskingMeasurement(
            labels=self._all.labels,
            clean_right=self._clean,
            naive=tuple(self._naive.outcomes),
            ray=self._naive.ray,
            right=self._state.right,
            attacked=self._state.attacked,
            symptoms=tuple(self._symptoms),
            counterattacks=tuple(self._state.records),
            examples=(),
            random=self._all.traits.random,
            complete=self._complete,
        )
