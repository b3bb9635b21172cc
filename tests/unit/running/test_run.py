from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch

from fgmf.classifier import Classifier
from fgmf.errors import FactoryFailed, InvalidInput
from fgmf.gatefile import DataEntry, GateFile, ModelEntry
from fgmf.gates import GateSpecification, Progress, RunContext
from fgmf.running import GateRun, RunSettings, adjusted
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = """
import torch

loaded = []

def model(scale=1.0):
    loaded.append("model")
    return lambda images: images.flatten(1) * scale

def data():
    loaded.append("data")
    return torch.eye(4).reshape(4, 1, 2, 2), torch.arange(4)

def broken():
    loaded.append("broken")
    raise RuntimeError("no weights")

def odd():
    return 3
"""


class Echo(GateSpecification):
    """Says what it was given."""

    kind: Literal["echo"] = "echo"

    def check(self, classifier: Any, images: Any, labels: Any, *, context: RunContext) -> Verdict:
        agreed = (classifier.predict(images) == labels).float().mean()
        return Verdict(
            gate=self.name,
            kind=self.kind,
            outcome=Outcome.PASS,
            reason=f"device {classifier.device}, batch size {classifier.batch_size}",
            measured=float(agreed),
            seed=context.run_seed,
            evidence={"root": str(context.root), "batch": classifier.batch_size},
            reproduce=context.reproduce,
        )


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    yield
    sys.modules.pop("fgmf_shop", None)


def gate_file(
    tmp_path: Path, model_name: str = "model", data_name: str = "data", **changes: Any
) -> GateFile:
    (tmp_path / "fgmf_shop.py").write_text(SHOP)
    entry = ModelEntry(
        name="", factory=f"fgmf_shop:{model_name}", bounds=(0.0, 1.0), device="cpu", batch_size=3
    )
    values: dict[str, Any] = {
        "path": tmp_path / "fgmf.toml",
        "digest": "sha256:0",
        "seed": 4,
        "models": (entry,),
        "data": DataEntry(factory=f"fgmf_shop:{data_name}"),
        "profile": "default",
        "gates": (Echo(name="echo"),),
    }
    return GateFile(**{**values, **changes})


def loaded() -> list[str]:
    names: list[str] = sys.modules["fgmf_shop"].loaded
    return names


def test_a_gate_is_measured_on_what_the_factories_return(tmp_path: Path) -> None:
    run = GateRun(gate_file(tmp_path))
    verdict = run.run(Echo(name="echo"))
    assert (verdict.outcome, verdict.measured, verdict.seed) == (Outcome.PASS, 1.0, 4)
    assert verdict.evidence == {"root": str(tmp_path), "batch": 3}
    assert str(tmp_path) not in sys.path


def test_models_and_data_are_loaded_once_and_late(tmp_path: Path) -> None:
    run = GateRun(gate_file(tmp_path))
    assert "fgmf_shop" not in sys.modules
    for name in ("a", "b"):
        run.run(Echo(name=name))
    assert loaded() == ["model", "data"]


def test_settings_override_the_file(tmp_path: Path) -> None:
    settings = RunSettings(
        seed=9,
        device="cpu",
        batch_size=2,
        root=tmp_path / "root",
        reproduce="run {}".format,
    )
    verdict = GateRun(gate_file(tmp_path), settings).run(Echo())
    assert (verdict.seed, verdict.gate, verdict.reproduce) == (9, "echo", "run echo")
    assert verdict.evidence == {"root": str(tmp_path / "root"), "batch": 2}


def test_the_context_carries_the_rest(tmp_path: Path) -> None:
    seen: list[Progress] = []
    failures = tmp_path / "failures"
    settings = RunSettings(on_progress=seen.append, failures_directory=failures)
    context = GateRun(gate_file(tmp_path), settings).context(Echo())
    assert (context.on_progress, context.failures_directory) == (seen.append, failures)


