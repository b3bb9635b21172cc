"""When an attack cannot be carried out: whose fault, whose loss, and never robustness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, classify, make_images

from fgmf.attacks import foolbox_bridge
from fgmf.attacks.catalogue import CATALOGUE
from fgmf.errors import BudgetSpent, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Norm

PAIRS = [
    pytest.param(entry.name, norm, id=f"{entry.name}-{norm}")
    for entry in CATALOGUE.values()
    for norm in entry.foolbox_classes
    if (entry.name, norm) not in {("brendel-bethge", "linf"), ("brendel-bethge", "l1")}
]
GRADIENT = [pair for pair in PAIRS if CATALOGUE[str(pair.values[0])].needs_gradient]
MARKED = 2


def marked_images(count: int = 5) -> torch.Tensor:
    """Noise; the image at `MARKED` has a bright corner, which a small attack cannot hide."""
    images = make_images(count, margin=0.05)
    images[:, :, -2:, -2:] = 0.2
    images[MARKED, :, -2:, -2:] = 1.0
    return images


def marks(images: torch.Tensor) -> torch.Tensor:
    return (images[:, :, -2:, -2:] > 0.6).flatten(1).all(dim=1)


class Touchy(CurvedModel):
    """Does something else for the marked image, once it is attacked."""

    def __init__(self, *, clean: torch.Tensor) -> None:
        super().__init__(3)
        self.__dict__["clean"] = clean

    def attacked(self, images: torch.Tensor) -> torch.Tensor:
        """Marked, and no longer the clean image."""
        gaps = (images.detach().flatten(1) - self.clean[MARKED].flatten()).abs().amax(dim=1)
        return marks(images) & (gaps > 1e-6)


class Raising(Touchy):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if bool(self.attacked(images).any()):
            raise ZeroDivisionError("the marked image\nsecond line")
        return super().forward(images)


class NanLogits(Touchy):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        attacked = self.attacked(images).unsqueeze(1)
        return torch.where(attacked, torch.nan, super().forward(images))


class NanGradient(Touchy):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.requires_grad:
            bad = marks(images).reshape(-1, 1, 1, 1)
            images.register_hook(lambda gradient: torch.where(bad, torch.nan, gradient))
        return super().forward(images)


class ZeroGradient(Touchy):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        still = marks(images).reshape(-1, 1, 1, 1)
        return super().forward(torch.where(still, images.detach(), images))


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_an_image_that_raises_is_the_only_one_lost(
    run: Callable[..., Any], name: str, norm: Norm
) -> None:
    images = marked_images()
    whole = run(classify(CurvedModel(3)), images, name, norm, epsilon=0.02)
    result = run(classify(Raising(clean=images)), images, name, norm, epsilon=0.02)
    if not result.failures:
        assert (name, norm) in {("fgsm", "l1")}  # it asks about one point, hardly off the image
        return
    assert result.failures == {MARKED: "ZeroDivisionError: the marked image"}
    assert torch.equal(result.adversarial[MARKED], images[MARKED])
    others = [row for row in range(len(images)) if row != MARKED]
    assert torch.equal(result.adversarial[others], whole.adversarial[others])


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_nan_logits_are_a_failure(run: Callable[..., Any], name: str, norm: Norm) -> None:
    """Attacks that keep the best point so far would hand back the clean image as unbreakable."""
    images = marked_images()
    result = run(classify(NanLogits(clean=images)), images, name, norm, epsilon=0.02)
    assert list(result.failures) == [MARKED]
    assert bool(result.adversarial.isfinite().all())


@pytest.mark.parametrize(("name", "norm"), GRADIENT)
def test_nan_gradients_are_a_failure(run: Callable[..., Any], name: str, norm: Norm) -> None:
    images = marked_images()
    result = run(classify(NanGradient(clean=images)), images, name, norm, epsilon=0.02)
    assert list(result.failures) == [MARKED]
    assert "NaN" in result.failures[MARKED]
    assert bool(result.adversarial.isfinite().all())


def test_steps_in_place_of_a_zero_gradient_are_drawn_for_each_image(
    run: Callable[..., Any],
) -> None:
    """DDN takes random steps where there is no gradient."""
    images = marked_images()
    classifier = classify(ZeroGradient(clean=images))
    whole = run(classifier, images, "ddn", "l2", parameters={"steps": 5})
    assert whole.failures == {}
    part = run(classifier, images, "ddn", "l2", rows=[MARKED], parameters={"steps": 5})
    assert torch.equal(part.adversarial, whole.adversarial[[MARKED]])


def test_a_model_that_always_raises_fails_for_every_image(run: Callable[..., Any]) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        if images.requires_grad:
            raise ValueError
        return CurvedModel(3)(images).detach()

    result = run(classify(broken), make_images(5), "pgd")
    assert result.failures == dict.fromkeys(range(5), "ValueError")


@pytest.mark.parametrize(("name", "norm"), GRADIENT)
@pytest.mark.parametrize("trainable", [True, False])
def test_a_blocked_gradient_is_a_failure(
    run: Callable[..., Any], name: str, norm: Norm, trainable: bool
) -> None:
    """Also where the attack's own distance gives it a gradient to follow."""
    module = CurvedModel(3).requires_grad_(trainable)

    def blocked(images: torch.Tensor) -> torch.Tensor:
        return module(images.detach())

    result = run(classify(blocked), make_images(3), name, norm)
    assert sorted(result.failures) == [0, 1, 2]
    assert any(word in result.failures[0] for word in ("grad", "differentiated"))


def test_a_passed_deadline_stops_at_once(run: Callable[..., Any]) -> None:
    sizes: list[int] = []

    class Counting(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    with pytest.raises(BudgetSpent, match="max_seconds"):
        run(classify(Counting(3)), make_images(4), "pgd", deadline=time.monotonic() - 1)
    assert sizes == [4]  # the clean pass alone: the budget is no bad image


def test_a_deadline_to_come_changes_nothing(run: Callable[..., Any]) -> None:
    classifier, images = classify(CurvedModel(3)), make_images(4)
    result = run(classifier, images, "pgd", deadline=time.monotonic() + 1e6)
    assert torch.equal(result.adversarial, run(classifier, images, "pgd").adversarial)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory."), KeyboardInterrupt(), SystemExit()],
    ids=repr,
)
def test_some_things_are_nobodys_fault(run: Callable[..., Any], error: BaseException) -> None:
    def full(images: torch.Tensor) -> torch.Tensor:
        if images.requires_grad:
            raise error
        return CurvedModel(3)(images)

    with pytest.raises(type(error)):
        run(classify(full), make_images(4), "pgd")


@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE.values() if entry.needs_start])
def test_a_start_that_starts_nothing_is_a_failure(
    run: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(3)
    monkeypatch.setattr(
        f"{run.__module__}.find_starts", lambda *_, **__: dict(enumerate(images)), raising=True
    )
    result = run(classify(CurvedModel(3)), images, name, "l2")
    assert sorted(result.failures) == [0, 1, 2]
    assert torch.equal(result.adversarial, images)


def test_without_numba_the_extra_is_named(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = foolbox_bridge.foolbox.attacks.brendel_bethge
    monkeypatch.setattr(module, "NUMBA_IMPORT_ERROR", ModuleNotFoundError("numba"))
    with pytest.raises(MissingDependency, match=r"numba for brendel-bethge.*pytest-fgmf\[numba\]"):
        run(classify(CurvedModel(3)), make_images(2), "brendel-bethge", "l2")
