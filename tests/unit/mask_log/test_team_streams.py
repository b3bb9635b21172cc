"""The log of a team: every agent writes, every decision joins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.agents import Agent, MessagePassing, MessageSettings, Team
from fgmf.errors import InvalidInput
from fgmf.gates import RunContext, TeamMaskLogGate
from fgmf.mask_log import Expectation, LogContents, MaskLog, TeamMaskLog, team_manifest, verify_log
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.team_streams import agent_of, stream_of
from fgmf.reporting import render_details
from fgmf.sgam import Sgam, SgamConfig
from fgmf.verdict import Outcome, Verdict
from tests.tiny_models import LinearModel, make_images

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = make_images(6)
STEPS = 3


def _team(*, messages: bool = False) -> Team:
    agents = [
        Agent(name, Sgam.wrap(LinearModel(seed=i), channels=1, config=SgamConfig(grid_side=4)))
        for i, name in enumerate(("cnn", "vit", "hybrid"))
    ]
    settings = MessageSettings(size=3, rounds=2, m_min=0.5)
    return Team(agents, messages=MessagePassing(3, 4, settings=settings) if messages else None)


def _manifest(**changes: Any) -> Any:
    options: dict[str, Any] = {"run": "shop-7", "expectation": Expectation(steps=STEPS)}
    return team_manifest(("cnn", "vit", "hybrid"), **{**options, **changes})


def _decide(team: Team, log: TeamMaskLog, step: int, shift: int = 0) -> None:
    rows = slice(2 * step, 2 * step + 2)
    with log.decision(step=step, sample_ids=[2 * step + shift, 2 * step + 1 + shift]):
        logits = team.agent_logits(IMAGES[rows])
        team.decide(logits)
    log.predicted(logits)


def _written(path: Path, *, messages: bool = False, **options: Any) -> str:
    team = _team(messages=messages)
    manifest = _manifest(messages=messages)
    with TeamMaskLog(path, team, manifest=manifest, **options) as log:
        for step in range(STEPS):
            _decide(team, log, step)
    assert log.head is not None
    return log.head.digest


def _check(path: Path, **changes: Any) -> Verdict:
    options: dict[str, Any] = {"agents": ("cnn", "vit", "hybrid"), "unanchored": True}
    gate = TeamMaskLogGate(path=path.name, **{**options, **changes})
    return gate.check(context=RunContext(directory=path.parent))


def _by_hand(path: Path, orders: dict[str, list[int]], **changes: Any) -> Verdict:
    """Each agent's stream written by itself, as a careless or a lying writer would."""
    team = _team()
    for agent in team.members:
        if agent.name in orders:
            manifest = changes.pop("manifest", None) if not path.exists() else None
            with MaskLog(path, stream=agent.name, manifest=manifest).attach(agent) as log:
                for step in orders[agent.name]:
                    with log.batch(step=step, sample_ids=[2 * step, 2 * step + 1]):
                        agent(IMAGES[2 * step : 2 * step + 2])
    return _check(path, **changes)


@pytest.mark.parametrize("messages", [False, True])
def test_a_whole_log_passes(tmp_path: Path, messages: bool) -> None:
    head = _written(tmp_path / "log", messages=messages)
    verdict = _check(tmp_path / "log", head=head, unanchored=False, same_inputs=("cnn", "vit"))
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.evidence["join"] == {
        "agents": ["cnn", "vit", "hybrid"],
        "decisions": STEPS,
        "processes": [""],
        "differences": [],
        "same_inputs": ["cnn", "vit"],
    }
    assert "joined: 3 decisions of cnn, vit, hybrid" in render_details(verdict)
    assert Verdict.from_document(verdict.as_document()) == verdict
    streams = {stream.stream: stream for stream in verify_log(tmp_path / "log").streams}
    assert set(streams) == {"cnn", "vit", "hybrid"} | ({"messages"} if messages else set())
    assert {stream.samples for stream in streams.values()} == {2 * STEPS}


def test_every_message_is_in_the_log(tmp_path: Path) -> None:
    from fgmf.mask_log.samples import read_samples

    _written(tmp_path / "log", messages=True)
    found = [s for s in read_samples(tmp_path / "log") if s.stream == "messages"]
    assert len(found) == 2 * STEPS
    assert {s.layout.input.shape for s in found} == {(12, 1, 3)}  # 6 edges in 2 rounds, of 3


def test_a_dropped_record_is_found(tmp_path: Path) -> None:
    """Cut out of the middle of one agent's stream."""
    head = _written(tmp_path / "log")
    records = tmp_path / "log" / "streams" / "vit" / "000000.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    batches = [i for i, line in enumerate(lines) if b'"kind":"batch"' in line]
    records.write_bytes(b"".join(lines[: batches[1]] + lines[batches[1] + 1 :]))
    verdict = _check(tmp_path / "log", head=head, unanchored=False)
    assert verdict.outcome is Outcome.FAIL
    assert "stream vit" in verdict.reason


