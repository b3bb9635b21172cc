"""Event files of TensorBoard: opened where a training goes on, and closed at its end."""

from __future__ import annotations

import copy
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from unit.training.trainings import AMO, network, some

from fgmf.errors import MissingDependency
from fgmf.training import Callback, MetricsWriter, TrainingRun, TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path


class TestBoard:
    """TensorBoard's own writer, as far as it is asked for anything."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        found: list[Any] = []

        class SummaryWriter:
            def __init__(self, log_dir: str, *, purge_step: int) -> None:
                self.place, self.purged, self.closed = log_dir, purge_step, False
                self.scalars: list[tuple[str, float, int]] = []
                found.append(self)

            def add_scalar(self, name: str, value: float, step: int) -> None:
                assert not self.closed
                self.scalars.append((name, value, step))

            def close(self) -> None:
                self.closed = True

        module = types.ModuleType("torch.utils.tensorboard")
        module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
        return found

    def test_what_is_made_again_is_purged_and_the_end_is_written(
        self, opened: list[Any], tmp_path: Path
    ) -> None:
        states: list[Any] = []

        class Keeps(Callback):
            def after_update(self, run: TrainingRun) -> None:
                states.append(copy.deepcopy(run.state_dict()))

        callbacks = (MetricsWriter(tmp_path, every=1, tensorboard=True), Keeps())
        TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=callbacks)).finish()
        again = (MetricsWriter(tmp_path, every=1, tensorboard=True),)
        run = TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=again))
        run.load_state_dict(states[4])
        run.finish()
        whole, rest = opened
        assert (whole.purged, rest.purged) == (1, 6)
        assert whole.closed
        assert rest.closed
        assert whole.place == rest.place == str(tmp_path / "tensorboard")
        steps = [step for name, _, step in whole.scalars if name == "update/loss"]
        assert steps == list(range(1, 9))
        assert [scalar for scalar in whole.scalars if scalar[2] > 5] == rest.scalars
        assert [step for name, _, step in whole.scalars if name == "epoch/loss"] == [4, 8]

    def test_it_is_missed_before_the_training(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingDependency, match="tensorboard"):
            MetricsWriter(tmp_path, tensorboard=True)
