"""What stands in for what: layers, attempts, epochs and erasures in the join with the manifest."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_logs import LAYOUT, batch_of, body_of

from fgmf.gates import MaskLogGate
from fgmf.mask_log import Expectation, LogOutcome, Manifest, verify_log
from fgmf.mask_log.coverage import are_explained
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.erasures import read_tombstones
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import ERASURES, LogDirectory
from fgmf.mask_log.writing import StreamWriter
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OTHER = replace(LAYOUT, layer={**LAYOUT.layer, "name": "other"})


class _Log:
    """A log of one stream that is being written."""

    def __init__(self, path: Path, expected: Expectation) -> None:
        self.directory, self.manifest = LogDirectory(path=path), Manifest(streams={"a": expected})
        write_manifest(self.directory, self.manifest)
        self.writer = StreamWriter(self.directory, "a", self.manifest)

    def again(self) -> None:
        self.writer.abandon()
        self.writer = StreamWriter(self.directory, "a", self.manifest, resume=True)

    def log(self, ids: range, step: int, **changed: object) -> None:
        layout = changed.pop("layout", LAYOUT)
        self.writer.append_batch(batch_of(ids, layout=layout), body_of(step, **changed))

    def outcome(self, *, max_erased: int = 0) -> tuple[Outcome, str]:
        gate = MaskLogGate(
            path=str(self.directory.path), unanchored=True, max_erased=max_erased
        ).check()
        return gate.outcome, gate.reason

    def erase(self, sample: int) -> None:
        self.writer.close()
        erase_sample(self.directory.path, sample, reason="on request")


def test_a_sample_logged_too_often_and_erased_hides_no_missing_one(tmp_path: Path) -> None:
    log = _Log(tmp_path / "log", Expectation(sample_count=3))
    for step in range(4):
        log.log(range(1), step)
    log.log(range(1, 2), 4)  # 2 is not there
    log.erase(0)
    outcome, reason = log.outcome(max_erased=9)
    assert outcome is Outcome.FAIL
    assert "2 of 3 expected entries of samples are missing: 0, 2; 1 erasures" in reason


def test_erased_samples_explain_what_they_were(tmp_path: Path) -> None:
    log = _Log(tmp_path / "log", Expectation(sample_count=3, times=2))
    for step in range(2):
        log.log(range(3), step)
    log.erase(0)
    erase_sample(log.directory.path, 2, reason="on request")
    assert log.outcome(max_erased=4)[0] is Outcome.PASS


def test_an_erasure_that_was_cut_off_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _Log(tmp_path / "log", Expectation(sample_count=3))
    for step in range(2):
        log.log(range(1), step)
    log.log(range(1, 2), 2)  # 2 is not there
    from fgmf.mask_log import erasing

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "_zero", _interrupted_after_one(erasing._zero))
        with pytest.raises(KeyboardInterrupt):
            log.erase(0)
    erase_sample(log.directory.path, 0, reason="on request")
    stones = read_tombstones(log.directory)["a"]
    assert {stone.erasure for rows in stones.values() for stone in rows.values()} == {0}
    assert log.outcome(max_erased=9)[0] is Outcome.FAIL


def _interrupted_after_one(zero: object) -> object:
    count = itertools.count()

    def zero_one(*given: object) -> None:
        if next(count):
            raise KeyboardInterrupt
        zero(*given)  # type: ignore[operator] # a function

    return zero_one


@given(
    needs=st.lists(st.integers(1, 3), max_size=4),
    sizes=st.lists(st.integers(1, 4), max_size=4),
)
def test_what_is_explained_is_explained_sample_by_sample(
    needs: list[int], sizes: list[int]
) -> None:
    assert not are_explained(needs, sizes) or _by_trying(needs, sizes)
    assert are_explained(needs, needs)  # one erasure for each sample is no false alarm


def _by_trying(needs: Sequence[int], sizes: Sequence[int]) -> bool:
    """Every way to say which sample an erasure was of."""
    return any(
        all(
            sum(size for size, of in zip(sizes, owners, strict=True) if of == sample) >= need
            for sample, need in enumerate(needs)
        )
        for owners in itertools.product(range(max(1, len(needs))), repeat=len(sizes))
    )


@pytest.mark.parametrize("times", [1, 2])
def test_a_step_done_again_is_no_later_epoch(tmp_path: Path, times: int) -> None:
    log = _Log(tmp_path / "log", Expectation(sample_count=4, times=times))
    log.log(range(2), 0)
    log.log(range(2, 4), 1)
    log.again()
    log.log(range(2, 4), 1)
    log.log(range(2), 2)  # and the second epoch of 2 and 3 never comes
    log.writer.close()
    outcome, reason = log.outcome()
    assert (outcome is Outcome.PASS) == (times == 1)
    assert times == 1 or "2 of 8 expected entries of samples are missing: 2, 3" in reason


def test_every_layer_must_have_logged_all(tmp_path: Path) -> None:
    log = _Log(tmp_path / "log", Expectation(steps=2, sample_count=4))
    for step in range(2):
        ids = range(2 * step, 2 * step + 2)
        log.log(ids, step)
        log.log(ids, step, layout=_OTHER)
    log.writer.close()
    assert log.outcome()[0] is Outcome.PASS
    partly = _Log(tmp_path / "partly", Expectation(steps=2, sample_count=4))
    for step in range(2):
        partly.log(range(2 * step, 2 * step + 2), step)
    partly.log(range(2), 0, layout=_OTHER)
    partly.writer.close()
    outcome, reason = partly.outcome()
    assert outcome is Outcome.FAIL
    assert "1 of 2 steps are missing: 1 (layer 'other')" in reason


def test_layers_without_end_are_no_memory_without_end(tmp_path: Path) -> None:
    log = _Log(tmp_path / "log", Expectation(sample_count=2))
    for number in range(66):
        log.log(range(2), 0, layout=replace(LAYOUT, layer={**LAYOUT.layer, "name": f"{number}"}))
    log.writer.close()
    report = verify_log(log.directory.path)
    assert "more than 64 mask layers" in str(report.troubles)


@pytest.mark.parametrize("nothing", [{"steps": 0}, {"sample_count": 0}, {}])
def test_nothing_that_must_be_there_is_nothing_fixed(tmp_path: Path, nothing: dict) -> None:
    log = _Log(tmp_path / "log", Expectation(**nothing))
    log.writer.close()
    report = verify_log(log.directory.path)
    assert (report.outcome, report.open_ended) == (LogOutcome.INTACT, ("a",))
    assert log.outcome()[0] is Outcome.INCONCLUSIVE
    assert ERASURES not in report.open_ended