def test_a_stream_that_was_taken_away_is_found(tmp_path: Path) -> None:
    import shutil

    _written(tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / "streams" / "vit")
    shutil.rmtree(tmp_path / "log" / "heads")
    verdict = _check(tmp_path / "log")
    assert verdict.outcome is Outcome.FAIL
    assert "stream vit: the stream is not there" in verdict.reason


def test_an_agent_that_logged_nothing_of_one_decision(tmp_path: Path) -> None:
    """The chain of each stream is sound: only the join tells."""
    orders = {"cnn": [0, 1, 2], "vit": [0, 2], "hybrid": [0, 1, 2]}
    verdict = _by_hand(tmp_path / "log", orders, complete=False)
    assert verdict.outcome is Outcome.FAIL
    assert "agent vit has other" not in verdict.reason
    assert "decisions do not join" in verdict.reason
    lines = verdict.evidence["join"]["differences"]  # type: ignore[call-overload, index]
    assert any("vit" in line and "the first is 1" in line for line in lines)  # type: ignore[union-attr]


def test_an_agent_that_the_manifest_forgot(tmp_path: Path) -> None:
    team = _team()
    manifest = team_manifest(("cnn", "vit"), run="r", expectation=Expectation(steps=1))
    pair = Team(team.members[:2])
    with TeamMaskLog(tmp_path / "log", pair, manifest=manifest) as log:
        _decide(pair, log, 0)
    verdict = _check(tmp_path / "log")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "decisions do not join: agent hybrid has no record"
    assert _check(tmp_path / "log", agents=("cnn", "vit")).outcome is Outcome.PASS


def test_an_agent_that_nobody_named(tmp_path: Path) -> None:
    _written(tmp_path / "log")
    verdict = _check(tmp_path / "log", agents=("cnn", "vit"))
    assert verdict.outcome is Outcome.FAIL
    assert "stream hybrid is of no agent" in verdict.reason


@pytest.mark.parametrize("what", ["samples", "inputs"])
def test_agents_that_looked_at_something_else(tmp_path: Path, what: str) -> None:
    team = _team()
    manifest = _manifest(expectation=Expectation(steps=1))
    for agent in team.members:
        other = agent.name == "vit"
        ids = [0, 5] if other and what == "samples" else [0, 1]
        images = IMAGES[2:4] if other and what == "inputs" else IMAGES[:2]
        log = MaskLog(tmp_path / "log", stream=agent.name, manifest=manifest).attach(agent)
        with log, log.batch(step=0, sample_ids=ids):
            agent(images)
    verdict = _check(tmp_path / "log", same_inputs=("cnn", "vit"))
    assert verdict.outcome is Outcome.FAIL
    assert ("other samples" if what == "samples" else "other inputs") in verdict.reason
    loose = _check(tmp_path / "log")
    assert (loose.outcome is Outcome.PASS) is (what == "inputs")


def test_several_processes(tmp_path: Path) -> None:
    processes = ("serve-0", "serve-1")
    manifest = _manifest(processes=processes)
    for process in processes:
        team = _team()
        with TeamMaskLog(tmp_path / "log", team, manifest=manifest, process=process) as log:
            for step in range(STEPS):
                _decide(team, log, step, shift=100 if process == "serve-1" else 0)
    verdict = _check(tmp_path / "log")
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.evidence["join"]["decisions"] == 2 * STEPS  # type: ignore[call-overload, index]


def test_a_log_that_is_taken_up_again(tmp_path: Path) -> None:
    team, manifest = _team(), _manifest()

    def crash() -> None:
        with TeamMaskLog(tmp_path / "log", team, manifest=manifest) as log:
            _decide(team, log, 0)
            with log.decision(step=1, sample_ids=[2, 3]):
                team.members[0](IMAGES[2:4])
                raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="power"):
        crash()
    with TeamMaskLog(tmp_path / "log", team, manifest=manifest, resume=True) as log:
        for step in (1, 2):
            _decide(team, log, step)
    verdict = _check(tmp_path / "log")
    assert verdict.outcome is Outcome.PASS, verdict.reason


def test_an_erased_sample_still_joins(tmp_path: Path) -> None:
    _written(tmp_path / "log")
    erase_sample(tmp_path / "log", 3, reason="asked for")
    assert _check(tmp_path / "log", max_erased=3).outcome is Outcome.PASS
    assert _check(tmp_path / "log").outcome is Outcome.FAIL


def test_a_log_without_decisions(tmp_path: Path) -> None:
    manifest = _manifest(expectation=Expectation())
    with TeamMaskLog(tmp_path / "log", _team(), manifest=manifest):
        pass
    verdict = _check(tmp_path / "log", complete=False)
    assert verdict.outcome is not Outcome.PASS
    assert _check(tmp_path / "nothing").outcome is Outcome.ERROR


def test_more_decisions_than_can_be_joined(tmp_path: Path, monkeypatch: Any) -> None:
    import fgmf.mask_log.decisions as joining

    _written(tmp_path / "log")
    monkeypatch.setattr(joining, "MOST_DECISIONS", 2)
    verdict = _check(tmp_path / "log")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too many decisions" in verdict.reason


