"""Command-line options and ini values, one stem for each, read into one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Option(NamedTuple):
    """An option ``--fgmf-STEM`` and its ini value ``fgmf_STEM``.

    A tuple, not a dataclass: it is made in every pytest run, and that takes a tenth of the time.
    """

    stem: str
    metavar: str
    meaning: str
    repeatable: bool = False
    bare: str | None = None
    """What it says without a value; None where it takes one."""

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return f"--fgmf-{self.stem}"

    @property
    def ini(self) -> str:
        """Name in the configuration file, and of the attribute that argparse sets."""
        return f"fgmf_{self.stem.replace('-', '_')}"


OPTIONS: Final = (
    Option(
        stem="gatefile",
        metavar="PATH",
        meaning="gate file to use instead of fgmf.toml or pyproject.toml in the root directory",
    ),
    Option(
        stem="profile",
        metavar="NAME",
        meaning="profile of the gate file (default: ci where the variable CI is set)",
    ),
    Option(stem="seed", metavar="N", meaning="seed of the run, instead of the gate file's"),
    Option(stem="device", metavar="NAME", meaning="device of every model: auto, cpu, cuda, mps"),
    Option(stem="batch-size", metavar="N", meaning="batch size of every model"),
    Option(
        stem="report",
        metavar="json:PATH",
        meaning="write all verdicts to a file; can be given several times",
        repeatable=True,
    ),
    Option(
        stem="replay",
        metavar="DIR",
        meaning="run nothing but saved evidence again, such as .fgmf/failures/robust-linf",
    ),
    Option(
        stem="require",
        metavar="NAME",
        meaning="fail the run unless the gate of that name ran; can be given several times",
        repeatable=True,
    ),
    Option(
        stem="compare",
        metavar="[DIR]",
        meaning="compare every gate with its baseline (default: .fgmf/baselines)",
        bare="",
    ),
    Option(
        stem="compare-fail",
        metavar="LIMIT",
        meaning="fail gates that lose more: robust_accuracy:2pp; can be given several times",
        repeatable=True,
    ),
    Option(
        stem="update-baseline",
        metavar="[force]",
        meaning="write baselines after the run; where the variable CI is set, only with force",
        bare="update",
    ),
)


class Settings(NamedTuple):
    """What the user decided for this run; None where nothing was said.

    Attributes:
        gatefile: Gate file to use instead of that of the root directory.
        profile: Profile of the gate file.
        seed: Seed of the run.
        device: Device of every model.
        batch_size: Batch size of every model.
        reports: JSON files to write.
        replay: Directory of saved evidence to run again, and nothing else.
        require: Gates that must have run.
        require_always: Those of them that the command line names: they must have run even if
            node ids were given.
    """

    gatefile: Path | None
    profile: str | None
    seed: int | None
    device: str | None
    batch_size: int | None
    reports: tuple[Path, ...]
    replay: Path | None
    require: tuple[str, ...]
    require_always: tuple[str, ...]


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini value."""
    group = parser.getgroup("fgmf", "gates on models (FGMF)")
    for option in OPTIONS:
        group.addoption(
            option.flag,
            dest=option.ini,
            metavar=option.metavar.strip("[]"),
            action="append" if option.repeatable else "store",
            default=None,
            help=option.meaning,
            **({} if option.bare is None else {"nargs": "?", "const": option.bare}),
        )
        kind: Literal["linelist", "string"] = "linelist" if option.repeatable else "string"
        parser.addini(
            option.ini,
            f"{option.meaning} (as {option.flag})",
            type=kind,
            default=() if option.repeatable else None,
        )


def baselines_asked(config: pytest.Config) -> bool:
    """Say whether the user said anything about baselines (`pytest_fgmf.comparing` reads it)."""
    names = ("fgmf_compare", "fgmf_compare_fail", "fgmf_update_baseline")
    return any(config.getoption(name) is not None or config.getini(name) for name in names)


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
        replay=_path(config, "fgmf_replay"),
        require=tuple(dict.fromkeys((*on_command_line, *config.getini("fgmf_require")))),
        require_always=on_command_line,
    )


def _value(config: pytest.Config, name: str) -> str | None:
    given = config.getoption(name)
    value = config.getini(name) if given is None else given
    return str(value).strip() or None if value is not None else None


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


def _report(text: str, base: Path) -> Path:
    form, colon, path = text.partition(":")
    if form != "json" or not colon or not path:
        message = f"--fgmf-report (fgmf_report): expected json:PATH, got {text!r}"
        raise pytest.UsageError(message)
    return base / path
