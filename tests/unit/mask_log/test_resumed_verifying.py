"""A verification that was interrupted ends as one that was not, or starts over and says why."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from interrupted_verifications import Interrupted, StopsAt, interrupt, same, verify
from mask_log_corruptions import CLASSES, IntactLog, intact_logs, write_files
from mask_logs import write_log
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import MaskLogUnreadable
from fgmf.mask_log import (
    LogOutcome,
    LogReport,
    MaskLook,
    VerifySettings,
    WriterSettings,
    verify_log,
)
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.report import Resumption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mask_logs import WrittenLog

    from fgmf.mask_log.streams import ObservedBatch

_QUICK = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
_MANY_SEGMENTS = WriterSettings(segment_bytes=1500, checkpoint_records=2)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[IntactLog]:
    return intact_logs(tmp_path_factory.mktemp("logs"), count=8, seed=1)


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    return write_log(tmp_path / "log", streams=("a", "b"), steps=12, settings=_MANY_SEGMENTS)


def _batches(path: Path) -> int:
    return sum(stream.batches for stream in verify_log(path).streams)


def test_what_was_interrupted_ends_as_if_it_was_not(logs: list[IntactLog], tmp_path: Path) -> None:
    went_on = 0

    @_QUICK
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        nonlocal went_on
        log = data.draw(st.sampled_from(logs))
        path, state = tmp_path / "log", tmp_path / "state"
        write_files(path, log.files)
        state.unlink(missing_ok=True)
        wanted = verify(path, None, head=log.head)
        count = _batches(path)
        every = data.draw(st.integers(1, 4))
        for _ in range(data.draw(st.integers(1, 3))):
            try:
                verify(path, state, head=log.head, at=data.draw(st.integers(1, count)), every=every)
            except Interrupted:
                continue
            break
        found = verify(path, state, head=log.head, every=every)
        same(found, wanted)
        assert found[0].resumption is not None
        assert not found[0].resumption.started_over
        went_on += bool(found[0].resumption.records)
        assert not state.exists()

    look()
    assert went_on > 5


@pytest.mark.parametrize("name", CLASSES)
def test_corruptions_behind_and_before_the_state_are_found(
    name: str, logs: list[IntactLog], tmp_path: Path
) -> None:
    @_QUICK
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        log = data.draw(st.sampled_from(logs))
        path, state = tmp_path / "log", tmp_path / "state"
        state.unlink(missing_ok=True)
        write_files(path, log.files)
        interrupt(path, state, at=data.draw(st.integers(1, _batches(path))), head=log.head)
        write_files(path, data.draw(CLASSES[name](log.files, log.other)))
        wanted = _verified_or_unreadable(path, None, log.head)
        found = _verified_or_unreadable(path, state, log.head)
        if isinstance(wanted, str) or isinstance(found, str):
            assert found == wanted
        else:
            same(found, wanted)

    look()


def _verified_or_unreadable(
    path: Path, state: Path | None, head: str
) -> tuple[LogReport, StopsAt] | str:
    try:
        return verify(path, state, head=head)
    except MaskLogUnreadable as error:
        return str(error)


def test_every_byte_behind_the_state_counts(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=12, settings=_MANY_SEGMENTS)
    state, draw = tmp_path / "state", random.Random(0)
    interrupt(log.path, state, at=11, head=log.head)
    kept = state.read_bytes()
    files = sorted(log.directory.stream("train-0").glob("0*"))
    behind = files[:-4]
    assert len(behind) > 6
    for path in behind:
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        state.write_bytes(kept)
        report, _ = verify(log.path, state, head=log.head, every=50)
        assert report.outcome is LogOutcome.TAMPERED
        assert "is not what it was" in report.resumption.started_over
        path.write_bytes(whole + b"x")
        state.write_bytes(kept)
        report, _ = verify(log.path, state, head=log.head, every=50)
        assert report.outcome is LogOutcome.TAMPERED
        assert "is longer" in report.resumption.started_over
        path.write_bytes(whole)
    state.write_bytes(kept)
    report, _ = verify(log.path, state, head=log.head, every=50)
    assert (report.outcome, report.resumption.started_over) == (LogOutcome.COMPLETE, "")
    assert report.resumption.records > 10


def test_a_log_that_shrank_starts_over(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    interrupt(log.path, state, at=4)
    path = log.directory.records("a", 0)
    path.write_bytes(path.read_bytes()[:-40])
    report, _ = verify(log.path, state)
    assert report.outcome is LogOutcome.TAMPERED
    assert "shorter" in report.resumption.started_over
    interrupt(log.path, state, at=1)
    shutil.rmtree(log.directory.stream("a"))
    report, _ = verify(log.path, state)
    assert report.outcome is LogOutcome.TAMPERED
    assert "expected a file" in report.resumption.started_over


def test_what_was_erased_meanwhile_starts_over(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    interrupt(log.path, state, at=9)
    erase_sample(log.path, 0, reason="asked")
    found = verify(log.path, state)
    assert found[0].resumption.started_over
    assert found[0].erased == 2
    same(found, verify(log.path, None))


def _half_erased(log: WrittenLog) -> None:
    """Tombstones are written, and a crash came before the rows were zeroed."""
    packs = {path: path.read_bytes() for path in log.path.rglob("*.pack")}
    erase_sample(log.path, 0, reason="asked")
    for path, contents in packs.items():
        path.write_bytes(contents)


def test_tombstones_that_came_meanwhile_start_over(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    interrupt(log.path, state, at=9)
    _half_erased(log)
    found = verify(log.path, state)
    assert found[0].resumption.started_over.endswith("another set of erased samples")
    assert found[0].outcome is LogOutcome.INCOMPLETE
    same(found, verify(log.path, None))


def test_rows_that_are_not_erased_yet_are_not_forgotten(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    _half_erased(log)
    wanted = verify(log.path, None)
    assert wanted[0].outcome is LogOutcome.INCOMPLETE
    for at in (2, 9):
        interrupt(log.path, state, at=at)
        found = verify(log.path, state)
        assert not found[0].resumption.started_over
        same(found, wanted)


def test_a_claim_that_came_later_is_held_against_the_records(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=8)
    state = tmp_path / "state"
    head = next(log.directory.heads.iterdir())
    text = head.read_text()
    head.unlink()
    interrupt(log.path, state, at=7)
    size = "\n".join(text.splitlines()).split("train-0 ")[1].split(" ")[0]
    point = log.directory.checkpoint("train-0")
    point.write_text(point.read_text().replace(f"\n{size}\n", "\n4\n"))
    found = verify(log.path, state)
    assert "says something new" in found[0].resumption.started_over
    assert found[0].outcome is LogOutcome.TAMPERED
    same(found, verify(log.path, None))


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Ctrl-C as Python has it: shells start programs in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class _CtrlC(MaskLook):
    def take(self, batch: ObservedBatch) -> None:
        super().take(batch)
        if self.samples == 20:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_keeps_where_it_was(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        verify_log(log.path, VerifySettings(observers=[_CtrlC()], state=state))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    look = MaskLook()
    report = verify_log(log.path, VerifySettings(observers=[look], state=state))
    assert report.resumption.records > 10
    assert look.samples == report.samples == 48
    assert replace(report, resumption=None) == verify_log(log.path)


_KILLED = """
import os, signal, sys
from pathlib import Path
from fgmf.mask_log import MaskLook, VerifySettings, verify_log

