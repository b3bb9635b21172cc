"""What the user decided for a run: options and ini values, read into one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.reporting.targets import ReportTarget

_SWITCH: Final = {"true": True, "1": True, "false": False, "0": False}


class Settings(NamedTuple):
    """What the user decided for this run; None where nothing was said.

    Attributes:
        gatefile: Gate file to use instead of that of the root directory.
        profile: Profile of the gate file.
        seed: Seed of the run.
        device: Device of every model.
        batch_size: Batch size of every model.
        reports: Reports to write: form and file.
        cache: Keep outcomes per image between runs.
        replay: Directory of saved evidence to run again, and nothing else.
        require: Gates that must have run.
        require_always: Those of them that the command line names: they must have run even if
            node ids were given.
        history: File that what gates measured is appended to; empty for the default one.
    """

    gatefile: Path | None
    profile: str | None
    seed: int | None
    device: str | None
    batch_size: int | None
    reports: tuple[ReportTarget, ...]
    cache: bool
    replay: Path | None
    require: tuple[str, ...]
    require_always: tuple[str, ...]
    history: Path | Literal[""] | None


def read_settings(config: pytest.Config) -> Settings:
    """Read what the user decided; the command line wins over the configuration file.

    Raises:
        pytest.UsageError: A value is not what its option takes.
    """
    on_command_line = tuple(config.getoption("fgmf_require") or ())
    reports = _values(config, "fgmf_report")
    return Settings(
        gatefile=_path(config, "fgmf_gatefile"),
        profile=_value(config, "fgmf_profile"),
        seed=_whole_number(config, "fgmf_seed", lowest=0, below=2**63),
        device=_value(config, "fgmf_device"),
        batch_size=_whole_number(config, "fgmf_batch_size", lowest=1, below=2**31),
        reports=tuple(_report(text, _base(config, given=given)) for text, given in reports),
        cache=_switch(config, "fgmf_cache"),
        replay=_path(config, "fgmf_replay"),
        require=tuple(dict.fromkeys((*on_command_line, *config.getini("fgmf_require")))),
        require_always=on_command_line,
        history=_history(config),
    )


def _value(config: pytest.Config, name: str) -> str | None:
    given = config.getoption(name)
    value = config.getini(name) if given is None else given
    return str(value).strip() or None if value is not None else None


def _history(config: pytest.Config) -> Path | Literal[""] | None:
    if config.getoption("fgmf_history") == "":
        return ""
    path = _path(config, "fgmf_history")
    if path is not None and (path.is_dir() or path.suffix != ".jsonl"):
        flag = "--fgmf-history"
        message = f"{flag} (fgmf_history): expected a file that ends in .jsonl, got {str(path)!r}"
        raise pytest.UsageError(f"{message}; where paths follow, write {flag}=FILE")
    return path


def _switch(config: pytest.Config, name: str) -> bool:
    value = (_value(config, name) or "false").lower()
    if value not in _SWITCH:
        flag = f"--{name.replace('_', '-')}"
        raise pytest.UsageError(f"{flag} ({name}): expected true or false, got {value!r}")
    return _SWITCH[value]


def _values(config: pytest.Config, name: str) -> list[tuple[str, bool]]:
    """Values of a repeatable option, and whether the command line gave them."""
    given = config.getoption(name)
    return [(text, bool(given)) for text in given or config.getini(name)]


def _path(config: pytest.Config, name: str) -> Path | None:
    value = _value(config, name)
    return None if value is None else _base(config, given=bool(config.getoption(name))) / value


def _base(config: pytest.Config, *, given: bool) -> Path:
    """Directory of relative paths: where pytest was started, or that of the ini file."""
    if given:
        return config.invocation_params.dir
    return config.rootpath if config.inipath is None else config.inipath.parent


def _whole_number(config: pytest.Config, name: str, *, lowest: int, below: int) -> int | None:
    value = _value(config, name)
    if value is None:
        return None
    number = int(value) if value.isascii() and value.isdigit() else -1
    if not lowest <= number < below:
        flag = f"--{name.replace('_', '-')}"
        message = f"{flag} ({name}): expected a whole number >= {lowest}, got {value!r}"
        raise pytest.UsageError(message)
    return number


def _report(text: str, base: Path) -> ReportTarget:
    from fgmf.errors import InvalidInput
    from fgmf.reporting.targets import report_target

    try:
        return report_target(text, base=base)
    except InvalidInput as error:
        raise pytest.UsageError(f"--fgmf-report (fgmf_report): {error}") from None