def test_arguments_reach_the_factory(tmp_path: Path) -> None:
    entry = ModelEntry(
        name="", factory="fgmf_shop:model", bounds=(0, 1), arguments={"scale": -1.0}, device="cpu"
    )
    verdict = GateRun(gate_file(tmp_path, models=(entry,))).run(Echo())
    assert verdict.measured == 0.0


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("broken", "data", "model factory 'fgmf_shop:broken' raised RuntimeError: no weights"),
        ("model", "broken", "data factory 'fgmf_shop:broken' raised RuntimeError: no weights"),
        ("odd", "data", "model factory 'fgmf_shop:odd' cannot be used: expected model as *"),
        ("model", "odd", "data factory 'fgmf_shop:odd' cannot be used: expected *"),
    ],
)
def test_a_factory_that_fails_is_an_error_for_every_gate_and_called_once(
    tmp_path: Path, model: str, data: str, words: str
) -> None:
    run = GateRun(gate_file(tmp_path, model, data))
    first, second = run.run(Echo(name="a")), run.run(Echo(name="b"))
    assert first.outcome is second.outcome is Outcome.ERROR
    assert first.reason == second.reason
    assert first.reason.splitlines()[0].startswith(words.rstrip("*"))
    assert loaded().count("broken") <= 1


def test_a_reason_locates_the_users_code_below_its_first_line(tmp_path: Path) -> None:
    verdict = GateRun(gate_file(tmp_path, "broken")).run(Echo())
    lines = verdict.reason.splitlines()
    assert any("fgmf_shop.py" in line and "in broken" in line for line in lines[1:])
    assert not any("running/" in line for line in lines)
    assert verdict.cost.seconds > 0


def test_paths_are_taken_from_the_gate_file(tmp_path: Path) -> None:
    entry = ModelEntry(name="", path=tmp_path / "gone.onnx", bounds=(0, 1))
    run = GateRun(gate_file(tmp_path, models=(entry,)))
    with pytest.raises(FactoryFailed, match=r"^model .*gone\.onnx cannot be used: "):
        run.classifier()
    run = GateRun(gate_file(tmp_path, data=DataEntry(path=tmp_path / "gone.npz")))
    with pytest.raises(FactoryFailed, match=r"^data .*gone\.npz cannot be used: "):
        run.samples()


def test_one_of_several_models_is_named(tmp_path: Path) -> None:
    right = ModelEntry(name="right", factory="fgmf_shop:model", bounds=(0, 1), device="cpu")
    wrong = ModelEntry(
        name="wrong", factory="fgmf_shop:model", bounds=(0, 1), arguments={"scale": -1.0}
    )
    run = GateRun(gate_file(tmp_path, models=(right, wrong)))
    assert run.run(Echo(model="right")).measured == 1.0
    assert run.run(Echo(model="wrong")).measured == 0.0
    for model in (None, "other"):
        verdict = run.run(Echo(model=model))
        assert verdict.outcome is Outcome.ERROR
        assert "one of right, wrong" in verdict.reason


def test_threads_are_limited_when_the_model_is_loaded(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        run = GateRun(gate_file(tmp_path), RunSettings(thread_count=2))
        assert torch.get_num_threads() == 3
        run.classifier()
        assert torch.get_num_threads() == 2
        GateRun(gate_file(tmp_path), RunSettings(thread_count=8)).classifier()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_users_classifier_is_adjusted_and_left_as_it_was() -> None:
    classifier = Classifier(torch.nn.Flatten(), bounds=(0, 1), device="cpu", batch_size=5)
    other = adjusted(classifier, device="cpu", batch_size=2)
    assert (other.batch_size, classifier.batch_size) == (2, 5)
    assert other.module is classifier.module
    with pytest.raises(InvalidInput, match=r"expected an fgmf\.Classifier, got Flatten; wrap"):
        adjusted(torch.nn.Flatten(), device=None, batch_size=None)
    with pytest.raises(InvalidInput, match="expected device"):
        adjusted(classifier, device="toaster", batch_size=None)
