"""Pairing by content, and unsure images counted both ways."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from fgmf.baselines import judge_change, pair_outcomes, parse_limit, regression_p_value
from fgmf.baselines.contents import ImageOutcomes
from fgmf.baselines.pairing import PairedCounts, difference_interval
from fgmf.errors import InvalidInput
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from tests.unit.baselines.conftest import MakeMeasured


def _images(outcomes: str, keys: str, labels: list[int] | None = None) -> ImageOutcomes:
    return ImageOutcomes(
        indices=list(range(len(keys))),
        keys=[letter * 16 for letter in keys],
        labels=labels,
        outcomes=outcomes,
    )


def test_images_are_paired_by_content_whatever_their_order() -> None:
    change = pair_outcomes(_images("rrbwb", "abcde"), _images("rbrbb", "edcba"))
    counts = change.worst
    assert change.best == counts
    # a: r -> b, b: r -> b, c: b -> r, d: w -> b, e: b -> r
    assert (counts.newly_broken, counts.newly_fixed) == (2, 2)
    assert (counts.stayed_robust, counts.stayed_broken) == (0, 1)
    assert (counts.robust_before, counts.robust_now, counts.difference) == (2, 2, 0.0)


def test_wrong_without_an_attack_is_as_broken_as_broken() -> None:
    counts = pair_outcomes(_images("rwb", "abc"), _images("wbr", "abc")).worst
    assert (counts.newly_broken, counts.stayed_broken, counts.newly_fixed) == (1, 1, 1)


def test_equal_images_are_counted_each() -> None:
    counts = pair_outcomes(_images("rrr", "aab"), _images("rbb", "aab")).worst
    assert (counts.images, counts.stayed_robust, counts.newly_broken) == (3, 1, 2)


def test_an_image_with_another_label_is_another_image() -> None:
    before, now = _images("rr", "ab", [0, 1]), _images("rr", "ab", [0, 2])
    change = pair_outcomes(before, now)
    assert (change.worst.images, change.only_before, change.only_now) == (1, 1, 1)


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(InvalidInput, match="none in common"):
        pair_outcomes(_images("r", "a"), _images("r", "b"))


@pytest.mark.parametrize("pair", ["ru", "bu", "wf", "ur", "ub", "fu", "uw"])
def test_unsure_images_are_counted_both_ways(pair: str) -> None:
    """Worst and best are the ends of everything that the unsure letters can stand for."""
    change = pair_outcomes(_images("rrb" + pair[0], "abcd"), _images("rbr" + pair[1], "abcd"))
    assert change.unsure == 1
    lost = []
    for before, now in product(*("rb" if letter in "uf" else letter for letter in pair)):
        sure = pair_outcomes(_images("rrb" + before, "abcd"), _images("rbr" + now, "abcd"))
        lost.append(sure.worst.lost)
    assert (change.best.lost, change.worst.lost) == (min(lost), max(lost))


@pytest.mark.parametrize("text", ["1pp", "20pp", "5%", "40%", "significant"])
@pytest.mark.parametrize(
    ("before", "now"),
    [("rrrrrrbu", "rrrrbuub"), ("rrrrrrrr", "rbbbbbuu"), ("uuurrrbb", "rbbrbrrr"), ("rb", "uu")],
)
def test_a_limit_is_decided_only_if_no_unsure_image_could_change_it(
    text: str, before: str, now: str
) -> None:
    limit, keys = parse_limit(f"robust_accuracy:{text}"), "abcdef01"[: len(before)]
    judged = judge_change(pair_outcomes(_images(before, keys), _images(now, keys)), limit).outcome
    seen = set()
    choices = [["r", "b"] if letter in "uf" else [letter] for letter in before + now]
    for letters in map("".join, product(*choices)):
        b, n = letters[: len(before)], letters[len(before) :]
        seen.add(judge_change(pair_outcomes(_images(b, keys), _images(n, keys)), limit).outcome)
    assert judged is (seen.pop() if len(seen) == 1 else Outcome.INCONCLUSIVE)


@pytest.mark.parametrize("counts", [(-1, 2), (2, -1), (1.5, 1)])
def test_p_values_of_what_is_no_count_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        regression_p_value(*counts)


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_an_interval_needs_a_confidence(confidence: float) -> None:
    counts = PairedCounts(stayed_robust=1, newly_broken=0, newly_fixed=0, stayed_broken=0)
    with pytest.raises(InvalidInput, match="confidence"):
        difference_interval(counts, confidence=confidence)


def test_an_interval_needs_images() -> None:
    counts = PairedCounts(stayed_robust=0, newly_broken=0, newly_fixed=0, stayed_broken=0)
    with pytest.raises(InvalidInput, match="at least one image"):
        difference_interval(counts)


def test_data_digests_do_not_depend_on_the_order(measured_of: MakeMeasured) -> None:
    measured = measured_of("rbw")
    images = measured.images
    turned = measured.model_copy(
        update={
            "images": ImageOutcomes(
                indices=images.indices,
                keys=images.keys[::-1],
                labels=(images.labels or [])[::-1],
                outcomes="wbr",
            )
        }
    )
    assert turned.data_digest == measured.data_digest
    assert measured_of("rbw", first=1).data_digest != measured.data_digest
