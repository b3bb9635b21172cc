"""A training that is cut off anywhere and goes on from its checkpoint ends with the same bits."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from unit.training.trainings import AMO, SCHEDULE, bits, network, same, some

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.scorpio import Ramp
from fgmf.sgam import SaliencyTeacher, Sgam, SgamConfig
from fgmf.training import (
    Augmentation,
    Callback,
    CheckpointWriter,
    Engine,
    KeepingRecipe,
    MetricsWriter,
    NFgsmRecipe,
    Optimization,
    Pruning,
    RampedRecipe,
    Recipe,
    SgamRecipe,
    StandardRecipe,
    TradesRecipe,
    TrainingRun,
    TrainingSettings,
    read_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDENTITY = {"recipe": "one"}


def masked() -> nn.Module:
    net = ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=3)
    return Sgam.wrap(net, channels=1, config=SgamConfig(grid_side=4, width=8), seed=2)


class Cut(Callback):
    """Ends the process's training without a word, as a kill does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_update(self, run: TrainingRun) -> None:
        if run.step == self.step:
            raise RuntimeError("cut")


def trained(
    make: Callable[[], nn.Module],
    recipe: Recipe | KeepingRecipe,
    folder: Path,
    *,
    cuts: tuple[int, ...] = (),
    **settings: Any,
) -> tuple[nn.Module, TrainingRun]:
    """Train with a checkpoint after every third update, cut off after each step of `cuts`."""
    for cut in (*cuts, None):
        torch.rand(3)  # global generators are in another state each time
        model = make()
        path = folder / "checkpoint.pt"
        writer = CheckpointWriter(path, IDENTITY, seconds=1e9, updates=3)
        callbacks = (MetricsWriter(folder, every=1), writer, Cut(-1 if cut is None else cut))
        run = TrainingRun(
            model, some(), recipe, TrainingSettings(seed=5, callbacks=callbacks, **settings)
        )
        if path.exists():
            run.load_state_dict(read_checkpoint(path, IDENTITY))
        with contextlib.nullcontext() if cut is None else pytest.raises(RuntimeError, match="cut"):
            run.finish()
    return model, run


TRADES = TradesRecipe(epsilon=0.1, steps=1, schedule=SCHEDULE)
RAMPED = RampedRecipe(
    make=lambda numbers: replace(TRADES, beta=numbers["beta"]),
    ramps={"beta": Ramp(start=1.0, end=6.0, until=0.7)},
)
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "draws of all generators": (network, NFgsmRecipe(epsilon=0.1, schedule=SCHEDULE), {}),
    "stored perturbations and curvature": (network, AMO, {}),
    "mask and its lessons": (
        masked,
        SgamRecipe(recipe=AMO, teacher=SaliencyTeacher(every=3)),
        {},
    ),
    "curvature of the optimizer": (
        network,
        StandardRecipe(schedule=SCHEDULE),
        {"optimization": Optimization(name="curvature-aware", curvature_every=3)},
    ),
    "curvature in front of an optimizer": (
        network,
        StandardRecipe(schedule=SCHEDULE),
        {"optimization": Optimization(name="curvature-aware", base="sgd", curvature_every=3)},
    ),
    "momentum and steps": (
        network,
        StandardRecipe(schedule=replace(SCHEDULE, average_decay=None)),
        {"optimization": Optimization(name="sgd", shape="steps")},
    ),
    "views of images": (network, AMO, {"augmentation": Augmentation(padding=2)}),
    "parts of batches": (network, AMO, {"engine": Engine(accumulate=3)}),
}


