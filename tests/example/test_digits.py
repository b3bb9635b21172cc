"""The example: its models differ as its README says, its gates tell them apart."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from digits_fixtures import EXAMPLE, example_module

from fgmf import Classifier, Outcome
from fgmf.datasets import digits
from fgmf.gates import RobustnessGate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from fgmf.datasets import Samples


def gate_file(name: str) -> dict[str, Any]:
    return tomllib.loads((EXAMPLE / name).read_text(encoding="utf-8"))


def shipped_gate(model: nn.Module, samples: Samples) -> Any:
    """The verdict of the gate in the example's own gate file."""
    (gate,) = gate_file("fgmf.toml")["gate"]
    classifier = Classifier(model, bounds=(0, 1))
    return RobustnessGate(**gate).check(classifier, samples.images, samples.labels)


class TestModels:
    def test_standard_model_fails_its_gate(
        self, standard_digits_model: nn.Module, digits_test: Samples
    ) -> None:
        verdict = shipped_gate(standard_digits_model, digits_test)
        assert verdict.outcome is Outcome.FAIL
        assert verdict.interval.upper < 0.35

    def test_robust_model_passes_its_gate(
        self, robust_digits_model: nn.Module, digits_test: Samples
    ) -> None:
        verdict = shipped_gate(robust_digits_model, digits_test)
        assert verdict.outcome is Outcome.PASS
        assert verdict.interval.lower > 0.6

    def test_both_read_clean_images(
        self, trained_digits: Callable[[str], nn.Module], digits_test: Samples
    ) -> None:
        for name in ("standard", "robust"):
            predicted = trained_digits(name)(digits_test.images).argmax(dim=1)
            assert (predicted == digits_test.labels).float().mean() > 0.92

    def test_every_test_gets_its_own_copy(
        self, standard_digits_model: nn.Module, trained_digits: Callable[[str], nn.Module]
    ) -> None:
        with torch.no_grad():
            next(standard_digits_model.parameters()).zero_()
        assert next(trained_digits("standard").parameters()).abs().sum() > 0


class TestTraining:
    def test_a_seed_fixes_the_model_and_leaves_the_generator(self) -> None:
        train = example_module("digit_reader.train").train
        before = torch.get_rng_state()
        few = digits("test")
        first, second, other = (train("robust", few, seed=s, epochs=1) for s in (3, 3, 4))
        assert torch.equal(torch.get_rng_state(), before)
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert not torch.equal(next(first.parameters()), next(other.parameters()))

    def test_attacked_images_stay_in_the_box_and_do_harm(
        self, standard_digits_model: nn.Module, digits_test: Samples
    ) -> None:
        attacked = example_module("digit_reader.train").attacked
        images, labels = digits_test.images[:100], digits_test.labels[:100]
        draws = torch.Generator().manual_seed(0)
        moved = attacked(standard_digits_model, images, labels, epsilon=0.2, draws=draws)
        # Both ends are rounded to float32.
        assert (moved - images).abs().max() <= 0.2 + 1e-6
        assert 0 <= moved.min() <= moved.max() <= 1
        right = (standard_digits_model(moved).argmax(dim=1) == labels).float().mean()
        assert right < 0.5

    def test_command_writes_what_the_factories_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train, model = (example_module(f"digit_reader.{name}") for name in ("train", "model"))
        weights = tmp_path / "weights"
        for module in (train, model):
            monkeypatch.setattr(module, "WEIGHTS", weights)
        for load in (model.load_standard, model.load_robust):
            with pytest.raises(FileNotFoundError, match=r"python -m digit_reader\.train"):
                load()
        monkeypatch.setattr(train, "EPOCHS", {"standard": 1, "robust": 1})
        monkeypatch.setattr("sys.argv", ["train"])
        threads = torch.get_num_threads()
        train.main()
        torch.set_num_threads(threads)
        assert capsys.readouterr().out.count("clean test accuracy") == 2
        robust, standard = model.load_robust(), model.load_standard()
        assert not robust.training
        assert not torch.equal(next(robust.parameters()), next(standard.parameters()))
        assert 30_000 < sum(parameter.numel() for parameter in robust.parameters()) < 60_000

    def test_unknown_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        train = example_module("digit_reader.train")
        monkeypatch.setattr("sys.argv", ["train", "strong"])
        with pytest.raises(SystemExit, match="2"):
            train.main()


