"""The gridworld against a slow and obvious one; the planner against a search of its own."""

from __future__ import annotations

from collections import deque
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.errors import InvalidInput
from fgmf.policies import Gridworld, JointPlanner
from fgmf.policies.gridworld import MOVES

LAYOUTS = [("...", ".#.", "..."), ("....", ".##.", "...."), ("..", "..")]


def slow_move(world: Gridworld, cells: list[int], actions: list[int]) -> list[int]:
    """Agents move at once; whoever clashes with anybody goes back, until nobody does."""
    floor = list(world.floor)

    def target(cell: int, action: int) -> int:
        row, column = floor[cell]
        place = (row + MOVES[action][0], column + MOVES[action][1])
        return floor.index(place) if place in floor else cell

    wanted = [target(cell, action) for cell, action in zip(cells, actions, strict=True)]
    for _ in cells:
        back = [
            any(
                other != agent
                and (
                    wanted[agent] == wanted[other]
                    or (wanted[agent] == cells[other] and wanted[other] == cells[agent])
                )
                for other in range(len(cells))
            )
            for agent in range(len(cells))
        ]
        wanted = [c if b else w for c, w, b in zip(cells, wanted, back, strict=True)]
    return wanted


@given(st.sampled_from(LAYOUTS), st.integers(1, 2), st.data())
def test_moves_are_those_of_the_slow_world(
    layout: tuple[str, ...], agents: int, data: st.DataObject
) -> None:
    world = Gridworld(layout=layout, agent_count=agents)
    states = world.reset(range(4))
    actions = data.draw(
        st.lists(
            st.lists(st.integers(0, 4), min_size=agents, max_size=agents), min_size=4, max_size=4
        )
    )
    following, _, _ = world.step(states, torch.tensor(actions))
    for before, after, chosen in zip(states, following, actions, strict=True):
        cells = before[1 : 1 + agents].tolist()
        assert after[1 : 1 + agents].tolist() == slow_move(world, cells, chosen)
        assert len(set(after[1 : 1 + agents].tolist())) == agents


def test_nobody_goes_through_walls_or_each_other() -> None:
    world = Gridworld(layout=("..#",), agent_count=1)
    assert world.moved(torch.tensor([[1]]), torch.tensor([[4]])).tolist() == [[1]]
    two = Gridworld(layout=("....",), agent_count=2)
    cells = torch.tensor([[0, 1], [0, 1], [0, 2]])
    moves = torch.tensor([[4, 3], [4, 4], [4, 3]])
    assert two.moved(cells, moves).tolist() == [[0, 1], [1, 2], [0, 2]]


def test_a_seed_fixes_its_episode_alone() -> None:
    world = Gridworld()
    together = world.reset([5, 6, 7])
    assert torch.equal(together[1], world.reset([6])[0])
    assert len({tuple(row.tolist()) for row in world.reset(range(20))}) > 10
    assert all(len(set(row[1:].tolist())) == 4 for row in together)


def test_agents_see_themselves_the_others_plates_and_walls() -> None:
    world = Gridworld()
    states = torch.tensor([[0, 0, 7, 2, 3]])
    seen = world.observe(states)[0].reshape(2, 4, 3, 3)
    assert seen[0, 0].nonzero().tolist() == [[0, 0]]
    assert seen[0, 1].nonzero().tolist() == [[2, 2]]
    assert seen[1, 0].nonzero().tolist() == [[2, 2]]
    assert seen[1, 1].nonzero().tolist() == [[0, 0]]
    for agent in range(2):
        assert seen[agent, 2].nonzero().tolist() == [[0, 2], [1, 0]]
        assert seen[agent, 3].nonzero().tolist() == [[1, 1]]


def test_the_earlier_the_task_is_done_the_more_it_pays() -> None:
    world = Gridworld(layout=("....",), agent_count=2, horizon=4)
    done = torch.tensor([[0, 0, 2, 0, 3], [3, 0, 2, 0, 3], [3, 0, 2, 0, 1]])
    stay = torch.tensor([[0, 4], [0, 4], [0, 0]])
    following, rewards, over = world.step(done, stay)
    assert rewards.tolist() == [1.0, 0.25, 0.0]
    assert over.tolist() == [True, True, True]
    assert world.succeeded(following).tolist() == [True, True, False]


def slow_distance(world: Gridworld, state: torch.Tensor) -> int:
    """Breadth-first search from one state, with the slow moves."""
    agents = world.agent_count
    start, plates = tuple(state[1 : 1 + agents].tolist()), sorted(state[1 + agents :].tolist())
    seen, waiting = {start}, deque([(start, 0)])
    while waiting:
        cells, steps = waiting.popleft()
        if sorted(cells) == plates:
            return steps
        for actions in product(range(5), repeat=agents):
            after = tuple(slow_move(world, list(cells), list(actions)))
            if after not in seen:
                seen.add(after)
                waiting.append((after, steps + 1))
    raise AssertionError("no way")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_planner_goes_the_shortest_way(layout: tuple[str, ...]) -> None:
    world = Gridworld(layout=layout, horizon=12)
    planner = JointPlanner(world)
    states = world.reset(range(12))
    expected = [slow_distance(world, state) for state in states]
    assert planner.distance(states).tolist() == expected
    for state, distance in zip(states, expected, strict=True):
        at = state[None]
        for left in range(distance, 0, -1):
            assert not bool(world.succeeded(at))
            assert planner.distance(at).tolist() == [left]
            at = world.step(at, planner.actions(at)).states
        assert bool(world.succeeded(at))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": ("..", "...")}, "rows of the same length"),
        ({"layout": ("..", ".x")}, "of '.' and '#'"),
        ({"layout": ("..",), "agent_count": 2}, "cells of floor, got 2"),
        ({"agent_count": 0}, "at least one agent"),
    ],
)
def test_what_is_no_world_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace(".", r"\.").replace("'", "'")):
        Gridworld(**options)  # type: ignore[arg-type]


def test_a_world_too_large_to_plan_in_is_refused() -> None:
    with pytest.raises(InvalidInput, match="fewer agents or less floor"):
        JointPlanner(Gridworld(layout=("." * 9,) * 9, agent_count=2))
