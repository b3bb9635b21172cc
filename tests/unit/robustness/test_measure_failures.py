"""What cannot be measured is never counted as robust: failures, NaN, time, lies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, make_images, measure, rule

from fgmf.errors import InvalidInput, ModelStateChanged, NonFiniteOutput
from fgmf.robustness import measure as measuring
from fgmf.robustness.measure import measure_robustness
from fgmf.robustness.plan import RobustnessPlan
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = make_images(9, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
ODD = 4
SMALL, LARGE = 0.004, 0.2


def is_odd(images: torch.Tensor, reach: float = 0.05) -> torch.Tensor:
    """Near the image at `ODD`, attacked or not."""
    return (images.detach() - IMAGES[ODD]).flatten(1).abs().amax(dim=1) <= reach


def is_attacked(images: torch.Tensor) -> torch.Tensor:
    return is_odd(images) & ~is_odd(images, 1e-6)


class Special(CurvedModel):
    """Answers like any other, but for the attacked odd image."""

    def __init__(self, answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.__dict__["answer"] = answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer(images, super().forward(images))


def raising(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    if bool(is_attacked(images).any()):
        raise ZeroDivisionError("odd")
    return logits


def spoiling(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.where(is_attacked(images).unsqueeze(1), torch.nan, logits)


def only_in_judging(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Raises where no gradient is asked: FGSM asks for one, and its judge for none."""
    return logits if images.requires_grad else raising(images, logits)


@pytest.mark.parametrize("attack", ["pgd", "fgsm", "additive-noise", "deepfool", "hop-skip-jump"])
@pytest.mark.parametrize("answer", [raising, spoiling, only_in_judging])
@pytest.mark.parametrize("batch_size", [2, 128])
def test_an_image_that_cannot_be_attacked_has_failed(
    attack: str, answer: Any, batch_size: int
) -> None:
    plain = measure(classify(CurvedModel()), IMAGES, LABELS, attacks=[attack], epsilon=SMALL)
    classifier = classify(Special(answer), batch_size=batch_size)
    result = measure(classifier, IMAGES, LABELS, attacks=[attack], epsilon=SMALL)
    assert not bool(plain.broken[ODD])
    others = [at for at in range(9) if at != ODD]
    assert torch.equal(result.broken[others], plain.broken[others])
    if attack == "deepfool" and answer is only_in_judging:
        return  # what it judges lies on the far side of the boundary, out of reach
    assert result.failed.nonzero().flatten().tolist() == [ODD]
    assert list(result.records[0].failures) == [ODD]
    assert not result.certain


