"""Teams by recipe files: trained, logged, killed and gone on, read back; problems at their keys."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from unit.pipeline.recipe_files import written
from unit.pipeline.test_running import Killed, in_a_child, train, weights

from fgmf.agents import Team, View
from fgmf.datasets import digits
from fgmf.errors import InvalidRecipeFile
from fgmf.gates import RunContext, TeamMaskLogGate
from fgmf.pipeline import trained_model
from fgmf.pipeline.loading import load_recipe_file
from fgmf.sgam import Sgam
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

TEAM = """
schema = 1
seed = 7
output = "out"

[data]
factory = "fgmf.datasets:digits"
images = 120

[model]
normalize = { mean = 0.3, std = 0.4 }

[[model.agents]]
name = "cnn"
backbone = "cnn"
arguments = { widths = [4], hidden = 8 }

[[model.agents]]
name = "vit"
backbone = "vit"
arguments = { width = 16, depth = 2, heads = 2, patch_side = 2 }
view = { channels = [0] }

[team]
rule = "learned"
training = "TRAINING"
every = 1
share = 1.0

[defence]
name = "amo"
epsilon = "1/10"

[schedule]
epochs = 2
batch_size = 24

[writing]
checkpoint_updates = 2
metrics_every = 1
"""
SGAM = "[sgam]\ngrid_side = 4\nwidth = 8\nevery = 3\n[mask_log]\n"
GATE: dict[str, Any] = {"path": "mask-log", "agents": ("cnn", "vit")}


def _text(training: str) -> str:
    return TEAM.replace("TRAINING", training)


@pytest.mark.parametrize("training", ["joint", "diverse"])
def test_a_team_is_trained_logged_and_read_back(training: str, tmp_path: Path) -> None:
    train(written(tmp_path, _text(training), SGAM))
    team = trained_model(directory=str(tmp_path / "out"))
    assert isinstance(team, Team)
    assert team.names == ("cnn", "vit")
    assert [agent.view for agent in team.members] == [View(), View(channels=(0,))]
    assert all(isinstance(agent.model, Sgam) for agent in team.members)
    samples = digits("test")
    assert team(samples.images[:4]).shape == (4, 10)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    gate = TeamMaskLogGate(**GATE, head=manifest["result"]["mask_log_head"])
    verdict = gate.check(context=RunContext(directory=tmp_path / "out"))
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.evidence["join"]["decisions"] == 10  # type: ignore[call-overload, index]


def test_killed_it_ends_with_the_same_file_and_a_complete_log(tmp_path: Path) -> None:
    whole, parts = (written(tmp_path / n, _text("diverse"), SGAM) for n in ("whole", "parts"))
    train(whole)
    for step in (1, 5):
        bomb = (Killed(step, "after_step"),)
        assert in_a_child(lambda bomb=bomb: train(parts, callbacks=bomb)) == signal.SIGKILL
    train(parts)
    assert weights(whole.parent) == weights(parts.parent)
    gate = TeamMaskLogGate(**GATE, unanchored=True)
    verdict = gate.check(context=RunContext(directory=parts.parent / "out"))
    assert verdict.outcome is Outcome.PASS, verdict.reason


def test_messages_are_trained_and_logged(tmp_path: Path) -> None:
    messages = "[team.messages]\nsize = 3\nrounds = 2\nm_min = 0.5\n"
    train(written(tmp_path, _text("joint"), messages, SGAM))
    team = trained_model(directory=str(tmp_path / "out"))
    assert isinstance(team, Team)
    assert team.messages is not None
    assert bool(team.messages.decode.any())
    gate = TeamMaskLogGate(**GATE, unanchored=True)
    verdict = gate.check(context=RunContext(directory=tmp_path / "out"))
    assert verdict.outcome is Outcome.PASS, verdict.reason
    streams = [stream["stream"] for stream in verdict.evidence["streams"]]  # type: ignore[call-overload, index, union-attr]
    assert streams == ["cnn", "messages", "vit"]
    with pytest.raises(InvalidRecipeFile, match=r"joint.*alone trains messages"):
        load_recipe_file(written(tmp_path, _text("diverse"), messages))


def test_each_agent_has_first_weights_of_its_own(tmp_path: Path) -> None:
    from fgmf.pipeline.building import build_model
    from fgmf.pipeline.networks import ImageFacts

    twins = _text("joint").replace('backbone = "vit"', 'backbone = "cnn"')
    twins = twins.replace(
        "width = 16, depth = 2, heads = 2, patch_side = 2", "widths = [4], hidden = 8"
    )
    plan = load_recipe_file(written(tmp_path, twins))
    facts = ImageFacts(channels=1, height=8, width=8, classes=10)
    team, again = build_model(plan, facts), build_model(plan, facts)
    assert isinstance(team, Team)
    first, second = ([*agent.parameters()] for agent in team.members)
    assert first[0].shape == second[0].shape
    assert not torch.equal(first[0], second[0])
    assert all(map(torch.equal, team.parameters(), again.parameters()))


def test_an_agents_sizes_are_those_of_its_view(tmp_path: Path) -> None:
    from fgmf.errors import InvalidInput
    from fgmf.pipeline.building import build_model
    from fgmf.pipeline.networks import ImageFacts

    text = _text("joint").replace("view = { channels = [0] }", "view = { channels = [2, 0] }")
    text = text.replace("mean = 0.3, std = 0.4", "mean = [0.1, 0.2, 0.3], std = [0.4, 0.5, 0.6]")
    team = build_model(
        load_recipe_file(written(tmp_path, text)),
        ImageFacts(channels=3, height=8, width=8, classes=5),
    )
    assert isinstance(team, Team)
    assert team.members[1].model.mean.flatten().tolist() == pytest.approx([0.3, 0.1])  # type: ignore[union-attr, operator]
    assert team(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    oblong = text.replace("channels = [2, 0]", "crop = [0, 0, 8, 4]")
    plan = load_recipe_file(written(tmp_path, oblong))
    with pytest.raises(InvalidInput, match="square images for the backbone vit, got 8 x 4"):
        build_model(plan, ImageFacts(channels=3, height=8, width=8, classes=5))


@pytest.mark.parametrize(
    ("old", "new", "place", "expected"),
    [
        ('name = "vit"', 'name = "cnn"', "model.agents", "a `name` of its own"),
        ('name = "vit"', 'name = "v t"', "model.agents[1].name", ""),
        ('backbone = "vit"', "", "model.agents[1].backbone", "a `backbone`, or `factory`"),
        ("[model]", '[model]\nbackbone = "cnn"', "model.backbone", "`factory` or `agents`"),
        ('rule = "learned"', 'rule = "majority"', "team.rule", "one with a gradient for joint"),
        ('rule = "learned"', 'rule = "dice"', "team.rule", ""),
        ("channels = [0]", "channels = [0, 0]", "model.agents[1].view", "every channel once"),
        ("channels = [0]", "crop = [0, 0, 0, 1]", "model.agents[1].view", "at least 1"),
    ],
)
def test_problems_stand_at_their_keys(
    old: str, new: str, place: str, expected: str, tmp_path: Path
) -> None:
    assert old in _text("joint")
    with pytest.raises(InvalidRecipeFile) as caught:
        load_recipe_file(written(tmp_path, _text("joint").replace(old, new)))
    found = {problem.location: problem.expected for problem in caught.value.problems}
    assert place in found, found
    assert expected in found[place]


def test_agents_and_team_belong_together(tmp_path: Path) -> None:
    without = _text("joint").replace("[team]", "[tame]")
    with pytest.raises(InvalidRecipeFile, match=r"team: expected a table \[team\] with agents"):
        load_recipe_file(written(tmp_path, without))
    alone = (
        _text("joint")
        .replace("[[model.agents]]", "[[other]]")
        .replace("[model]", '[model]\nbackbone = "cnn"')
    )
    with pytest.raises(InvalidRecipeFile, match=r"no table \[team\] without agents"):
        load_recipe_file(written(tmp_path, alone))


def test_a_team_is_not_pruned(tmp_path: Path) -> None:
    text = _text("joint") + "[pruning]\nshare = 0.5\n"
    with pytest.raises(InvalidRecipeFile, match="prune its agents alone"):
        load_recipe_file(written(tmp_path, text))


def test_a_log_needs_passes_of_whole_batches(tmp_path: Path) -> None:
    text = _text("diverse").replace("share = 1.0", "share = 0.5")
    load_recipe_file(written(tmp_path, text))
    with pytest.raises(InvalidRecipeFile, match=r"team\.share: expected share = 1"):
        load_recipe_file(written(tmp_path, text, SGAM))