def test_what_is_left_out_is_counted_by_every_agent(tmp_path: Path) -> None:
    team = _team()
    manifest = _manifest(skips=("attack",), expectation=Expectation(steps=1))
    with TeamMaskLog(tmp_path / "log", team, manifest=manifest) as log:
        with log.leave_out("attack"):
            team(IMAGES)
        _decide(team, log, 0)
    streams = verify_log(tmp_path / "log").streams
    assert [stream.skipped for stream in streams] == [1, 1, 1]
    assert _check(tmp_path / "log").outcome is Outcome.PASS


def test_hooks_come_off(tmp_path: Path) -> None:
    team = _team(messages=True)
    with TeamMaskLog(tmp_path / "log", team, manifest=_manifest(messages=True)) as log:
        _decide(team, log, 0)
    before = sum(stream.records for stream in verify_log(tmp_path / "log").streams)
    team(IMAGES)
    assert sum(stream.records for stream in verify_log(tmp_path / "log").streams) == before


def test_all_streams_begin_or_none(tmp_path: Path) -> None:
    team, manifest = _team(), _manifest()
    other = MaskLog(tmp_path / "log", stream="hybrid", manifest=manifest).attach(_team())
    with (
        other,
        pytest.raises(InvalidInput),
        TeamMaskLog(tmp_path / "log", team, manifest=manifest),
    ):
        pass
    assert [len(agent.model.layer._listeners) for agent in team.members] == [0, 0, 0]  # type: ignore[union-attr, arg-type]


def test_teams_that_cannot_be_logged(tmp_path: Path) -> None:
    bare = Team([Agent("cnn", LinearModel())])
    with pytest.raises(InvalidInput, match="in every agent, got cnn without one"):
        TeamMaskLog(tmp_path, bare, manifest=_manifest())
    pair = team_manifest(("cnn", "vit"), run="r", expectation=Expectation(steps=1))
    with pytest.raises(InvalidInput, match=r"a stream for each of .* got none for .'hybrid'."):
        TeamMaskLog(tmp_path, _team(), manifest=pair)
    with pytest.raises(InvalidInput, match=r"got none for .'messages'."):
        TeamMaskLog(tmp_path, _team(messages=True), manifest=_manifest())
    for names in ((), ("messages",)):
        with pytest.raises(InvalidInput, match="names of agents other than 'messages'"):
            team_manifest(names, run="r", expectation=Expectation())


def test_predictions_of_other_agents(tmp_path: Path) -> None:
    team = _team()
    log = TeamMaskLog(tmp_path / "log", team, manifest=_manifest())
    with log, pytest.raises(InvalidInput, match="logits of 3 agents, got 2"):
        log.predicted(torch.zeros(2, 1, 4))


def test_spot_checks_make_the_agents_masks_again(tmp_path: Path) -> None:
    """Messages have no such layer: their weights are not kept, and they are not drawn."""
    layer = "mask_log_layers:layer_for_spot_checks"
    config = SgamConfig(grid_side=3, width=4)
    agents = [
        Agent(name, Sgam.wrap(LinearModel(seed=i), channels=1, config=config, seed=i))
        for i, name in enumerate(("cnn", "vit", "hybrid"))
    ]
    team = Team(agents, messages=MessagePassing(3, 4, settings=MessageSettings(m_min=0.5)))
    contents, manifest = LogContents(inputs=True), _manifest(messages=True)
    with TeamMaskLog(tmp_path / "log", team, manifest=manifest, contents=contents) as log:
        for step in range(STEPS):
            _decide(team, log, step)
    verdict = _check(tmp_path / "log", spot_checks=30, layer=layer)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    checks: Any = verdict.evidence["spot_checks"]
    assert (checks["checked"], checks["resolvable"]) == (6 * STEPS, 6 * STEPS)


def test_names_of_streams() -> None:
    assert agent_of(stream_of("vit", "serve-0.eu")) == ("serve-0.eu", "vit")
    assert agent_of(stream_of("vit")) == ("", "vit")


def test_agents_with_several_layers(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = SgamConfig(grid_side=4)
            self.first = Sgam.wrap(LinearModel(seed=1), channels=1, config=config)
            self.second = Sgam.wrap(LinearModel(seed=2), channels=1, config=config)

        def forward(self, images: torch.Tensor) -> Any:
            return self.first(images) + self.second(images)

    team = Team([Agent("twice", Twice()), _team().members[0]])
    manifest = team_manifest(team.names, run="r", expectation=Expectation(steps=2))
    with TeamMaskLog(tmp_path / "log", team, manifest=manifest) as log:
        for step in range(2):
            _decide(team, log, step)
    verdict = _check(tmp_path / "log", agents=("twice", "cnn"), same_inputs=("twice", "cnn"))
    assert verdict.outcome is Outcome.PASS, verdict.reason
