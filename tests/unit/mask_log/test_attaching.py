"""Masks of real layers, logged while models run, and looked at afterwards."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from mask_log_layers import sgam
from torch import nn

from fgmf.canonical import tensor_digest
from fgmf.errors import InvalidInput
from fgmf.gates import MaskLogGate
from fgmf.mask_log import (
    Expectation,
    LogOutcome,
    Manifest,
    MaskLog,
    VerifySettings,
    WriterSettings,
    verify_log,
)
from fgmf.mask_log.masks import mask_of_grid
from fgmf.mask_log.tensors import weights_of
from fgmf.mask_log.weights import weights_digest
from fgmf.sgam import Sgam, saliency_mask_of
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.streams import ObservedBatch


@dataclass
class Offer:
    """What a layer of a user's own offers."""

    inputs: torch.Tensor
    saliency_mask: torch.Tensor


class OwnLayer(nn.Module):
    """A layer of a user's own: a fixed mask."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.hooks: list[Any] = []

    def register_saliency_mask_hook(self, hook: Any) -> Any:
        self.hooks.append(hook)
        layer = self

        class Handle:
            def remove(self) -> None:
                layer.hooks.remove(hook)

        return Handle()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mask = self.mask.expand(len(images), -1, -1, -1)
        for hook in self.hooks:
            hook(Offer(images.detach(), mask))
        return images * mask


class Reader:
    """Keeps what an observer is shown."""

    def __init__(self) -> None:
        self.batches: list[tuple[dict, list[Any], list[dict[str, bytes]]]] = []

    def take(self, batch: ObservedBatch) -> None:
        ids = [batch.layout.decode_id(row) for row in batch.rows]
        arrays = [
            {
                form.name: batch.pack.read(reference.offset, reference.length)
                for form, reference in zip(
                    batch.layout.arrays, batch.layout.references(row), strict=True
                )
            }
            for row in batch.rows
        ]
        self.batches.append((batch.record.body, ids, arrays))

    def take_weights(self, stream: str, record: Any, segment: int) -> None:
        pass


def read(path: Path) -> list[tuple[dict, list[Any], list[dict[str, bytes]]]]:
    reader = Reader()
    report = verify_log(path, VerifySettings(observers=[reader]))
    assert LogOutcome.TAMPERED is not report.outcome
    return reader.batches


def test_every_mask_of_a_training_run_is_logged(tmp_path: Path) -> None:
    model, optimizer_steps = sgam(), 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    manifest = Manifest(streams={"main": Expectation(steps=3, sample_count=12)})
    grids, digests = [], []
    with MaskLog(tmp_path / "log", manifest=manifest).attach(model) as log:
        for step in range(optimizer_steps):
            images = torch.rand(4, 1, 8, 8)
            with log.batch(step=step, sample_ids=torch.arange(4 * step, 4 * step + 4)):
                optimizer.zero_grad()
                digests.append(weights_digest(weights_of(model.layer)).hex())
                grids.append(model.layer.grid(images).detach())
                model(images).square().sum().backward()
                optimizer.step()
    report = verify_log(tmp_path / "log", VerifySettings(head=log.head.digest))
    assert (report.outcome, report.anchor) == (LogOutcome.COMPLETE, "head")
    batches = read(tmp_path / "log")
    assert [body["weights"] for body, _, _ in batches] == digests
    assert len(set(digests)) == 3
    assert [ids for _, ids, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    logged = [np.frombuffer(a["grid"], np.float32) for _, _, rows in batches for a in rows]
    made = torch.cat(grids).reshape(12, -1).numpy()
    assert np.array_equal(np.stack(logged), made)  # not rounded: bit by bit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_digests_of_inputs_are_those_of_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    layer = OwnLayer(torch.full((1, 1, 8, 8), 0.5))
    images = torch.rand(2, 1, 8, 8).to(dtype)
    with MaskLog(tmp_path / "log").attach(layer):
        layer(images)
    found = []

    class Inputs(Reader):
        def take(self, batch: ObservedBatch) -> None:
            found.extend(batch.layout.input_digest(row).hex() for row in batch.rows)

    verify_log(tmp_path / "log", VerifySettings(observers=[Inputs()]))
    assert [f"sha256:{digest}" for digest in found] == [tensor_digest(image) for image in images]


def test_binary_masks_take_a_bit_for_each_pixel(tmp_path: Path) -> None:
    mask = (torch.arange(100).reshape(1, 1, 10, 10) % 3 == 0).float()
    layer = OwnLayer(mask)
    with MaskLog(tmp_path / "log").attach(layer) as log, log.batch(step=0, sample_ids=["a", "b"]):
        layer(torch.rand(2, 1, 10, 10))
    ((body, ids, rows),) = read(tmp_path / "log")
    assert (body["ids"], ids) == ("given", ["a", "b"])
    bits = np.unpackbits(np.frombuffer(rows[0]["saliency_mask"], np.uint8), count=100)
    assert np.array_equal(bits, mask.flatten().numpy())


def test_passes_without_a_step_get_running_numbers(tmp_path: Path) -> None:
    model = sgam()
    with MaskLog(tmp_path / "log").attach(model):
        model(torch.rand(2, 1, 8, 8))
        model(torch.rand(3, 1, 8, 8))
    found = [(body["step"], body["ids"], ids) for body, ids, _ in read(tmp_path / "log")]
    assert found == [(0, "counted", [0, 1]), (1, "counted", [2, 3, 4])]


@pytest.mark.parametrize(
    ("skips", "outcome"), [((), LogOutcome.INCOMPLETE), (("attack",), LogOutcome.COMPLETE)]
)
def test_what_is_left_out_is_counted(
    tmp_path: Path, skips: tuple[str, ...], outcome: LogOutcome
) -> None:
    model = sgam()
    manifest = Manifest(streams={"main": Expectation(steps=1)}, skips=skips)
    images = torch.rand(2, 1, 8, 8)
    with MaskLog(tmp_path / "log", manifest=manifest).attach(model) as log:
        with log.leave_out("attack"):
            model(images)
        with log.batch(step=0, sample_ids=[1, 2]):
            model(images)
        with log.leave_out("attack"):
            model(images)
            model(images)
    report = verify_log(tmp_path / "log")
    assert report.outcome is outcome
    assert report.streams[0].skipped == 3


def test_a_sampled_log_says_how_much_it_left_out(tmp_path: Path) -> None:
    model = sgam()
    with MaskLog(tmp_path / "log", manifest=Manifest(every=3)).attach(model):
        for _ in range(8):
            model(torch.rand(1, 1, 8, 8))
    report = verify_log(tmp_path / "log")
    assert report.outcome is LogOutcome.SAMPLED
    assert (report.streams[0].batches, report.streams[0].skipped) == (3, 5)
    gate = {"path": str(tmp_path / "log"), "unanchored": True, "complete": False}
    assert MaskLogGate(**gate, min_coverage=0.37).check().outcome is Outcome.PASS
    verdict = MaskLogGate(**gate, min_coverage=0.4).check()
    assert verdict.outcome is Outcome.FAIL
    assert "coverage 0.375, at least 0.4" in verdict.reason


def test_hooks_come_off_and_the_end_says_what_happened(tmp_path: Path) -> None:
    model = sgam()
    manifest = Manifest(streams={"main": Expectation(steps=1)})
    log = MaskLog(tmp_path / "log", manifest=manifest).attach(model)
    hook = model.backbone.register_forward_hook(lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError), log, log.batch(step=0, sample_ids=[0]):
        model(torch.rand(1, 1, 8, 8))
    hook.remove()
    assert not model.layer._listeners
    report = verify_log(tmp_path / "log")
    assert report.outcome is LogOutcome.INCOMPLETE
    assert "stopped by ZeroDivisionError" in str(report.troubles[0])


def test_a_logged_model_is_the_model_that_it_was(tmp_path: Path) -> None:
    model, images = sgam(), torch.rand(2, 1, 8, 8, requires_grad=True)
    model.train()
    expected = model(images)
    (gradient,) = torch.autograd.grad(expected.square().sum(), images)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    with MaskLog(tmp_path / "log").attach(model):
        outputs = model(images)
        (logged_gradient,) = torch.autograd.grad(outputs.square().sum(), images)
    assert torch.equal(outputs, expected)
    assert torch.equal(logged_gradient, gradient)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    assert not model.layer._listeners


def test_a_wrong_number_of_ids_stops_the_pass(tmp_path: Path) -> None:
    model = sgam()
    with (
        pytest.raises(InvalidInput, match="expected 2 sample ids"),
        MaskLog(tmp_path / "log").attach(model) as log,
        log.batch(step=0, sample_ids=[0]),
    ):
        model(torch.rand(2, 1, 8, 8))
    with pytest.raises(InvalidInput, match="register_saliency_mask_hook"):
        MaskLog(tmp_path / "log").attach(nn.Linear(2, 2))


def test_masks_are_made_of_grids_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    for height, width, side in ((8, 8, 3), (28, 28, 7), (9, 14, 4), (5, 5, 5)):
        grid = torch.rand(4, 1, side, side, generator=generator)
        for floor in (0.02, 0.3, 0.5):
            expected = saliency_mask_of(grid, (height, width), floor, 1).numpy()
            for one, mask in zip(grid.numpy(), expected, strict=True):
                assert np.array_equal(mask_of_grid(one, (height, width), floor), mask)


def test_policies_are_held_against_what_masks_do(tmp_path: Path) -> None:
    mask = torch.ones(1, 1, 8, 8)
    mask[..., :2] = 0.25
    layer = OwnLayer(mask)
    manifest = Manifest(streams={"main": Expectation(steps=1)})
    with MaskLog(tmp_path / "log", manifest=manifest).attach(layer):
        layer(torch.rand(2, 1, 8, 8))
    gate = {"path": str(tmp_path / "log"), "unanchored": True}

    def outcome(**fields: float) -> Outcome:
        return MaskLogGate(**gate, **fields).check().outcome

    assert outcome(min_saliency_mask=0.25) is Outcome.PASS
    assert outcome(min_saliency_mask=0.26) is Outcome.FAIL
    assert outcome(min_protected_share=0.25, max_protected_share=0.25) is Outcome.PASS
    assert outcome(min_protected_share=0.26) is Outcome.FAIL
    assert outcome(max_protected_share=0.24) is Outcome.FAIL
    assert outcome(min_protected_share=0.1, protected_below=0.25) is Outcome.FAIL


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
def test_masks_of_any_precision_are_looked_at(tmp_path: Path, dtype: torch.dtype) -> None:
    layer = OwnLayer(torch.full((1, 1, 8, 8), 0.5).to(dtype))
    manifest = Manifest(streams={"main": Expectation(steps=1)})
    with MaskLog(tmp_path / "log", manifest=manifest).attach(layer):
        layer(torch.rand(2, 1, 8, 8))
    gate = {"path": str(tmp_path / "log"), "unanchored": True, "min_protected_share": 1.0}
    assert MaskLogGate(**gate, min_saliency_mask=0.5).check().outcome is Outcome.PASS
    assert MaskLogGate(**gate, min_saliency_mask=0.6).check().outcome is Outcome.FAIL


@pytest.mark.parametrize("value", [0.0, float("nan"), 1.5, -0.5])
def test_masks_that_cannot_be_undone_fail(tmp_path: Path, value: float) -> None:
    mask = torch.full((1, 1, 8, 8), 0.5)
    mask[0, 0, 3, 4] = value
    layer = OwnLayer(mask)
    manifest = Manifest(streams={"main": Expectation(steps=1)})
    with MaskLog(tmp_path / "log", manifest=manifest).attach(layer):
        layer(torch.rand(2, 1, 8, 8))
    verdict = MaskLogGate(path=str(tmp_path / "log"), unanchored=True).check()
    assert verdict.outcome is Outcome.FAIL
    assert "stream main, record" in verdict.reason
    allowed = MaskLogGate(path=str(tmp_path / "log"), unanchored=True, invertible=False).check()
    assert allowed.outcome is (Outcome.FAIL if value != value else Outcome.PASS)  # noqa: PLR0124


def _worker(path: Path, stream: str, steps: int) -> None:
    torch.set_num_threads(1)
    model = sgam()
    with MaskLog(path, stream=stream).attach(model) as log:
        for step in range(steps):
            with log.batch(step=step, sample_ids=[2 * step, 2 * step + 1]):
                model(torch.rand(2, 1, 8, 8))


def test_ranks_and_workers_write_at_once(tmp_path: Path) -> None:
    from fgmf.mask_log.keeping import current_head
    from fgmf.mask_log.manifest import write_manifest
    from fgmf.mask_log.places import LogDirectory

    directory = LogDirectory(path=tmp_path / "log")
    names = ["train-0", "train-1", "serve-0", "serve-1"]
    manifest = Manifest(streams=dict.fromkeys(names, Expectation(steps=20, sample_count=40)))
    write_manifest(directory, manifest)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_worker, args=(directory.path, n, 20)) for n in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    head = current_head(directory, manifest).digest
    report = verify_log(directory.path, VerifySettings(head=head))
    assert (report.outcome, report.anchor) == (LogOutcome.COMPLETE, "head")
    assert report.samples == 160


def test_a_fork_does_not_write_into_its_parents_stream(tmp_path: Path) -> None:
    model = sgam()
    with MaskLog(tmp_path / "log").attach(model):
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_passes, args=(model,))
        child.start()
        child.join()
        assert child.exitcode == 7
        model(torch.rand(1, 1, 8, 8))
    assert verify_log(tmp_path / "log").outcome is LogOutcome.INTACT


def _passes(model: Sgam) -> None:
    import sys

    from fgmf.errors import MaskLogUnwritable

    try:
        model(torch.rand(1, 1, 8, 8))
    except MaskLogUnwritable:
        sys.exit(7)


def test_threads_share_a_log(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = sgam()
    manifest = Manifest(streams={"main": Expectation(steps=40, sample_count=40)})
    settings = WriterSettings(segment_bytes=4000)
    with MaskLog(tmp_path / "log", manifest=manifest, settings=settings).attach(model) as log:

        def serve(step: int) -> None:
            with log.batch(step=step, sample_ids=[step]):
                model(torch.rand(1, 1, 8, 8))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(serve, range(40)))
    assert verify_log(tmp_path / "log").outcome is LogOutcome.COMPLETE


@pytest.mark.parametrize("reason", [None, "", 5])
def test_passes_are_left_out_for_a_reason(tmp_path: Path, reason: Any) -> None:
    log = MaskLog(tmp_path / "log").attach(sgam())
    with pytest.raises(InvalidInput, match="the reason for leaving out"), log.leave_out(reason):
        pass
