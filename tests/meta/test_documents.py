"""Documents: every link resolves, every page is reachable, every snippet is valid, all is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fgmf.attacks.catalogue import CatalogueEntry
    from fgmf.attribution.catalogue import ExplainerEntry
    from fgmf.corruptions import CorruptionEntry

ROOT = Path(__file__).parents[2]
FOUND = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
PAGES = sorted(page for page in FOUND if ".pytest_cache" not in page.parts)
TEXTS = {path: path.read_text() for path in PAGES}

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.strip().lower()).replace(" ", "-") for h in headings}


def _links(path: Path) -> list[tuple[Path, str]]:
    """Relative links of a page: target and anchor."""
    found = []
    for target in _LINK.findall(_FENCE.sub("", TEXTS[path])):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found.append(((path.parent / name).resolve() if name else path, anchor))
    return found


def _snippets(*languages: str) -> list[tuple[Path, str]]:
    return [
        (path, code)
        for path, text in TEXTS.items()
        for language, code in _FENCE.findall(text)
        if language in languages
    ]


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_links_resolve(path: Path) -> None:
    for target, anchor in _links(path):
        assert target.exists(), target
        if anchor:
            assert anchor in _anchors(target.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_a_page_has_one_title(path: Path) -> None:
    assert len(re.findall(r"^# ", _FENCE.sub("", TEXTS[path]), re.MULTILINE)) == 1


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in TEXTS and page not in reached:
            reached.add(page)
            waiting.extend(target for target, _ in _links(page))
    assert set(PAGES) == reached


@pytest.mark.parametrize(("path", "code"), _snippets("python"), ids=_name)
def test_python_snippets_parse(path: Path, code: str) -> None:
    compile(code, str(path), "exec")


@pytest.mark.parametrize(("path", "code"), _snippets("toml"), ids=_name)
def test_toml_snippets_parse(path: Path, code: str) -> None:
    assert tomllib.loads(code)


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_every_snippet_names_its_language(path: Path) -> None:
    assert all(language for language, _ in _FENCE.findall(TEXTS[path]))


@pytest.mark.parametrize(
    ("path", "code"), [s for s in _snippets("toml") if "schema = 1" in s[1]], ids=_name
)
def test_whole_gate_and_recipe_files_are_valid(path: Path, code: str, tmp_path: Path) -> None:
    from fgmf.gatefile import load_gate_file
    from fgmf.pipeline.loading import load_recipe_file

    if "backbones = " in code:
        from fgmf.matrix import read_matrix

        (tmp_path / "matrix.toml").write_text(code)
        assert read_matrix(tmp_path / "matrix.toml").cells
        return
    if "[defence]" in code:
        (tmp_path / "recipe.toml").write_text(code)
        assert load_recipe_file(tmp_path / "recipe.toml").defence.name
        return
    (tmp_path / "fgmf.toml").write_text(code)
    assert load_gate_file(tmp_path / "fgmf.toml", profile="default").gates


def _words(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", TEXTS[ROOT / "docs" / page]))


def _missing_rows(page: str, rows: list[str]) -> str:
    """Rows of a reference table that the page lacks, ready to be pasted."""
    lines = set(TEXTS[ROOT / "docs" / page].splitlines())
    return "\n".join(row for row in rows if row not in lines)


def test_every_option_is_described() -> None:
    from pytest_fgmf.plugin import OPTIONS, flag_of, ini_of

    rows = [
        f"| `{f'{flag_of(stem)} {metavar}'.strip()}` | `{ini_of(stem)}` | {meaning} |"
        for stem, metavar, _, meaning in OPTIONS
    ]
    assert _missing_rows("options.md", rows) == ""


def test_every_finding_is_described() -> None:
    from fgmf.preflight.policy import FINDINGS

    rows = [f"| `{f.name}` | {f.meaning} | {f.topic} |" for f in FINDINGS.values()]
    assert _missing_rows("findings.md", rows) == ""


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool | str) else f"{default:g}"


def _attack_row(entry: CatalogueEntry) -> str:
    parameters = ", ".join(f"`{k}` ({_shown(p.default)})" for k, p in entry.parameters.items())
    gradient = "yes" if entry.needs_gradient else "no"
    return f"| `{entry.name}` | {', '.join(entry.norms)} | {gradient} | {parameters} |"


def test_every_attack_is_described_with_its_parameters() -> None:
    from fgmf.attacks.catalogue import CATALOGUE

    assert _missing_rows("gate-file.md", [_attack_row(e) for e in CATALOGUE.values()]) == ""


def _explainer_row(entry: ExplainerEntry) -> str:
    parameters = ", ".join(f"`{k}` ({_shown(p.default)})" for k, p in entry.parameters.items())
    gradient, draws = ("yes" if flag else "no" for flag in (entry.needs_gradient, entry.random))
    return f"| `{entry.name}` | {gradient} | {draws} | {parameters} |"


def test_every_explainer_is_described_with_its_parameters() -> None:
    from fgmf.attribution.catalogue import EXPLAINERS, PGCA_PARAMETERS

    rows = [_explainer_row(entry) for entry in EXPLAINERS.values()]
    rows += [f"| `{k}` | {_shown(p.default)} | {p.meaning} |" for k, p in PGCA_PARAMETERS.items()]
    assert _missing_rows("explanations.md", rows) == ""


def _corruption_row(entry: CorruptionEntry) -> str:
    small, large = (
        ", ".join("/".join(f"{value:g}" for value in values) for values in steps)
        for steps in (entry.small, entry.large)
    )
    source = f"{entry.source}; {entry.deviation}" if entry.deviation else entry.source
    return f"| `{entry.name}` | {', '.join(entry.parameters)} | {small} | {large} | {source} |"


def test_every_corruption_is_described_with_its_severities() -> None:
    from fgmf.corruptions import CORRUPTIONS

    rows = [_corruption_row(entry) for entry in CORRUPTIONS.values()]
    assert _missing_rows("gate-file.md", rows) == ""


def _keys(schema: object) -> set[str]:
    """All keys that a JSON Schema knows, on every level."""
    if isinstance(schema, dict):
        return set(schema.get("properties", {})).union(*map(_keys, schema.values()))
    return set().union(*map(_keys, schema)) if isinstance(schema, list) else set()


def test_every_key_of_a_gate_file_is_described() -> None:
    from fgmf.gatefile import json_schema

    assert _keys(json_schema()) - _words("gate-file.md") == set()


def test_every_key_and_defence_of_a_recipe_file_is_described() -> None:
    from fgmf.pipeline import recipe_schema
    from fgmf.pipeline.defences import DEFENCES

    schema = recipe_schema()
    headers = {"[data]", "[model]", "[schedule]", "[ramps.NAME]"}
    tables = {f"[{name}]" for name in schema["properties"]} & _words("training.md")
    assert headers - {"[ramps.NAME]"} <= tables
    named = {"name", "defence", "ramps", *(word.strip("[]") for word in tables)}
    assert _keys(schema) - named - _words("training.md") == set()
    assert set(DEFENCES) - _words("training.md") == set()


def test_every_exit_code_is_described() -> None:
    from fgmf.cli.exits import ExitCode

    section = TEXTS[ROOT / "docs" / "exit-codes.md"].partition("## `fgmf`\n")[2]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert codes == set(ExitCode)


def test_every_command_is_described() -> None:
    import typer.main

    from fgmf.cli.application import application

    commands = typer.main.get_command(application).commands
    described = {word.split()[1] for word in _words("options.md") if word.startswith("fgmf ")}
    assert set(commands) <= described


def test_every_room_is_described() -> None:
    rooms = {
        path.name if path.suffix else f"{path.name}/"
        for path in (ROOT / "fgmf").iterdir()
        if path.name not in {"__init__.py", "__pycache__", "py.typed"}
    }
    described = {word.removeprefix("fgmf/") for word in _words("architecture.md")}
    assert rooms - described == set()