def test_both_gate_files_ask_for_the_same() -> None:
    ours, theirs = gate_file("fgmf.toml"), gate_file("fgmf-standard.toml")
    assert ours.pop("model")["factory"] == "digit_reader.model:load_robust"
    assert theirs.pop("model")["factory"] == "digit_reader.model:load_standard"
    assert ours == theirs


class TestDemo:
    """The demo judges by the reports: its own exit code is never green by accident."""

    @pytest.fixture
    def demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        demo = example_module("demo")
        monkeypatch.setattr(demo, "HERE", tmp_path)
        monkeypatch.setattr(demo, "REPORTS", tmp_path / "reports")
        return demo

    def play(
        self, demo: Any, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, tuple[int, str]]
    ) -> int:
        """Run it with pytest replaced by something that exits and reports as given."""

        def run(title: str, *arguments: str) -> int:
            if "--fgmf-gatefile" not in arguments:
                return outcomes.get("training", (0, ""))[0]
            code, outcome = outcomes[arguments[arguments.index("--fgmf-gatefile") + 1]]
            (report,) = (word for word in arguments if word.startswith("json:"))
            path = demo.HERE / report.removeprefix("json:")
            verdict = {
                "gate": demo.GATE,
                "outcome": outcome,
                "measured": 0.5,
                "interval": {"lower": 0.4, "upper": 0.6},
                "threshold": 0.6,
                "artifacts": ["failures/broken.png"] if outcome == "fail" else [],
            }
            if outcome:
                path.write_text(json.dumps({"verdicts": [verdict]}), encoding="utf-8")
            return code

        monkeypatch.setattr(demo, "run", run)
        code: int = demo.main()
        return code

    def test_as_expected(
        self, demo: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outcomes = {"fgmf.toml": (0, "pass"), "fgmf-standard.toml": (1, "fail")}
        assert self.play(demo, monkeypatch, outcomes) == 0
        shown = capsys.readouterr().out
        assert "FAIL  fgmf-standard.toml   robust accuracy 0.500 [0.400, 0.600], required" in shown
        assert f"broken images: {demo.HERE / 'failures' / 'broken.png'}" in shown

    @pytest.mark.parametrize(
        "outcomes",
        [
            {"fgmf.toml": (0, "pass"), "fgmf-standard.toml": (0, "pass")},
            {"fgmf.toml": (1, "fail"), "fgmf-standard.toml": (1, "fail")},
            {"fgmf.toml": (0, "pass"), "fgmf-standard.toml": (1, "error")},
            {"fgmf.toml": (0, "pass"), "fgmf-standard.toml": (4, "")},
            {"fgmf.toml": (0, ""), "fgmf-standard.toml": (1, "fail")},
            {"fgmf.toml": (1, "pass"), "fgmf-standard.toml": (1, "fail")},
            {"training": (1, "")},
        ],
    )
    def test_anything_else_is_an_error(
        self, demo: Any, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, tuple[int, str]]
    ) -> None:
        assert self.play(demo, monkeypatch, outcomes) == 1

    def test_a_report_of_an_earlier_run_counts_for_nothing(
        self, demo: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = {"fgmf.toml": (0, "pass"), "fgmf-standard.toml": (1, "fail")}
        assert self.play(demo, monkeypatch, right) == 0
        silent = {"fgmf.toml": (0, ""), "fgmf-standard.toml": (1, "")}
        assert self.play(demo, monkeypatch, silent) == 1

    def test_it_runs_this_python_in_its_own_folder(self, capfd: pytest.CaptureFixture[str]) -> None:
        demo = example_module("demo")
        code = demo.run("title", "-c", "import os, sys; print(os.getcwd()); sys.exit(3)")
        assert code == 3
        assert str(EXAMPLE) in capfd.readouterr().out
