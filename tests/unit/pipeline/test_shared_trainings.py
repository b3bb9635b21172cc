"""A recipe file in two processes: cut off, and gone on with bit by bit."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from torch import multiprocessing
from unit.pipeline.recipe_files import written
from unit.training.trainings import two_processes

from fgmf.errors import StaleEvidence
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import TrainingRequest, run_training
from fgmf.processes import GlooProcesses
from fgmf.training import Callback, TrainingPeers, TrainingRun

if TYPE_CHECKING:
    from pathlib import Path


class Crash(Callback):
    def before_loss(self, run: TrainingRun) -> None:
        if run.step == 5:
            raise RuntimeError("cut off")


def share(
    peers: TrainingPeers, recipe: Path, callbacks: tuple[Callback, ...] = ()
) -> dict[str, Any]:
    notes: list[str] = []
    request = TrainingRequest(
        notify=notes.append,
        callbacks=callbacks,
        processes=GlooProcesses(rank=peers.rank, count=peers.count),
    )
    outcome = run_training(load_recipe_file(recipe), request)
    return {"steps": outcome.steps, "notes": notes}


PRUNED = """
[sgam]
grid_side = 4
[pruning]
share = 0.4
images = 32
"""


@pytest.mark.parametrize("more", ["", PRUNED], ids=["plain", "mask and pruning"])
def test_it_goes_on_after_a_crash(more: str, tmp_path: Path) -> None:
    whole, cut = written(tmp_path / "a"), written(tmp_path / "b")
    for path in (whole, cut):
        path.write_text(path.read_text() + more)
    two_processes(tmp_path, partial(share, recipe=whole))
    with pytest.raises(multiprocessing.ProcessRaisedException, match=r"cut off|ProcessLost"):
        two_processes(tmp_path, partial(share, recipe=cut, callbacks=(Crash(),)))
    with pytest.raises(StaleEvidence, match=r"of 1 process.*got one of 2"):
        run_training(load_recipe_file(cut))
    first, second = two_processes(tmp_path, partial(share, recipe=cut))
    assert (first["steps"], second["steps"]) == (10, 10)
    assert first["notes"] == ["goes on after update 4 of 10"]
    assert second["notes"] == []
    out = cut.parent / "out"
    kept = "weights.safetensors"
    assert (out / kept).read_bytes() == (whole.parent / "out" / kept).read_bytes()
    assert not (out / "checkpoint.pt").exists()
    sessions = json.loads((out / "manifest.json").read_text())["sessions"]
    assert [(each["processes"], each["from_update"]) for each in sessions] == [(2, 0), (2, 4)]
