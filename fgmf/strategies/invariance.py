"""Search for the smallest and simplest change of images that a classifier does not survive.

    right  = images that are classified right as they are
    search = Hypothesis draws changes (saved failures of earlier runs first) and is told the margin
             that is left; each is applied to all of `right` at once, and fails if more than
             `max_broken` of them are wrong under it
    shrink = Hypothesis makes size and then direction as small and simple as it can
    settle = halve between what fails and what holds, until they are 1 % apart; take the size with
             the fewest digits in between
    again  = the counterexample is judged afresh, in batches of another size

Nothing found is no proof: it says that so many changes were tried.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from hypothesis import Phase, given, target
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Flaky, HypothesisException

from fgmf.classifier.steadiness import refuse_moved, refuse_nonfinite
from fgmf.errors import FgmfError, GateError, GateFailure, InvalidInput
from fgmf.strategies.changes import ImageChange, check_changed
from fgmf.strategies.remembering import NamedDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels, Logits
    from fgmf.verdict import Cost

CLOSENESS: Final = 0.01
"""How far a size that holds lies below the one that is reported, as a share of it."""


@dataclass(frozen=True, kw_only=True)
class Counterexample:
    """The smallest failing change that was found.

    Attributes:
        change: The change; its `repr` makes it again.
        positions: Images that it breaks, as positions in what was given.
        label: Of the first of them.
        predicted: What the first of them is taken for.
        holds_at: The largest size below that was tried and holds; None where the sizes are no
            continuum.
    """

    change: ImageChange
    positions: tuple[int, ...]
    label: int
    predicted: int
    holds_at: float | None


@dataclass(frozen=True, kw_only=True)
class InvarianceResult:
    """What was tried without finding a failure.

    Attributes:
        examples: Changes that were tried.
        image_count: Images that each was tried on: those that are right without it.
        wrong_before: Images that are wrong without any change, and were left out.
        closest: The change that left the smallest margin.
        margin: That margin: right logit less the highest other one.
        cost: Passes and seconds.
    """

    examples: int
    image_count: int
    wrong_before: int
    closest: ImageChange
    margin: float
    cost: Cost


class InvarianceFailure(GateFailure):
    """A change was found that the classifier does not survive.

    Attributes:
        counterexample: The smallest one.
    """

    def __init__(self, message: str, counterexample: Counterexample) -> None:
        """Keep the counterexample beside the message."""
        super().__init__(message)
        self.counterexample = counterexample

    def __reduce__(self) -> tuple[type[InvarianceFailure], tuple[str, Counterexample]]:
        """Pickle by what the error was made of."""
        return type(self), (str(self), self.counterexample)


class _Broken(Exception):
    """Carries a failing change through Hypothesis."""

    def __init__(self, change: ImageChange) -> None:
        super().__init__("broken")
        self.change = change


def assert_invariant(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    strategy: SearchStrategy[ImageChange],
    *,
    max_broken: int = 0,
    settings: hypothesis_settings | None = None,
) -> InvarianceResult:
    """Fail with the smallest change of a strategy under which images change their class.

    Args:
        classifier: Put back as it was afterwards; needs no gradient.
        images: (n, c, h, w) floating point within the bounds.
        labels: (n,) int64.
        strategy: Draws changes, such as ``fgmf.strategies.rotations(15)``; alternatives with
            ``|``, the simplest first.
        max_broken: Images that may be wrong under a change, of those that are right without.
        settings: Hypothesis' settings instead of those of the active profile: number of
            examples, database, derandomize. There is never a deadline per example.

    Returns:
        What was tried.

    Raises:
        InvarianceFailure: A change was found; a `GateFailure`.
        GateError: No image is right, nothing was drawn, the strategy draws something else, or
            the model does not say the same twice.
        InvalidInput: Images and labels do not fit each other.
        NonFiniteOutput: The model's logits are NaN or infinite.
        ModelStateChanged: The model changed, or depends on something besides its input.

    Cost: n forward passes for each example and each step of shrinking, about 3 n besides.
    Randomness: Hypothesis'; with a derandomized profile (its own `ci` is one) nothing is random.
    """
    if len(images) != len(labels) or not len(images) or images.ndim != 4 or max_broken < 0:
        message = "expected images (n, c, h, w) with one label each and max_broken >= 0, got"
        got = f"{tuple(images.shape)}, {len(labels)} labels, max_broken {max_broken}"
        raise InvalidInput(f"{message} {got}")
    started, before = time.perf_counter(), classifier.cost_meter.reading()
    with classifier.guard():
        search = _Search(classifier, images.detach(), labels.cpu(), max_broken=max_broken)
        found = search.run(strategy, settings or hypothesis_settings())
        if found is not None:
            counterexample = search.settled(found)
            raise InvarianceFailure(search.message(counterexample, strategy), counterexample)
        closest, margin = search.closest()
    return InvarianceResult(
        examples=search.examples,
        image_count=len(search.positions),
        wrong_before=len(images) - len(search.positions),
        closest=closest,
        margin=margin,
        cost=classifier.cost_meter.since(before, seconds=time.perf_counter() - started),
    )


class _Search:
    """The images that are right, and what was tried on them."""

    def __init__(
        self, classifier: Classifier, images: Images, labels: Labels, *, max_broken: int
    ) -> None:
        clean = refuse_nonfinite(classifier.logits_in_batches(images))
        self.positions = (clean.argmax(dim=1) == labels).nonzero().flatten().tolist()
        if len(self.positions) <= max_broken:
            message = f"expected more than {max_broken} images that are right without a change"
            raise GateError(f"invariance: not measured: {message}, got {len(self.positions)}")
        self._classifier, self._max_broken = classifier, max_broken
        self._images, self._labels = images[self.positions], labels[self.positions]
        self._clean = clean[self.positions]
        self._closest: tuple[float, ImageChange] | None = None
        self.examples = 0

    def run(
        self, strategy: SearchStrategy[ImageChange], settings: hypothesis_settings
    ) -> ImageChange | None:
        """Let Hypothesis search and shrink; None if nothing fails.

        Raises:
            GateError: Nothing was tried, or not what was asked for.
        """

        @_adapted(settings, strategy)
        @given(strategy)
        def invariance(change: ImageChange) -> None:
            margins = self._margins(change)
            self._watch(change, margins)
            if self._fails(margins):
                raise _Broken(change)

        found = _outcome_of(invariance)
        if not self.examples or Phase.generate not in settings.phases:
            raise _unmeasured("no new examples were drawn (phases of the settings, strategy)")
        again = self._classifier.logits_in_batches(self._images)
        refuse_moved(self._clean, again, during="the changes")
        return found

    def closest(self) -> tuple[ImageChange, float]:
        """The change that left the smallest margin, and that margin.

        Raises:
            GateError: Nothing was tried.
        """
        if self._closest is None:
            raise _unmeasured("no example was tried")
        margin, change = self._closest
        return change, margin

    def settled(self, found: ImageChange) -> Counterexample:
        """Bring a failing change down to a size just above one that holds.

        Raises:
            GateError: It does not fail again.
        """
        change, holds_at = self._bisected(found)
        self._refuse_unsteady(change)
        margins = self._margins(change, batch_size=(len(self._images) + 1) // 2)
        if not self._fails(margins):
            raise _unmeasured("the change does not break the images again in other batches")
        broken = (margins <= 0).nonzero().flatten().tolist()
        first = broken[0]
        logits = self._logits(change, slice(first, first + 1))
        return Counterexample(
            change=change,
            positions=tuple(self.positions[at] for at in broken),
            label=int(self._labels[first]),
            predicted=int(logits.argmax()),
            holds_at=holds_at,
        )

    def message(self, example: Counterexample, strategy: SearchStrategy[ImageChange]) -> str:
        """Say what breaks what; the first line stands alone."""
        count, total = len(example.positions), len(self.positions)
        allowed = f", {self._max_broken} allowed" if self._max_broken else ""
        least = ""
        if example.holds_at is not None:
            least = f"; at size {example.holds_at:.4g} it holds"
        first = example.positions[0]
        return (
            f"invariance: {example.change.describe()} breaks {count} of {total} images that are "
            f"right without it{allowed} (size {example.change.size:.4g}{least}; image {first}: "
            f"label {example.label}, predicted {example.predicted}; "
            f"{self.examples} examples)\n"
            f"change: {example.change!r}\n"
            f"broken images: {_listed(example.positions)}\n"
            f"searched: {strategy!r}"
        )

    def _bisected(self, found: ImageChange) -> tuple[ImageChange, float | None]:
        failing, size = found, found.size
        nearly = found.with_size(size * (1 - CLOSENESS))
        if nearly is None or not size > 0:
            return found, None
        if not self._fails(self._margins(nearly)):
            return _rounded(found, self._breaks), nearly.size
        holds = 0.0
        while size - holds > CLOSENESS * size and size > 1e-12:
            middle = found.with_size((size + holds) / 2)
            if middle is None:
                break
            if self._breaks(middle):
                failing, size = middle, middle.size
            else:
                holds = middle.size
        return _rounded(failing, self._breaks), holds

    def _refuse_unsteady(self, change: ImageChange) -> None:
        """Ask twice in a row for the same images; a change of size 0 breaks none either.

        Raises:
            GateError: The answers differ.
            ModelStateChanged: Those on unchanged images do.
        """
        for _ in range(2):
            again = self._classifier.logits_in_batches(self._images)
            refuse_moved(self._clean, again, during="the changes")
        if not change.size > 0:
            raise _unmeasured(f"images are wrong under {change.describe()}, which changes nothing")

    def _breaks(self, change: ImageChange) -> bool:
        return self._fails(self._margins(change))

    def _fails(self, margins: torch.Tensor) -> bool:
        return int((margins <= 0).sum()) > self._max_broken

    def _margins(self, change: ImageChange, *, batch_size: int | None = None) -> torch.Tensor:
        """(n,) right logit less the highest other one; at most 0 where the image is wrong."""
        if not isinstance(change, ImageChange):
            message = "a strategy of image changes was expected (see fgmf.strategies.ImageChange)"
            raise _unmeasured(f"{message}, it drew {type(change).__name__}")
        logits = self._logits(change, slice(None), batch_size=batch_size)
        right = logits.gather(1, self._labels.unsqueeze(1)).squeeze(1)
        others = logits.scatter(1, self._labels.unsqueeze(1), -math.inf).amax(dim=1)
        wrong = logits.argmax(dim=1) != self._labels
        return torch.where(
            wrong, (right - others).clamp(max=0.0), (right - others).clamp_min(1e-30)
        )

    def _logits(self, change: ImageChange, part: slice, *, batch_size: int | None = None) -> Logits:
        images, bounds = self._images[part], self._classifier.bounds
        changed = check_changed(change, images, change.apply(images, bounds), bounds)
        return refuse_nonfinite(self._classifier.logits_in_batches(changed, batch_size=batch_size))

    def _watch(self, change: ImageChange, margins: torch.Tensor) -> None:
        """Count an example, and tell Hypothesis how near it came."""
        self.examples += 1
        decisive = float(margins.sort().values[self._max_broken])
        if self._closest is None or decisive < self._closest[0]:
            self._closest = decisive, change
        if math.isfinite(decisive):
            target(-decisive, label="margin")


def _adapted(
    settings: hypothesis_settings, strategy: SearchStrategy[ImageChange]
) -> hypothesis_settings:
    """The same settings without a deadline, remembering failures under a name of their own."""
    if settings.database is None:
        return hypothesis_settings(settings, deadline=None, report_multiple_bugs=False)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    database = NamedDatabase(settings.database, f"{test} {strategy!r}")
    return hypothesis_settings(
        settings, deadline=None, report_multiple_bugs=False, database=database
    )


def _outcome_of(search: Callable[[], None]) -> ImageChange | None:
    """Run a search; return the change that it ended with.

    Raises:
        GateError: Something else came of it than a change or nothing.
    """
    try:
        search()
    except _Broken as broken:
        return broken.change
    except (FgmfError, MemoryError):
        raise
    except Flaky as error:
        raise _unmeasured("the model does not say the same twice about one image") from error
    except HypothesisException as error:
        raise _unmeasured(f"Hypothesis stopped: {error}") from error
    except Exception as error:
        raise _unmeasured(f"{type(error).__name__}: {error}") from error
    return None


def _rounded(change: ImageChange, breaks: Callable[[ImageChange], bool]) -> ImageChange:
    """The change of a size with the fewest digits, at most 1 % above, that breaks as well."""
    for digits in range(1, 5):
        unit = 10.0 ** (math.floor(math.log10(change.size)) - digits + 1)
        size = float(f"{math.ceil(change.size / unit - 1e-9) * unit:.{digits}g}")
        candidate = change.with_size(size)
        near = change.size <= size <= change.size * (1 + CLOSENESS)
        if near and candidate is not None and breaks(candidate):
            return candidate
    return change


def _unmeasured(why: str) -> GateError:
    return GateError(f"invariance: not measured: {why}")


def _listed(positions: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, positions[:20]))
    return shown if len(positions) <= 20 else f"{shown} … and {len(positions) - 20} more"
