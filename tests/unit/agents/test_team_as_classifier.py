"""A team is a classifier for every gate, attack, explainer and exporter, as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.agents import RULES, Agent, MessagePassing, MessageSettings, Team, View
from fgmf.attribution.building import explainer
from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.classifier import Classifier
from fgmf.export import export_onnx
from fgmf.gates import GradientMaskingGate, RobustnessGate
from fgmf.sgam import Sgam, SgamConfig
from fgmf.verdict import Outcome
from tests.tiny_models import LinearModel, make_images

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = make_images(30, margin=0.1)
WAIVED = ("clean-accuracy-at-chance", "normalisation-missing", "too-few-images")


def _linear(rule: str) -> Team:
    """Three linear models that agree in what matters."""
    agents = [Agent(f"a{i}", LinearModel(3, seed=0, scale=0.5)) for i in range(3)]
    for i, agent in enumerate(agents):
        with torch.no_grad():
            agent.model.weight.mul_(1 + i / 4)  # type: ignore[operator, union-attr]
            agent.model.bias.mul_(1 + i / 4)  # type: ignore[operator, union-attr]
    return Team(agents, rule=rule)


def _deep(rule: str = "mean-log-probability") -> Team:
    """Three backbones behind masks, one of which sees a part, with messages."""
    config = SgamConfig(grid_side=4, width=4)
    models: list[Any] = [
        ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8, num_classes=3), seed=1),
        ViT(ViTConfig(image_side=8, patch_side=2, width=8, depth=2, heads=2, num_classes=3)),
        HybridNet(HybridConfig(image_side=8, stem_widths=(8,), depth=1, num_classes=3)),
    ]
    views = [View(), View(), View(channels=(0,))]
    agents = [
        Agent(f"a{i}", Sgam.wrap(model, channels=1, config=config), view=view)
        for i, (model, view) in enumerate(zip(models, views, strict=True))
    ]
    passing = MessagePassing(3, 3, settings=MessageSettings(size=3, rounds=2, m_min=0.5), seed=1)
    with torch.no_grad():
        passing.decode.normal_(generator=torch.Generator().manual_seed(0))
    return Team(agents, rule=rule, messages=passing).eval()


def _gated(gate: Any, team: Team) -> Any:
    classifier = Classifier(team, bounds=(0, 1))
    before = classifier.state_digest()
    labels = classifier.predict(IMAGES)
    verdict = gate.check(classifier, IMAGES, labels)
    assert classifier.state_digest() == before
    return verdict


@pytest.mark.parametrize("rule", ["median"])
def test_the_robustness_gate_says_what_it_says_of_one(rule: str) -> None:
    """All agents are multiples of one linear model: so is their decision, up to its scale."""
    gate = RobustnessGate(
        norm="linf",
        epsilon=0.05,
        min_robust_accuracy=0.2,
        images="all",
        attacks=({"name": "pgd", "steps": 5}, "fgsm"),
        waive=WAIVED,
    )
    verdict = _gated(gate, _linear(rule))
    alone = LinearModel(3, seed=0, scale=0.5)
    alone = Classifier(alone, bounds=(0, 1))
    expected = gate.check(alone, IMAGES, alone.predict(IMAGES))
    assert verdict.outcome is not Outcome.ERROR, verdict.reason
    assert verdict.measured == expected.measured
    assert verdict.outcome is expected.outcome
    assert 0 < verdict.measured < 1


def test_a_vote_is_an_error_never_a_pass() -> None:
    gate = RobustnessGate(norm="linf", epsilon=0.05, min_robust_accuracy=0.01, waive=WAIVED)
    verdict = _gated(gate, _linear("majority"))
    assert verdict.outcome is Outcome.ERROR
    assert "gradient-blocked" in verdict.reason


def test_the_masking_gate_sees_through_a_vote_and_lets_an_honest_team_pass() -> None:
    gate = GradientMaskingGate(norm="linf", epsilon=0.05, images="all", waive=WAIVED)
    vote = _gated(gate, _linear("majority"))
    assert vote.outcome is Outcome.FAIL
    assert "blocked" in vote.reason
    assert "members' logits" in vote.reason
    honest = _gated(gate, _linear("mean-log-probability"))
    assert honest.outcome is Outcome.PASS, honest.reason


@pytest.mark.parametrize("name", ["pgca", "integrated-gradients", "occlusion"])
def test_decisions_are_explained(name: str) -> None:
    team = _deep()
    classifier = Classifier(team, bounds=(0, 1))
    targets = classifier.predict(IMAGES[:4])
    maps = explainer(name).explain(classifier, IMAGES[:4], targets, seed=3).maps
    assert maps.shape[0] == 4
    assert bool(maps.isfinite().all())
    assert float(maps.abs().sum()) > 0


@pytest.mark.parametrize("rule", [*RULES, "with masks, views and messages"])
def test_a_team_is_exported_and_decides_as_before(rule: str, tmp_path: Path) -> None:
    classifier = Classifier(_linear(rule) if rule in RULES else _deep(), bounds=(0, 1))
    exported = export_onnx(classifier, IMAGES[:5], tmp_path / "team.onnx")
    assert exported.logit_gap < 1e-4  # float32, as `export-parity` asks
    file = Classifier(tmp_path / "team.onnx", bounds=(0, 1))
    assert torch.equal(file.predict(IMAGES), classifier.predict(IMAGES))


def test_a_team_is_compiled() -> None:
    team = _deep("median")
    compiled = torch.compile(team, backend="eager")
    torch.testing.assert_close(compiled(IMAGES), team(IMAGES))