class TestGoingOn:
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_bit_by_bit_from_anywhere(self, case: str, tmp_path: Path) -> None:
        """8 updates; cut in the first epoch, at its end, in the second; some are made again."""
        make, recipe, settings = CASES[case]
        whole, first = trained(make, recipe, tmp_path / "whole", **settings)
        parts, second = trained(make, recipe, tmp_path / "parts", cuts=(3, 4, 5, 7), **settings)
        assert same(bits(whole), bits(parts))
        assert first.losses == second.losses
        assert not same(bits(whole), bits(make()))

    def test_numbers_that_move(self, tmp_path: Path) -> None:
        whole, _ = trained(network, RAMPED, tmp_path / "whole")
        parts, _ = trained(network, RAMPED, tmp_path / "parts", cuts=(4,))
        still, _ = trained(network, TRADES, tmp_path / "still")
        assert same(bits(whole), bits(parts))
        assert not same(bits(whole), bits(still))

    def test_with_scaled_losses(self, tmp_path: Path) -> None:
        """The scale of a float16 training, here on the CPU: it grows, and goes on where it was."""

        class Scaled(Engine):
            def scaler(self) -> torch.amp.GradScaler:
                return torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=3)

        whole, one = trained(network, AMO, tmp_path / "whole", engine=Scaled())
        parts, other = trained(network, AMO, tmp_path / "parts", cuts=(4, 7), engine=Scaled())
        assert same(bits(whole), bits(parts))
        scale = one.state_dict()["scaler"]
        assert scale == other.state_dict()["scaler"]
        assert scale["scale"] == 2.0**6  # 8 updates
        plain, _ = trained(network, AMO, tmp_path / "plain")
        # The scale is a power of two: gradients are the same, unless they underflow.
        assert same(bits(whole), bits(plain))

    def test_metrics_say_every_update_once(self, tmp_path: Path) -> None:
        trained(network, AMO, tmp_path / "whole")
        trained(network, AMO, tmp_path / "parts", cuts=(4, 5, 7))
        names = ("metrics.jsonl", "metrics.csv")
        for name in names:
            texts = [(tmp_path / part / name).read_text() for part in ("whole", "parts")]
            rows = [[_timeless(line) for line in text.splitlines()] for text in texts]
            assert rows[0] == rows[1]
        lines = (tmp_path / "parts" / names[0]).read_text().splitlines()
        assert len(lines) == 8 + 2

    def test_what_was_noted_at_the_end_of_an_epoch_is_not_lost(self, tmp_path: Path) -> None:
        """A cut between the last update of an epoch and the line of the epoch."""

        class Notes(Callback):
            def after_update(self, run: TrainingRun) -> None:
                run.note("twice", 2.0 * run.step)

        class Checks(Callback):
            def after_update(self, run: TrainingRun) -> None:
                states.append(copy.deepcopy(run.state_dict()))

        states: list[Any] = []
        metrics = MetricsWriter(tmp_path / "whole")
        settings = TrainingSettings(callbacks=(Notes(), metrics, Checks()))
        TrainingRun(network(), some(), AMO, settings).finish()
        metrics = MetricsWriter(tmp_path / "parts")
        (tmp_path / "parts" / "metrics.jsonl").write_bytes(b"x" * 10_000)
        run = TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=(Notes(), metrics)))
        run.load_state_dict(states[3])  # 4 updates in an epoch
        run.finish()
        epochs = [
            [
                re.sub(r'"seconds": [\d.]+', "", line)
                for line in path.read_text("utf-8").splitlines()
            ]
            for path in (tmp_path / name / "metrics.csv" for name in ("whole", "parts"))
        ]
        rows = [[line.rpartition(",")[0] for line in lines] for lines in epochs]
        assert rows[0] == rows[1]
        assert "twice" in rows[0][0]

    def test_a_callback_that_keeps_something_is_missed_and_no_other(self, tmp_path: Path) -> None:
        """A bar on the terminal may come and go; what has a state may not."""
        with pytest.raises(RuntimeError, match="cut"):
            trained_once(tmp_path, MetricsWriter(tmp_path), Cut(4))
        state = read_checkpoint(tmp_path / "c.pt", IDENTITY)
        assert list(state["callbacks"]) == ["MetricsWriter-0"]
        with pytest.raises(InvalidInput, match="callbacks MetricsWriter-0"):
            TrainingRun(network(), some(), AMO, _settings(tmp_path)).load_state_dict(state)
        again = _settings(tmp_path, callbacks=(Cut(-1), MetricsWriter(tmp_path)))
        run = TrainingRun(network(), some(), AMO, again)
        run.load_state_dict(state)
        assert run.step == 3

    def test_another_state_is_another_end(self, tmp_path: Path) -> None:
        """The comparison above can fail: without the objective's state the weights differ."""
        whole, _ = trained(network, AMO, tmp_path / "whole")
        with pytest.raises(RuntimeError, match="cut"):
            TrainingRun(network(), some(), AMO, _settings(tmp_path, callbacks=(Cut(4),))).finish()
        model = network()
        run = TrainingRun(model, some(), AMO, _settings(tmp_path, callbacks=(Cut(-1),)))
        state = read_checkpoint(tmp_path / "c.pt", IDENTITY)
        state["objective"]["store"]["values"].zero_()
        run.load_state_dict(state)
        run.finish()
        assert not same(bits(whole), bits(model))


