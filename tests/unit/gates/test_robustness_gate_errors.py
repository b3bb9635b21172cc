"""What keeps a gate from being measured, and what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, make_images
from tiny_onnx import export

from fgmf.failures import load_failures, replay
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.gates import Progress
    from fgmf.verdict import Verdict

    Check = Callable[..., Verdict]

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR
IMAGES = make_images(60, margin=0.02)
LABELS = LinearModel(3)(IMAGES).argmax(dim=1)
ODD = 20


class Odd(LinearModel):
    """Fails for some images when they are attacked; what the preflight does to them is less."""

    def __init__(self, answer: Callable[..., torch.Tensor], rows: list[int]) -> None:
        super().__init__(3)
        self.__dict__.update(answer=answer, rows=rows)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        gaps = (images.detach().unsqueeze(1) - IMAGES[self.rows]).flatten(2).abs().amax(dim=2)
        attacked = ((gaps < 0.1) & (gaps > 0.012)).any(dim=1)
        return self.answer(attacked, super().forward(images))


def raising(attacked: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    if bool(attacked.any()):
        raise ZeroDivisionError("odd one out")
    return logits


def spoiling(attacked: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.where(attacked.unsqueeze(1), torch.nan, logits)


@pytest.mark.parametrize("answer", [raising, spoiling])
def test_an_image_that_cannot_be_attacked_is_an_error(check: Check, answer: Any) -> None:
    model = Odd(answer, [ODD])
    verdict = check(model, epsilon=0.02, min_robust_accuracy=0.0)
    assert verdict.outcome is ERROR
    assert verdict.measured is None
    assert verdict.reason.startswith("PGD could not be carried out on 1 images")
    assert ("ZeroDivisionError: odd one out" in verdict.reason) is (answer is raising)
    assert verdict.evidence["failed_images"] == [ODD]
    assert verdict.evidence["robust_accuracy"] is None


def test_too_few_in_any_case_is_a_fail_and_no_error(check: Check) -> None:
    labels = LABELS.clone()
    labels[:30] = (labels[:30] + 1) % 3
    verdict = check(Odd(raising, [40]), labels=labels, epsilon=0.02, min_robust_accuracy=0.9)
    assert verdict.outcome is FAIL
    assert verdict.evidence["failed_images"] == [40]


def test_the_reason_is_that_of_an_image_that_did_fail(check: Check) -> None:
    """Image 0 fails for the noise, and BIM breaks it; image 20 fails for BIM."""
    stage: list[str] = [""]

    class Twofold(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            near = (images.detach().unsqueeze(1) - IMAGES[[0, ODD]]).flatten(2).abs().amax(dim=2)
            zero, twenty = ((near < 0.25) & (near > 1e-6)).any(dim=0).tolist()
            if stage[0] == "additive noise" and zero:
                raise KeyError("image zero")
            if stage[0] == "BIM" and twenty:  # which the noise left alone
                raise ZeroDivisionError("image twenty")
            return super().forward(images)

    def follow(progress: Progress) -> None:
        stage[0] = progress.stage

    verdict = check(
        Twofold(3),
        attacks=({"name": "additive-noise", "repeats": 1}, "bim"),
        epsilon=0.1,
        min_robust_accuracy=0.0,
        context={"on_progress": follow},
    )
    assert verdict.outcome is ERROR
    assert verdict.evidence["failed_images"] == [ODD]
    assert verdict.reason.startswith("BIM could not be carried out on 1 images")
    assert "image twenty" in verdict.reason
    rows = verdict.evidence["attacks"]
    assert [row["failed"] for row in rows] == [1, 1]  # type: ignore[index,union-attr,call-overload]


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"labels": torch.nn.functional.one_hot(LABELS, 3)}, "labels-one-hot"),
        ({"labels": LABELS + 7}, "labels-out-of-range"),
        ({"epsilon": 0.0}, "epsilon-zero"),
        ({"pixels": IMAGES * 255}, "images-outside-bounds"),
        ({"model": lambda images: LinearModel(3)(images) * float("nan")}, "nan-or-infinite-output"),
        ({"model": lambda images: LinearModel(3)(images.detach())}, "gradient-blocked"),
        ({"model": lambda images: LinearModel(3)(images).argmax(dim=1)}, "output-shape"),
    ],
)
def test_a_finding_that_forbids_a_pass_is_an_error(
    check: Check, options: dict[str, Any], finding: str
) -> None:
    verdict = check(**options)
    assert verdict.outcome is ERROR
    assert verdict.reason.startswith(f"{finding}: ")
    assert verdict.measured is None
    assert verdict.conditions == ()
    assert verdict.threshold == 0.5
    assert finding in {entry.name for entry in verdict.findings}


def test_a_waived_finding_stays_visible_and_lets_the_gate_run(check: Check) -> None:
    verdict = check(epsilon=0.0, waive=("epsilon-zero",))
    assert verdict.outcome is PASS
    (finding,) = [entry for entry in verdict.findings if entry.name == "epsilon-zero"]
    assert finding.waived
    assert finding.severity == "error"


class Counting(LinearModel):
    calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(images)


def test_a_model_that_changes_can_be_measured_and_cannot_pass(check: Check) -> None:
    model = Counting(3)
    verdict = check(model)
    assert verdict.outcome is ERROR
    assert verdict.reason.startswith("forward-changes-state: ")
    assert verdict.measured is None
    for target in (None, "least-likely"):
        criterion = "misclassification" if target is None else "targeted"
        verdict = check(
            model,
            waive=("forward-changes-state",),
            epsilon=0.001,
            target=target,
            criterion=criterion,
        )
        assert verdict.outcome is ERROR
        assert (verdict.measured or 0.0) > 0.9
        assert "every threshold is met, but forward-changes-state is waived" in verdict.reason
        assert "gradient-masking" in verdict.reason
    assert "calls" not in vars(model)


def test_a_waived_model_that_changes_can_fail_and_is_never_let_through(check: Check) -> None:
    waive = ("forward-changes-state",)
    assert check(Counting(3), waive=waive, epsilon=0.9).outcome is Outcome.FAIL
    open_verdict = check(
        Counting(3),
        waive=waive,
        epsilon=0.001,
        images=3,
        min_robust_accuracy=0.9,
        inconclusive="pass",
    )
    assert open_verdict.outcome is Outcome.INCONCLUSIVE
    assert not open_verdict.passed
    steady = check(epsilon=0.001, images=3, min_robust_accuracy=0.9, inconclusive="pass", waive=())
    assert steady.outcome is Outcome.INCONCLUSIVE
    assert steady.passed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"criterion": "targeted", "target": 3}, "targets below the number of classes, got 3 of 3"),
        ({"criterion": "top-k", "top_k": 3}, "top_k below the number of classes, got 3 of 3"),
        (
            {
                "criterion": "targeted",
                "target": 0,
                "labels": torch.zeros(60, dtype=torch.int64),
                "waive": ("clean-accuracy-at-chance", "normalisation-missing"),
            },
            "images of other classes than the target, got none",
        ),
        ({"pixels": IMAGES[:0], "labels": LABELS[:0]}, "at least one image"),
        ({"labels": LABELS[:3]}, "60 images"),
    ],
)
def test_what_does_not_fit_is_an_error(check: Check, options: Any, words: str) -> None:
    verdict = check(**{"attacks": ("additive-noise",), **options})
    assert verdict.outcome is ERROR
    assert words in verdict.reason
    assert verdict.seed is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_user_who_stops_is_obeyed(check: Check, error: BaseException) -> None:
    def stopped(images: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(type(error)):
        check(stopped)


def test_a_target_class_has_no_images_of_its_own(check: Check) -> None:
    verdict = check(
        criterion="targeted",
        target=1,
        attacks=(),
        epsilon=0.05,
        images="all",
        min_robust_accuracy=0.0,
    )
    assert verdict.image_count == int((LABELS != 1).sum())
    assert verdict.evidence["dataset_size"] == verdict.image_count
    broken = verdict.evidence["broken_images"]
    assert isinstance(broken, list)
    assert broken
    assert not {at for at in broken if int(LABELS[at]) == 1}  # type: ignore[arg-type,call-overload]
    assert verdict.evidence["suite"] == "standard"


def test_the_least_likely_class_is_another_than_the_label(check: Check) -> None:
    logits = LinearModel(3)(IMAGES)
    other = check(criterion="targeted", target="least-likely", epsilon=0.05, min_robust_accuracy=0)
    plain = check(epsilon=0.05, min_robust_accuracy=0.0)
    assert other.image_count == 60
    assert other.measured is not None
    assert plain.measured is not None
    assert plain.measured < other.measured < 1
    # Wrong images stay wrong: their least likely class is never their label.
    labels = logits.argmin(dim=1)
    verdict = check(
        labels=labels,
        criterion="targeted",
        target="least-likely",
        waive=("clean-accuracy-at-chance",),
        min_robust_accuracy=0.0,
    )
    assert verdict.measured == 0.0


def test_top_k_is_asked_of_clean_images_too(check: Check) -> None:
    labels = LinearModel(3)(IMAGES).topk(2, dim=1).indices[:, 1]
    options: dict[str, Any] = {
        "labels": labels,
        "waive": ("clean-accuracy-at-chance", "normalisation-missing"),
        "epsilon": 0.001,
        "min_robust_accuracy": 0.5,
    }
    assert check(**options).evidence["clean_accuracy"] == 0.0
    verdict = check(criterion="top-k", top_k=2, **options)
    assert verdict.evidence["clean_accuracy"] == 1.0
    assert verdict.outcome is PASS


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "linear.onnx"
    return export(LinearModel(3), path, IMAGES[:3], names=["z"], fixed=False)


def test_an_onnx_file_is_gated_without_gradients(check: Check, onnx_file: Path) -> None:
    quick = ({"name": "additive-noise", "repeats": 5}, {"name": "hop-skip-jump", "steps": 2})
    verdict = check(onnx_file, attacks=quick, epsilon=0.001, images=20)
    assert verdict.outcome is PASS
    assert verdict.cost.backward_passes == 0
    assert str(verdict.evidence["model_digest"]).startswith("sha256:")
    verdict = check(onnx_file, attacks=quick, epsilon=0.2, images=20)
    assert verdict.outcome is FAIL


def test_an_onnx_file_has_attacks_of_its_own_by_default(check: Check, onnx_file: Path) -> None:
    verdict = check(onnx_file, attacks=(), epsilon=0.3, images=4, min_robust_accuracy=0.0)
    names = [row["name"] for row in verdict.evidence["attacks"]]  # type: ignore[index,union-attr,call-overload]
    assert names == ["random-search", "square"]
    assert verdict.evidence["suite"] == "black-box"
    l1 = check(onnx_file, attacks=(), norm="l1", epsilon=2.0)
    assert l1.outcome is ERROR
    assert "need no gradient for norm l1" in l1.reason


def test_an_onnx_file_and_pgd_do_not_go_together(check: Check, onnx_file: Path) -> None:
    verdict = check(onnx_file, attacks=("additive-noise", "pgd"))
    assert verdict.outcome is ERROR
    assert "gradients for pgd, got one without" in verdict.reason
    assert "black-box" in verdict.reason
    verdict = check(onnx_file, attacks=(), suite="quick")
    assert "gradients for apgd-ce of suite quick" in verdict.reason


def test_broken_images_are_saved_unless_they_are_confidential(check: Check, tmp_path: Path) -> None:
    context = {"failures_directory": tmp_path / "failures", "root": tmp_path}
    quiet = check(epsilon=0.2, save_failures=False, context=context)
    assert quiet.outcome is FAIL
    assert quiet.artifacts == ()
    assert list(tmp_path.iterdir()) == []
    assert check(epsilon=0.2).artifacts == ()
    loud = check(epsilon=0.2, context=context)
    assert loud.artifacts
    for name in loud.artifacts:
        assert (tmp_path / name).is_file()
    passed = check(epsilon=0.001, context=context)
    assert passed.outcome is PASS
    assert passed.artifacts == ()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".png", ".npz"}]


def test_what_is_saved_breaks_the_model_again(check: Check, tmp_path: Path) -> None:
    verdict = check(
        CurvedModel(3),
        epsilon=0.2,
        norm="l2",
        context={"failures_directory": tmp_path, "root": tmp_path},
    )
    (directory,) = {(tmp_path / name).parent for name in verdict.artifacts}
    assert load_failures(directory).gate == "robustness"
    assert replay(directory, classify(CurvedModel(3))).outcome is FAIL
