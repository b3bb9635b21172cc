"""`fgmf check`: what it prints, writes, and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fgmf.failures.layout import HOME_IGNORE
from fgmf.reporting import report_schema


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        ("passing", 0, "PASS small: robustness: 1.000 [0.982, 1.000] >= 0.50 required"),
        ("failing", 1, "FAIL large: robustness: 0.000 [0.000, 0.018] < 0.50 required"),
        ("undecided", 3, "INCONCLUSIVE few: robustness: 1.000 [0.832, 1.000] does not decide"),
        ("passing undecided failing", 1, "1 failed, 1 inconclusive, 1 passed"),
    ],
)
def test_check_says_the_verdict_and_exits_with_it(
    shop: Any, parts: str, code: int, words: str
) -> None:
    shop.write(shop.head, *(getattr(shop, name) for name in parts.split()))
    result = shop.run("check")
    assert words in result.stdout
    assert result.exit_code == code
    assert result.stderr == ""


def test_an_undecided_gate_can_be_let_through(shop: Any) -> None:
    shop.write(shop.head, shop.undecided, 'inconclusive = "pass"\n')
    result = shop.run("check")
    assert "INCONCLUSIVE few" in result.stdout
    assert "required, accepted (" in result.stdout
    assert result.exit_code == 0


def test_a_model_that_cannot_be_loaded_is_an_error(shop: Any) -> None:
    shop.write(shop.broken_model, shop.passing, shop.failing)
    result = shop.run("check")
    assert "ERROR small: robustness: not measured: model factory" in result.stdout
    assert "2 not measured" in result.stdout
    assert result.exit_code == 5


def test_a_failure_says_all_that_is_needed(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    lines = shop.run("check").stdout.splitlines()
    assert lines[0] == "fgmf.toml: 1 gate, profile default, seed 7"
    details = "\n".join(lines)
    assert "    attacks:\n      APGD-CE" in details
    saved = ".fgmf/failures/large: broken.png, examples.npz, repro.json (re-verified 200/200)"
    assert f"counterexamples: {saved}" in details
    command = "fgmf check fgmf.toml --gate large --seed 7 --profile default"
    assert f"reproduce: {command}" in details
    assert lines[-3].split()[:3] == ["outcome", "gate", "kind"]
    assert lines[-2].split()[:3] == ["FAIL", "large", "robustness"]
    assert lines[-1] == "1 failed"
    again = shop.run(*command.split()[1:]).stdout.splitlines()
    assert again[1] == lines[1]


def test_an_error_shows_its_traceback_only_when_asked(shop: Any) -> None:
    shop.write(shop.broken_model, shop.passing)
    assert "Traceback" not in shop.run("check").output
    shown = shop.run("check", "--traceback").stdout
    assert "Traceback" in shown
    assert "in no_weights" in shown


def test_the_report_satisfies_its_schema_and_repeats(shop: Any) -> None:
    shop.write(shop.head, shop.failing, shop.passing)
    documents: list[Any] = []
    for name, *options in (("a.json",), ("out/b.json", "--batch-size", "17")):
        result = shop.run("check", "--report", f"json:{name}", *options)
        assert result.exit_code == 1
        assert result.stdout.splitlines()[-1] == f"report: {name}"
        documents.append(json.loads(Path(name).read_text()))
        jsonschema.Draft202012Validator(report_schema()).validate(documents[-1])
        for entry in documents[-1]["verdicts"]:
            assert entry.pop("cost")["forward_passes"] > 200
    assert documents[0] == documents[1]
    assert [entry["gate"] for entry in documents[0]["verdicts"]] == ["large", "small"]
    run = documents[0]["run"]
    assert run.pop("gate_file_digest").startswith("sha256:")
    assert run == {"seed": 7, "profile": "default", "gate_file": "fgmf.toml", "left_out": []}


def test_another_seed_is_another_run(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    first, second = (shop.run("check", *seed).stdout for seed in ((), ("--seed", "8")))
    assert "seed 8" in second.splitlines()[0]
    assert first.splitlines()[1] != second.splitlines()[1]


def test_gates_are_chosen_by_name(shop: Any) -> None:
    listed = shop.failing.replace("0.3", "[0.3, 0.35]")
    shop.write(shop.head, shop.passing, listed)
    chosen = shop.run("check", "--gate", "small")
    assert chosen.exit_code == 0
    assert chosen.stdout.startswith("fgmf.toml: 1 gate of 3,")
    variants = shop.run("check", "--gate", "large").stdout
    assert "FAIL large@linf-0.3:" in variants
    assert "FAIL large@linf-0.35:" in variants
    assert "1 of 3" not in variants
    unknown = shop.run("check", "--gate", "smal")
    assert unknown.exit_code == 2
    assert "got 'smal', which is none" in unknown.stderr


def test_a_profile_that_leaves_gates_out_says_so(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(shop.head, shop.passing, shop.failing, 'profiles = ["nightly"]\n')
    result = shop.run("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == "left out by the profile: large"
    assert "profile default leaves out" in shop.run("check", "--gate", "large").stderr
    assert shop.run("check", "--profile", "nightly").exit_code == 1
    assert shop.run("check", "--profile", "daily").exit_code == 2
    monkeypatch.setenv("CI", "true")
    assert "profile ci" in shop.run("check").stdout.splitlines()[0]


def test_a_profile_without_any_gate_is_wrong_use(shop: Any) -> None:
    shop.write(shop.head, shop.passing, 'profiles = ["nightly"]\n')
    result = shop.run("check")
    assert result.exit_code == 2
    assert "runs none" in result.stderr


def test_failures_are_saved_unless_told_otherwise(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    assert "not saved" in shop.run("check", "--no-save-failures").stdout
    assert not (shop.directory / ".fgmf").exists()
    shop.run("check")
    assert (shop.directory / ".fgmf" / "failures" / "large" / "repro.json").is_file()
    assert (shop.directory / ".fgmf" / ".gitignore").read_bytes() == HOME_IGNORE


def test_a_gate_file_can_be_named_from_elsewhere(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(shop.head, shop.failing)
    monkeypatch.chdir(shop.directory.parent)
    for argument in (shop.directory.name, f"{shop.directory.name}/fgmf.toml"):
        result = shop.run("check", argument)
        assert result.exit_code == 1
        assert f"counterexamples: {shop.directory.name}/.fgmf/failures/large: " in result.stdout
        assert (
            f"reproduce: fgmf check {shop.directory.name}/fgmf.toml --gate large" in result.stdout
        )


def assert_broken(shop: Any, *words: str) -> None:
    for command in ("check", "preflight"):
        result = shop.run(command)
        assert result.exit_code == 4
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        for word in words:
            assert word in result.stderr


def test_a_directory_without_a_gate_file(shop: Any) -> None:
    assert_broken(shop, "expected fgmf.toml, or a pyproject.toml with [tool.fgmf]", "fgmf init")


def test_a_gate_file_that_is_not_toml(shop: Any) -> None:
    shop.write("schema = ")
    assert_broken(shop, "TOML")


def test_a_broken_gate_file_says_all_problems(shop: Any) -> None:
    shop.write(shop.head.replace("bounds", "bonds"), shop.passing.replace("0.5", "1.5"))
    places = ("model.bonds", "model.bounds", "gate[0].min_robust_accuracy")
    assert_broken(shop, *places, "3 problems")


def test_a_gate_file_that_is_not_there(shop: Any) -> None:
    result = shop.run("check", "other.toml")
    assert result.exit_code == 4
    assert "other.toml" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--report", "r.json"],
        ["check", "--report", "xml:r"],
        ["check", "--report", "json:"],
        ["check", "--report", "json:."],
        ["check", "--seed", "-1"],
        ["check", "--batch-size", "0"],
        ["check", "--unknown"],
        ["schema", "other"],
        ["frobnicate"],
    ],
)
def test_wrong_use_exits_with_2(shop: Any, arguments: list[str]) -> None:
    shop.write(shop.head, shop.passing)
    assert shop.run(*arguments).exit_code == 2


def test_a_report_that_cannot_be_written_is_no_pass(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    (shop.directory / "file").write_text("")
    result = shop.run("check", "--report", "json:file/r.json")
    assert result.exit_code == 5
    assert "Traceback" not in result.stderr


def test_an_interruption_leaves_no_gate_unsaid(shop: Any) -> None:
    source = shop.source + "\n\ndef stopped():\n    raise KeyboardInterrupt\n"
    shop.write_source(source)
    shop.write(shop.head.replace("cli_shop:load", "cli_shop:stopped"), shop.passing, shop.failing)
    result = shop.run("check", "--report", "json:r.json")
    assert result.exit_code == 130
    assert "interrupted, 2 of 2 gates not measured" in result.stderr
    report = json.loads(Path("r.json").read_text())
    assert [(v["gate"], v["outcome"]) for v in report["verdicts"]] == [
        ("large", "error"),
        ("small", "error"),
    ]


def test_an_error_of_the_library_itself_is_no_verdict(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_verdicts: object) -> str:
        raise RuntimeError("a bug")

    shop.write(shop.head, shop.passing)
    monkeypatch.setattr("fgmf.cli.checking.render_table", broken)
    result = shop.run("check")
    assert result.exit_code == 5
    assert "internal error, please report it" in result.stderr
    assert "RuntimeError: a bug" in result.stderr


def test_what_a_model_says_cannot_reach_the_terminal(shop: Any) -> None:
    source = shop.source.replace('KeyError("weights.pt")', 'RuntimeError("\\x1b[2J\\x07gone")')
    shop.write_source(source)
    shop.write(shop.broken_model, shop.passing)
    for options in ((), ("--traceback",)):
        output = shop.run("check", *options).output
        assert r"\x1b[2J\x07gone" in output
        assert "\x1b" not in output


def test_a_corruption_gate_is_checked_like_any_other(shop: Any) -> None:
    gate = """
[[gate]]
name = "bright"
kind = "corruption"
min_corruption_accuracy = 0.9
corruptions = ["brightness"]
severities = [3, 5]
"""
    shop.write(shop.head, gate)
    result = shop.run("check", "--report", "json:report.json")
    assert result.exit_code == 1
    words = "FAIL bright: corruption: 0.500 [0.429, 0.571] < 0.90 required (worst of brightness at"
    assert words in result.stdout
    assert "accuracy by corruption (by severity):" in result.stdout
    document = json.loads(Path("report.json").read_text())
    jsonschema.validate(document, report_schema())
    (verdict,) = document["verdicts"]
    assert verdict["evidence"]["corruptions"][0]["by_severity"] == {"3": 1.0, "5": 0.5}