def trained_once(folder: Path, *callbacks: Callback) -> None:
    TrainingRun(network(), some(), AMO, _settings(folder, callbacks=callbacks)).finish()


def _timeless(line: str) -> str:
    """Without the seconds: a key of a line, the fifth field of a row."""
    if line.startswith("{"):
        return re.sub(r'"seconds": [\d.]+', "", line)
    return ",".join(line.split(",")[:4])


def _settings(folder: Path, **settings: Any) -> TrainingSettings:
    writer = CheckpointWriter(folder / "c.pt", IDENTITY, seconds=1e9, updates=3)
    callbacks = (writer, *settings.pop("callbacks", ()))
    return TrainingSettings(seed=5, callbacks=callbacks, **settings)


class TestCheckpoints:
    def test_of_another_training(self, tmp_path: Path) -> None:
        TrainingRun(network(), some(), AMO, _settings(tmp_path)).finish()
        with pytest.raises(StaleEvidence, match="differs in recipe"):
            read_checkpoint(tmp_path / "c.pt", {"recipe": "two"})
        with pytest.raises(StaleEvidence, match="differs in images"):  # of which it says nothing
            read_checkpoint(tmp_path / "c.pt", {**IDENTITY, "images": "some"})
        with pytest.raises(StaleEvidence, match="differs in recipe"):
            read_checkpoint(tmp_path / "c.pt", {})

    @pytest.mark.parametrize("damage", ["cut", "empty", "other", "earlier form", "missing"])
    def test_damaged(self, damage: str, tmp_path: Path) -> None:
        path = tmp_path / "c.pt"
        TrainingRun(network(), some(), AMO, _settings(tmp_path)).finish()
        data = path.read_bytes()
        if damage == "cut":
            path.write_bytes(data[:-200])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "other":
            path.write_bytes(b"something else")
        elif damage == "earlier form":
            torch.save({"format": "fgmf-checkpoint/1", "identity": IDENTITY, "state": {}}, path)
        else:
            path.unlink()
        with pytest.raises(StaleEvidence, match=r"expected a (whole )?checkpoint"):
            read_checkpoint(path, IDENTITY)

    def test_no_changed_bit_is_taken(self, tmp_path: Path) -> None:
        """Also within the weights, which a file of tensors alone does not notice."""
        path = tmp_path / "c.pt"
        TrainingRun(network(), some(), AMO, _settings(tmp_path)).finish()
        data = path.read_bytes()
        read_checkpoint(path, IDENTITY)
        places = (*range(90), *range(90, len(data), max(1, len(data) // 100)))
        for place, bit in itertools.product(places, (0, 6)):
            path.write_bytes(data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :])
            with pytest.raises(StaleEvidence, match="damaged"):
                read_checkpoint(path, IDENTITY)

    @pytest.mark.parametrize("kind", ["code", "list", "no identity"])
    def test_whole_but_no_checkpoint(self, kind: str, tmp_path: Path) -> None:
        """One that would run code, and others that hold something else."""
        documents = {"code": {"identity": Cut(1)}, "list": [1], "no identity": {"state": {}}}
        stream = io.BytesIO()
        torch.save(documents[kind], stream)
        body = stream.getvalue()
        head = f"fgmf-checkpoint/2 {hashlib.sha256(body).hexdigest()}\n"
        (tmp_path / "c.pt").write_bytes(head.encode() + body)
        with pytest.raises(StaleEvidence, match="expected a checkpoint"):
            read_checkpoint(tmp_path / "c.pt", IDENTITY)

    def test_nothing_else_is_left_in_the_directory(self, tmp_path: Path) -> None:
        TrainingRun(network(), some(), AMO, _settings(tmp_path)).finish()
        assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]

    def test_intervals(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="intervals above 0"):
            CheckpointWriter(tmp_path / "c.pt", IDENTITY, updates=0)

    def test_lost_metrics_are_said(self, tmp_path: Path) -> None:
        writer = MetricsWriter(tmp_path)
        writer.load_state_dict({"length": 10, "epochs": []})
        run = TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=(writer,)))
        with pytest.raises(StaleEvidence, match="bytes of metrics"):
            run.finish()


