"""The benchmark of attacks counts what is asked, judges all alike, and calls a miss a miss."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Load = Callable[[str], Any]

THREAT = ThreatModel(norm="linf", epsilon=0.1, bounds=(0.0, 1.0))


class _FirstPixel(nn.Module):
    """Class 1 where the first pixel is above one half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = images.flatten(1)[:, 0] - 0.5
        return torch.stack([-first, first], dim=1)


def _images(*first: float) -> torch.Tensor:
    images = torch.full((len(first), 1, 2, 2), 0.3)
    images[:, 0, 0, 0] = torch.tensor(first)
    return images


def test_every_row_counts_forward_and_backward(study: Load) -> None:
    model = study("counting").Counted(_FirstPixel())
    images = _images(0.2, 0.4, 0.6).requires_grad_()
    logits = model(images)
    logits[:, 0].sum().backward(retain_graph=True)
    logits[:, 1].sum().backward()
    with torch.no_grad():
        model(images[:1])
    assert model.taken() == (4, 6)
    assert model.taken() == (0, 0)


def test_counting_changes_neither_logits_nor_gradients(study: Load) -> None:
    plain, images = _FirstPixel(), _images(0.2, 0.6)
    slopes = []
    for model in (plain, study("counting").Counted(plain)):
        inputs = images.clone().requires_grad_()
        slopes.append(torch.autograd.grad(model(inputs)[:, 1].sum(), inputs)[0])
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    ("first", "broken"),
    [(0.55, True), (0.49, False), (0.65, False)],
    ids=["inside and wrong", "inside and right", "wrong but outside the ball"],
)
def test_only_wrong_images_inside_the_ball_are_broken(
    study: Load, first: float, *, broken: bool
) -> None:
    found = study("counting").judged_broken(
        _FirstPixel(), _images(0.45), _images(first), torch.tensor([0]), THREAT
    )
    assert found.tolist() == [broken]


def test_images_outside_the_box_are_not_broken(study: Load) -> None:
    clean, changed = _images(0.45), _images(0.52)
    clean[0, 0, 1, 1], changed[0, 0, 1, 1] = 1.0, 1.05
    found = study("counting").judged_broken(
        _FirstPixel(), clean, changed, torch.tensor([0]), THREAT
    )
    assert found.tolist() == [False]


def test_a_random_model_is_judged_by_its_mean_and_leaves_the_generator_alone(study: Load) -> None:
    counting, models = study("counting"), study("fashion_models")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    noisy = models.NoisyInput(_FirstPixel(), deviation=0.3)
    classes = counting.predicted(noisy, _images(0.4, 0.6), draws=100)
    assert classes.tolist() == [0, 1]
    assert torch.equal(torch.rand(1), expected)


def _account(study: Load, **changes: Any) -> Any:
    peers = study("autoattack_peers")
    stage = peers.Stage(
        attack="a", broken=(1, 2), forward_passes=60, backward_passes=40, seconds=1.0
    )
    values = {"network": "n", "package": "p", "images": 10, "wrong": (0,), "stages": (stage,)}
    return peers.Account(**{**values, **changes})


def test_accounts_of_chunks_add_up(study: Load) -> None:
    peers = study("autoattack_peers")
    second = peers.Stage(attack="a", broken=(11,), forward_passes=6, backward_passes=4, seconds=1.0)
    both = peers.joined([_account(study), _account(study, wrong=(12,), stages=(second,))])
    assert both.images == 20
    assert both.broken == {0, 1, 2, 11, 12}
    assert both.robust_accuracy == pytest.approx(0.75)
    assert both.passes_per_image == pytest.approx(110 / 20)


def test_an_account_survives_being_written(study: Load) -> None:
    found = _account(study)
    assert study("autoattack_peers").Account.of(found.document()) == found


def test_the_best_is_the_union_on_the_same_images(study: Load) -> None:
    strength = study("suite_strength")
    longer = _account(study, images=20, wrong=(5, 15))
    assert strength.left_by_all([_account(study), longer], 10) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("best", "reference", "hits"),
    [
        (0.7, 1000.0, (True, True)),
        (0.69, 1000.0, (False, True)),
        (0.7, 150.0, (True, False)),
        (0.7, None, (True, False)),
        (0.0, None, (False, True)),
    ],
    ids=["both", "too many left", "too many passes", "no reference, no share", "weak network"],
)
def test_a_miss_is_a_miss(
    study: Load, best: float, reference: float | None, hits: tuple[bool, bool]
) -> None:
    row = study("suite_strength").judge(
        "standard", _account(study), best, reference, independent_images=10
    )
    assert (row.hit_points, row.hit_passes) == hits


def test_without_an_independent_package_on_all_images_nothing_is_a_hit(study: Load) -> None:
    row = study("suite_strength").judge(
        "standard", _account(study), 0.7, 1000.0, independent_images=9
    )
    assert row.hit_points is None
    assert "UNKNOWN" in row.describe()


def test_autoattacks_passes_grow_with_the_images_that_stay(study: Load) -> None:
    reference = _account(study)  # 70 % robust, 10 passes per image
    strength = study("suite_strength")
    assert strength.autoattack_passes(reference, 0.35) == pytest.approx(5.0)


def test_a_missing_package_is_reported_as_missing(
    study: Load,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    peers = study("autoattack_peers")

    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(peers, "version", none)
    written = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["x", "--packages", "torchattacks", "--output", str(written)])
    peers.main()
    assert "MISSING" in capsys.readouterr().out
    document = written.read_text()
    assert '"missing": [\n  "torchattacks"\n ]' in document
    assert '"accounts": []' in document


def test_nothing_kept_is_nothing_known(
    study: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FGMF_BENCHMARK_CACHE", str(tmp_path))
    assert study("autoattack_peers").account("pgd-7", "adv-lib", 100, only_kept=True) is None


def test_weights_of_another_recipe_are_not_found(study: Load) -> None:
    plans = study("fashion_models").PLANS
    digests = {name: plan.digest for name, plan in plans.items()}
    assert digests["noisy"] == digests["n-fgsm"]  # the same weights, behind noise
    del digests["noisy"]
    assert len(set(digests.values())) == len(digests)