class Killed(MaskLook):
    def take(self, batch):
        super().take(batch)
        if self.samples == 30:
            os.kill(os.getpid(), signal.SIGKILL)

look = Killed(protected_below=0.9)
settings = VerifySettings(observers=[look], state=Path(sys.argv[2]), state_records=3)
verify_log(Path(sys.argv[1]), settings)
"""


def test_a_killed_verification_goes_on(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-c", _KILLED, str(log.path), str(state)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    look, whole = MaskLook(protected_below=0.9), MaskLook(protected_below=0.9)
    report = verify_log(log.path, VerifySettings(observers=[look], state=state))
    assert report.resumption.records > 10
    verify_log(log.path, VerifySettings(observers=[whole]))
    assert 0.0 < whole.protected < whole.samples
    assert look == whole
    assert replace(report, resumption=None) == verify_log(log.path)


def test_a_log_that_grew_is_read_on(tmp_path: Path) -> None:
    whole = write_log(tmp_path / "whole", streams=("a", "b"), steps=12, settings=_MANY_SEGMENTS)
    path, state = tmp_path / "log", tmp_path / "state"
    shutil.copytree(whole.path, path)
    wanted = verify(path, None)
    for name in ("heads/" + next(whole.directory.heads.iterdir()).name, "streams/a/checkpoint"):
        (path / name).unlink()
    segments = whole.directory.segments("a")
    for segment in segments[3:]:
        for suffix in ("jsonl", "pack"):
            (path / "streams" / "a" / f"{segment:06d}.{suffix}").unlink()
    interrupt(path, state, at=_batches(path))
    shutil.rmtree(path)
    shutil.copytree(whole.path, path)
    (path / "heads" / next(whole.directory.heads.iterdir()).name).unlink()
    for at in (2, 4):  # interrupted again where the first stream grew
        interrupt(path, state, at=at)
    found = verify(path, state)
    assert found[0].resumption.records > 0
    assert not found[0].resumption.started_over
    assert replace(found[0], resumption=None) == replace(wanted[0], resumption=None)
    assert found[1].samples == wanted[1].samples


@pytest.mark.usefixtures("usual_ctrl_c")
def test_the_command_goes_on_and_says_so(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = ["log", "verify", str(log.path), "--against", log.head, "--resume", str(state)]
    look = _CtrlC()
    with pytest.raises(KeyboardInterrupt):
        verify_log(log.path, VerifySettings(head=log.head, observers=[look], state=state))
    runner = CliRunner()
    done = runner.invoke(application, command)
    assert done.exit_code == 0, done.output
    assert "went on" in done.output
    assert not state.exists()
    inside = [*command[:-1], str(log.path / "state")]
    refused = runner.invoke(application, inside)
    assert refused.exit_code == 5
    assert "outside the log" in refused.output
    state.write_bytes(b"")
    assert "started over: the state is damaged" in runner.invoke(application, command).output


def test_resumption_is_empty_without_a_state_to_go_on_from(log: WrittenLog, tmp_path: Path) -> None:
    report = verify_log(log.path, VerifySettings(state=tmp_path / "state"))
    assert report.resumption == Resumption()
    assert verify_log(log.path).resumption is None
