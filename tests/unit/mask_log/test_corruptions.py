"""Every class of corruption, over random logs: found; intact logs: no alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mask_log_corruptions import CLASSES, IntactLog, found_as, intact_logs, write_files

from fgmf.mask_log import LogOutcome, VerifySettings, verify_log

if TYPE_CHECKING:
    from pathlib import Path

_QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[IntactLog]:
    return intact_logs(tmp_path_factory.mktemp("logs"), count=8, seed=1)


def test_intact_logs_are_complete(logs: list[IntactLog], tmp_path: Path) -> None:
    for log in logs:
        write_files(tmp_path / "log", log.files)
        report = verify_log(tmp_path / "log", VerifySettings(head=log.head))
        assert (report.outcome, report.anchor) == (LogOutcome.COMPLETE, "head")


@pytest.mark.parametrize("name", CLASSES)
def test_every_corruption_is_found(name: str, logs: list[IntactLog], tmp_path: Path) -> None:
    @_QUICK
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        log = data.draw(st.sampled_from(logs))
        corrupted = data.draw(CLASSES[name](log.files, log.other))
        assume(corrupted != log.files)
        write_files(tmp_path / "log", corrupted)
        found = found_as(tmp_path / "log", log, rewritten=name == "rewritten suffix")
        # Zeros, or the first letters of a record, after the end cannot be told from a crash.
        assert found == "tampered" or (name == "garbage" and found == "torn")

    look()