class TestCallbacks:
    def test_are_told_in_order(self) -> None:
        seen: list[str] = []

        class Listener(Callback):
            def begin(self, run: TrainingRun) -> None:
                seen.append("begin")

            def before_step(self, run: TrainingRun) -> None:
                assert all(p.grad is not None for p in run.model.parameters())
                seen.append("before")

            def after_step(self, run: TrainingRun) -> None:
                seen.append("after")

            def after_update(self, run: TrainingRun) -> None:
                assert len(run.images) == len(run.labels) > 0
                seen.append(f"update {run.step}")

            def after_epoch(self, run: TrainingRun) -> None:
                seen.append(f"epoch {run.epoch}")

            def end(self, run: TrainingRun) -> None:
                seen.append("end")

        recipe = StandardRecipe(schedule=replace(SCHEDULE, batch_size=56))
        settings = TrainingSettings(callbacks=(Listener(),))
        TrainingRun(network(), some(), recipe, settings).finish()
        update = ["before", "after"]
        expected = ["begin", *update, "update 1", "epoch 1", *update, "update 2", "epoch 2", "end"]
        assert seen == expected

    def test_pruned_weights_are_zero_in_the_average_too(self) -> None:
        def keep(model: nn.Module) -> None:
            with torch.no_grad():
                model[1].head[1].weight[:, ::2] = 0.0

        model = network()
        TrainingRun(model, some(), AMO, TrainingSettings(callbacks=(Pruning(keep),))).finish()
        weight = model[1].head[1].weight
        assert bool((weight[:, ::2] == 0).all())
        assert bool((weight[:, 1::2] != 0).all())

    def test_a_stopped_training_says_why(self) -> None:
        class Stop(Callback):
            def after_update(self, run: TrainingRun) -> None:
                if run.step == 3:
                    run.stop("enough")

        report = TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=(Stop(),))).finish()
        assert (report.stopped, report.steps, report.losses) == ("enough", 3, ())
        assert report.cost.forward_passes < 8 * 56 * 2

    def test_the_average_is_shown_and_taken_away(self) -> None:
        class Look(Callback):
            def after_epoch(self, run: TrainingRun) -> None:
                before = bits(run.model)
                with run.average.shown():
                    assert not run.model.training
                    assert not same(before, bits(run.model))
                assert same(before, bits(run.model))
                assert run.model.training

        TrainingRun(network(), some(), AMO, TrainingSettings(callbacks=(Look(),))).finish()
