"""What gates measured over commits: one line of JSON per gate and run, only ever appended.

.fgmf/baselines/history.jsonl      beside the baselines, so that git takes it

A history decides nothing; it is read by people. So it must not mislead them: each line is sealed by
its digest, a line that was changed, cut off or is none makes the whole file an error, figures of
another configuration start a new stretch, and a gate that was not measured stands there as a gap.
Two branches that both appended merge by keeping the lines of both (``merge=union``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fgmf.canonical import canonical_json, finite_or_none, json_digest
from fgmf.errors import FgmfError, StaleEvidence
from fgmf.gates.problems import problems_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from fgmf.types import Json
    from fgmf.verdict import Verdict

HISTORY_FILE: Final = "history.jsonl"
HISTORY_SCHEMA: Final = "fgmf-history/1"
SHOWN_ENTRIES: Final = 60
"""Of each gate in reports, the last ones."""
_LARGEST_FILE: Final = 100_000_000
_COMMIT_VARIABLES: Final = ("FGMF_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_GIT_SECONDS: Final = 10.0
_Number = Annotated[float, Field(allow_inf_nan=False)]


class HistoryEntry(BaseModel):
    """One gate in one run.

    Attributes:
        gate: Its name.
        kind: Its kind.
        outcome: How it ended.
        measured: Its main quantity; None where it was not measured.
        lower: Of the interval; None likewise.
        upper: Likewise.
        confidence: Likewise.
        threshold: What it was held against.
        direction: ``at-least`` or ``at-most``.
        image_count: Images that it is about.
        configuration_digest: Of what decides how images end; empty where the kind says nothing.
        model_digest: Of the model; empty where it has none.
        commit: Hexadecimal; empty where it is not known.
        changed: Whether tracked files differed from the commit; None where that is not known.
        written: When, in UTC, as ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    gate: Annotated[str, Field(min_length=1, max_length=1000)]
    kind: Annotated[str, Field(max_length=200)]
    outcome: Literal["pass", "fail", "inconclusive", "error"]
    measured: _Number | None
    lower: _Number | None
    upper: _Number | None
    confidence: _Number | None
    threshold: _Number | None
    direction: Literal["at-least", "at-most"]
    image_count: Annotated[int, Field(ge=0)]
    configuration_digest: Annotated[str, Field(max_length=100)]
    model_digest: Annotated[str, Field(max_length=200)]
    commit: Annotated[str, Field(pattern="^([0-9a-f]{40}([0-9a-f]{24})?)?$")]
    changed: bool | None
    written: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def append_history(
    path: Path, verdicts: Sequence[Verdict], *, directory: Path, now: datetime
) -> list[HistoryEntry]:
    """Append what a run measured, and return the whole history with it.

    Args:
        path: The file; made if it is not there.
        verdicts: Of the run.
        directory: In the repository that is measured.
        now: In UTC.

    Raises:
        StaleEvidence: The file is damaged; nothing is appended.
        OSError: It cannot be read or written, or is a link.

    Cost: one run of ``git status``, where there is git.
    """
    before = load_history(path) if path.is_symlink() or path.exists() else []
    commit = commit_of(directory)
    changed = _is_changed(directory) if commit else None
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = [_entry(verdict, commit, stamp, changed=changed) for verdict in verdicts]
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        # One call, so that runs side by side do not mix their lines; a part shows as a torn line.
        os.write(descriptor, b"".join(map(_encoded, entries)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return [*before, *entries]


def load_history(path: Path) -> list[HistoryEntry]:
    """Read a history file.

    Raises:
        StaleEvidence: A line is not what was once appended; says which.
        OSError: It cannot be read.
    """
    if path.is_symlink():
        raise StaleEvidence(f"expected {path} as a file of its own, got a link")
    if path.stat().st_size > _LARGEST_FILE:
        raise StaleEvidence(f"expected {path} with at most {_LARGEST_FILE} bytes")
    contents = path.read_bytes()
    lines = contents.split(b"\n")
    if lines.pop():
        raise StaleEvidence(f"{path}, line {len(lines) + 1}: cut off; delete that line")
    return [_decoded(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def history_document(entries: Sequence[HistoryEntry], gates: Sequence[str]) -> list[Json]:
    """Return the last entries of some gates as plain JSON types, for `run.history` of a report."""
    kept: list[HistoryEntry] = []
    for gate in dict.fromkeys(gates):
        kept += [entry for entry in entries if entry.gate == gate][-SHOWN_ENTRIES:]
    return [entry.model_dump(mode="json") for entry in kept]


def commit_of(directory: Path) -> str:
    """Return the commit that is checked out; empty where it is not known.

    A CI service says it in a variable (`FGMF_COMMIT` goes before all); else the files of the
    repository do, without git.
    """
    for name in _COMMIT_VARIABLES:
        value = os.environ.get(name, "").strip().lower()
        if _COMMIT.fullmatch(value):
            return value
    absolute = directory.absolute()
    for place in (absolute, *absolute.parents):
        if (place / ".git").exists():
            try:
                return _head_of(place / ".git")
            except (OSError, UnicodeDecodeError):
                return ""
    return ""


def _head_of(git: Path) -> str:
    """Follow HEAD to a commit, in a worktree, too."""
    if git.is_file():
        git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else ""
    name = head.removeprefix("ref:").strip()
    if ".." in name or not name.startswith("refs/"):
        return ""
    shared = git / "commondir"
    common = git / shared.read_text(encoding="utf-8").strip() if shared.exists() else git
    for place in (git / name, common / name):
        if place.is_file():
            found = place.read_text(encoding="utf-8").strip()
            return found if _COMMIT.fullmatch(found) else ""
    packed = common / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    found = next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")
    return found if _COMMIT.fullmatch(found) else ""


def _is_changed(directory: Path) -> bool | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(directory), "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and nothing foreign but the directory
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def _entry(verdict: Verdict, commit: str, stamp: str, *, changed: bool | None) -> HistoryEntry:
    interval, evidence = verdict.interval, verdict.evidence
    configuration = evidence.get("configuration")
    model = evidence.get("model_digest")
    return HistoryEntry(
        gate=verdict.gate,
        kind=verdict.kind,
        outcome=verdict.outcome.value,
        measured=_finite(verdict.measured),
        lower=None if interval is None else _finite(interval.lower),
        upper=None if interval is None else _finite(interval.upper),
        confidence=None if interval is None else _finite(interval.confidence),
        threshold=_finite(verdict.threshold),
        direction=verdict.direction,
        image_count=verdict.image_count,
        configuration_digest=json_digest(configuration) if isinstance(configuration, dict) else "",
        model_digest=model if isinstance(model, str) else "",
        commit=commit,
        changed=changed,
        written=stamp,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None else finite_or_none(float(value))


def _encoded(entry: HistoryEntry) -> bytes:
    document: dict[str, Json] = {**entry.model_dump(mode="json"), "schema": HISTORY_SCHEMA}
    return canonical_json({**document, "digest": json_digest(document)}) + b"\n"


def _decoded(line: bytes, place: str) -> HistoryEntry:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise StaleEvidence(f"{place}: expected one JSON object, got something else") from None
    if not isinstance(document, dict) or document.get("schema") != HISTORY_SCHEMA:
        raise StaleEvidence(f"{place}: expected an entry of {HISTORY_SCHEMA}")
    seal = document.pop("digest", None)
    if seal != _digest_or_none(document):
        raise StaleEvidence(f"{place}: changed since it was written; put it back, or delete it")
    values = {key: value for key, value in document.items() if key != "schema"}
    try:
        return HistoryEntry.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(map(str, problems_of(error, model=HistoryEntry)))
        raise StaleEvidence(f"{place}: {lines}") from None


def _digest_or_none(document: Mapping[str, Json]) -> str:
    try:
        return json_digest(dict(document))
    except FgmfError:
        return ""