def test_an_image_that_another_attack_breaks_has_not_failed() -> None:
    """It is broken, whatever the first attack met."""

    def at_first(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if images.requires_grad and bool(is_odd(images, 0.3).any()):
            raise ZeroDivisionError
        return logits

    result = measure(
        classify(Special(at_first)), IMAGES, LABELS, attacks=["fgsm", "hop-skip-jump"], epsilon=0.25
    )
    assert list(result.records[0].failures) == [ODD]
    assert bool(result.broken[ODD])
    assert not bool(result.failed.any())


def test_a_failure_is_said_with_its_reason() -> None:
    result = measure(classify(Special(raising)), IMAGES, LABELS, attacks=["bim"], epsilon=SMALL)
    assert result.records[0].failures == {ODD: "ZeroDivisionError: odd"}
    result = measure(
        classify(Special(only_in_judging)), IMAGES, LABELS, attacks=["fgsm"], epsilon=SMALL
    )
    assert result.records[0].failures == {ODD: "judging its example: ZeroDivisionError: odd"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_clean_logits_must_be_finite(value: float) -> None:
    def spoiled(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return torch.where(is_odd(images).unsqueeze(1), value, logits)

    with pytest.raises(NonFiniteOutput, match=r"1 of 9 images \(first: image 4"):
        measure(classify(Special(spoiled)), IMAGES, LABELS)


def test_a_spent_budget_leaves_images_undecided() -> None:
    labels = LABELS.clone()
    labels[0] = (labels[0] + 1) % 4
    result = measure(classify(CurvedModel()), IMAGES, labels, deadline=time.monotonic() - 1)
    assert result.broken.tolist() == [True] + [False] * 8
    assert result.undecided.tolist() == [False] + [True] * 8
    assert not result.certain
    assert result.records[0].broken == 0


def test_what_was_broken_before_the_end_stays_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs out in the second attack; what survived the first is undecided, not robust."""
    late: list[bool] = []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return 1.0 if late else 0.0

    monkeypatch.setattr("fgmf.attacks.foolbox_bridge.time", Clock)
    noise = ("additive-noise", {"repeats": 10})
    options: dict[str, Any] = {"attacks": [noise, "pgd"], "epsilon": 0.06, "deadline": 0.5}
    result = measure(
        classify(CurvedModel()),
        IMAGES,
        LABELS,
        on_progress=lambda done, total, stage: late.append(True) if stage == "PGD" else None,
        **options,
    )
    assert 0 < result.records[0].broken == int(result.broken.sum()) < 9
    assert torch.equal(result.undecided, ~result.broken)
    late.clear()
    in_time = measure(classify(CurvedModel()), IMAGES, LABELS, **options)
    assert in_time.certain
    assert in_time.records[1].broken > 0


def labels_of_nearest(images: torch.Tensor) -> torch.Tensor:
    gaps = torch.cdist(images.detach().flatten(1), IMAGES.flatten(1))
    return LABELS[gaps.argmin(dim=1)]


class Coward(CurvedModel):
    """Falls to any attack in a batch of several, and never in a batch of one."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        honest = labels_of_nearest(images)
        right = torch.nn.functional.one_hot(honest, 4).float() * 5
        wrong = right.roll(1, 1)
        moved = torch.tensor(
            [not bool((image == IMAGES).flatten(1).all(1).any()) for image in images]
        )
        fall = moved.unsqueeze(1) & (len(images) > 1)
        return torch.where(fall, wrong, right) + 0 * super().forward(images)


def test_examples_that_only_exist_in_a_batch_are_reported_and_not_counted() -> None:
    """Two images: both are found in a batch of two, and refuted in two batches of one."""
    classifier = classify(Coward(), batch_size=2)
    noise = [("additive-noise", {"repeats": 2})]
    result = measure(classifier, IMAGES[:2], LABELS[:2], attacks=noise * 2, epsilon=SMALL)
    assert not bool(result.broken.any())
    assert [sorted(record.unverified) for record in result.records] == [[0, 1], [0, 1]]
    assert [record.attacked for record in result.records] == [2, 2]  # the attacks went on
    assert result.verified == 0
    assert result.examples == ()
    assert result.certain


def test_a_single_find_of_a_pair_is_judged_alone() -> None:
    """Otherwise it would be judged in a batch of two once more, now beside itself."""
    sizes: list[int] = []

    class Recording(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    epsilon = 0.0
    for epsilon in (0.002 * step for step in range(1, 60)):
        sizes.clear()
        result = measure(
            classify(Recording()), IMAGES[:2], LABELS[:2], attacks=["bim"], epsilon=epsilon
        )
        if int(result.broken.sum()) == 1:
            break
    assert int(result.broken.sum()) == 1
    assert sizes[-2] == 1  # the last pass is the clean one
    assert set(sizes[:-2]) == {2}


def test_a_lonely_find_is_judged_in_a_pair() -> None:
    sizes: list[int] = []

    class Recording(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    result = measure(classify(Recording()), IMAGES[:1], LABELS[:1], attacks=["bim"], epsilon=LARGE)
    assert bool(result.broken.all())
    assert sizes[-2] == 2  # the last pass is the clean one


def test_an_example_outside_the_ball_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that forgets to project is caught by the judge."""
    monkeypatch.setattr(
        "fgmf.attacks.foolbox_bridge.project", lambda clean, moved, _: clean + 3 * (moved - clean)
    )
    result = measure(classify(CurvedModel()), IMAGES, LABELS, attacks=["pgd"], epsilon=0.03)
    assert not bool(result.broken.any())
    assert len(result.records[0].unverified) > 3
    assert result.examples == ()


def test_a_find_that_holds_later_is_no_longer_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    real = measuring.inside
    calls: list[int] = []

    def doubtful(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        held = real(*arguments)
        return held & (len(calls) > 1)

    monkeypatch.setattr("fgmf.robustness.measure.inside", doubtful)
    result = measure(
        classify(CurvedModel()), IMAGES, LABELS, attacks=["pgd"], restarts=2, epsilon=LARGE
    )
    assert bool(result.broken.all())
    assert result.records[0].unverified == set()
    assert result.records[0].broken == 9


class Dark(LinearModel):
    """Class 0 for everything that is not very bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.flatten(1).mean(dim=1) - 0.95
        return torch.stack([-bright, bright], dim=1)


@pytest.mark.parametrize("attack", ["boundary", "hop-skip-jump"])
def test_without_a_start_an_image_has_failed(attack: str) -> None:
    labels = torch.zeros(9, dtype=torch.int64)
    norm: Any = "l2"
    result = measure(classify(Dark()), IMAGES, labels, attacks=[attack], norm=norm, epsilon=0.1)
    assert bool(result.failed.all())
    assert result.records[0].no_start == set(range(9))
    assert "start from" in result.records[0].failures[0]


def test_one_image_without_a_start_has_failed_like_all_of_them() -> None:
    """The target is reached by no image but one, and that one needs no start."""
    images = torch.cat([IMAGES[:3], torch.ones(1, 1, 8, 8)])
    labels = torch.tensor([0, 0, 0, 1])
    targets = torch.tensor([1, 1, 0, 0])
    found = measure(
        classify(Dark()),
        images,
        rule(labels, kind="targeted", targets=targets),
        attacks=["hop-skip-jump"],
        epsilon=0.01,
    )
    assert found.records[0].no_start == set()
    assert found.certain
    targets = torch.tensor([1, 1, 0, 1])  # the bright one has reached its target when clean
    found = measure(
        classify(Dark()),
        images[:3],
        rule(labels[:3], kind="targeted", targets=targets[:3]),
        attacks=["hop-skip-jump"],
        epsilon=0.01,
    )
    assert found.records[0].no_start == {0, 1}
    assert found.failed.tolist() == [True, True, False]
    assert found.broken.tolist() == [False, False, True]


def test_memory_that_runs_out_in_an_attack_halves_the_batch() -> None:
    sizes: list[int] = []

    class Cramped(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate")
            sizes.append(len(images))
            return super().forward(images)

    options: dict[str, Any] = {"attacks": ["fgsm", "pgd"], "epsilon": 0.02}
    result = measure(classify(Cramped()), IMAGES, LABELS, **options)
    expected = measure(classify(CurvedModel()), IMAGES, LABELS, **options)
    assert torch.equal(result.broken, expected.broken)
    assert result.certain
    assert [r.broken for r in result.records] == [r.broken for r in expected.records]
    assert max(sizes) <= 3


def test_a_model_that_changes_is_an_error() -> None:
    class Counting(CurvedModel):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return super().forward(images)

    with pytest.raises(ModelStateChanged, match="calls"):
        measure(classify(Counting()), IMAGES, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "attacks"),
    [(IMAGES, LABELS, ()), (IMAGES[:0], LABELS[:0], ("pgd",)), (IMAGES, LABELS[:3], ("pgd",))],
)
def test_no_attack_and_no_image_is_no_measurement(images: Any, labels: Any, attacks: Any) -> None:
    with pytest.raises(InvalidInput, match="at least one attack"):
        measure(classify(CurvedModel()), images, labels, attacks=attacks)


def test_an_image_needs_its_key() -> None:
    plan = RobustnessPlan(threat=ThreatModel(norm="linf", epsilon=0.1), attacks=(), seed=0)
    with pytest.raises(InvalidInput, match="0 attacks, 9 images, 9 labels, 1 keys"):
        measure_robustness(classify(CurvedModel()), IMAGES, rule(LABELS), plan, keys=["a"])


def test_a_model_that_changes_after_the_first_pass_is_not_measured() -> None:
    """Its state lies outside the module, where no snapshot sees it."""
    passes = []

    class Turning(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            passes.append(len(images))
            return super().forward(images) * (1 if len(passes) < 3 else 1.01)

    with pytest.raises(ModelStateChanged, match="before and after the attacks"):
        measure(classify(Turning()), IMAGES, LABELS, attacks=["bim"], epsilon=LARGE)
