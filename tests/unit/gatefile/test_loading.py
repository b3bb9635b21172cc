from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import fgmf.gatefile.loading
from fgmf.errors import InvalidGateFile
from fgmf.gatefile import GateFile, load_gate_file
from fgmf.gates import RobustnessGate, gate_kinds

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
schema = 1
[model]
factory = "shop.model:load"
bounds = [0, 1]
[data]
factory = "shop.data:test_set"
"""
GATE = """
[[gate]]
kind = "robustness"
norm = "linf"
epsilon = "8/255"
min_robust_accuracy = 0.45
"""


def load(tmp_path: Path, text: str, *, profile: str | None = "default") -> GateFile:
    path = tmp_path / "fgmf.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_gate_file(path, profile=profile)


def problems(tmp_path: Path, text: str, *, profile: str | None = "default") -> dict[str, str]:
    """Location -> what is expected, what came."""
    with pytest.raises(InvalidGateFile) as caught:
        load(tmp_path, text, profile=profile)
    assert caught.value.source == str(tmp_path / "fgmf.toml")
    listed = {p.location: f"{p.expected} | {p.got}" for p in caught.value.problems}
    assert len(listed) == len(caught.value.problems)
    return listed


def test_a_ten_line_file(tmp_path: Path) -> None:
    gate_file = load(tmp_path, HEAD + GATE)
    (model,) = gate_file.models
    assert (model.factory, model.bounds, model.device, model.batch_size) == (
        "shop.model:load",
        (0.0, 1.0),
        "auto",
        128,
    )
    assert gate_file.data.factory == "shop.data:test_set"
    assert gate_file.gates == (
        RobustnessGate(name="robustness", norm="linf", epsilon="8/255", min_robust_accuracy=0.45),
    )
    assert (gate_file.seed, gate_file.profile, gate_file.left_out) == (0, "default", ())
    assert gate_file.lines == {"robustness": 9}
    assert gate_file.digest.startswith("sha256:")


def test_every_setting_of_model_and_data_arrives(tmp_path: Path) -> None:
    gate_file = load(
        tmp_path,
        """
        schema = 1
        seed = 12
        [[model]]
        name = "cnn"
        factory = "shop.model:load.inner"
        arguments = { width = 3, tags = ["a"] }
        bounds = [-1, 1.5]
        normalize = { mean = [0.5, 0.4, 0.3], std = 2 }
        device = "cuda:1"
        dtype = "float64"
        batch_size = 4
        output = 1
        [[model]]
        name = "exported"
        path = "models/net.onnx"
        bounds = [0, 255]
        output = "logits"
        [data]
        path = "test.npz"
        """
        + textwrap.indent(GATE + 'model = "cnn"\n', " " * 8),
    )
    cnn, exported = gate_file.models
    assert cnn.arguments == {"width": 3, "tags": ["a"]}
    assert cnn.normalize == {"mean": (0.5, 0.4, 0.3), "std": 2}
    assert (cnn.bounds, cnn.device, cnn.dtype) == ((-1.0, 1.5), "cuda:1", "float64")
    assert (cnn.batch_size, cnn.output, gate_file.seed) == (4, 1, 12)
    assert (exported.path, exported.factory) == (tmp_path / "models" / "net.onnx", "")
    assert gate_file.data.path == tmp_path / "test.npz"
    assert gate_file.gates[0].model == "cnn"


def test_all_problems_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    listed = problems(
        tmp_path,
        """
        schema = 2
        sede = 1
        seed = -1
        [model]
        bounds = [1, 0]
        normalize = { mean = [0.5, 0.5], std = [0] }
        batch_size = 1.5
        device = "gpu"
        dtype = "int8"
        [data]
        factory = "nowhere"
        path = "also.npz"
        [profiles.nightly]
        images = 0
        restart = 2
        [[gate]]
        kind = "robustness"
        norm = ["linf", "lx"]
        epsilon = ["8/255", -1]
        min_robust_accuracy = 1.5
        bogus = 3
        profiles = ["nigthly"]
        required = "yes"
        [[gate]]
        kind = "robustnes"
        [[gate]]
        norm = "l2"
        [[gate]]
        name = "a b"
        kind = "robustness"
        norm = "l2"
        epsilon = []
        """,
    )
    kinds = ", ".join(sorted(gate_kinds()))
    expected = {
        "schema": "1, the version of the format that this release reads | 2",
        "sede": "one of the keys schema, seed, model, data, profiles, gate | an unknown key",
        "seed": "a whole number >= 0 | -1",
        "model.factory": '"package.module:function", or a `path` | nothing',
        "model.bounds": "two numbers, the lower one first | (1, 0)",
        "model.normalize.std": "numbers > 0 | (0,)",
        "model.batch_size": "a whole number | 1.5",
        "model.dtype": None,
        "model.device": None,
        "data.factory": "text like \"package.module:function\" | 'nowhere'",
        "data.path": "either `factory` or `path` | both",
        "profiles.nightly.images": None,
        "profiles.nightly.restart": None,
        "gate[0].norm[1]": "'linf', 'l2' or 'l1' | 'lx'",
        "gate[0].epsilon[1]": "a finite epsilon >= 0 | -1",
        "gate[0].min_robust_accuracy": "a number <= 1 | 1.5",
        "gate[0].bogus": None,
        "gate[0].profiles[0]": None,
        "gate[0].required": "true or false | 'yes'",
        "gate[1].kind": f"one of {kinds} | 'robustnes'",
        "gate[2].kind": f"one of {kinds} | nothing",
        "gate[3].epsilon": "at least one value | an empty list",
    }
    assert set(listed) == set(expected)
    for location, words in expected.items():
        assert words is None or listed[location] == words


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("", "schema"),
        (HEAD.replace("schema = 1", "") + GATE, "schema"),
        (HEAD.replace("schema = 1", "schema = true") + GATE, "schema"),
        (HEAD.replace("schema = 1", 'schema = "1"') + GATE, "schema"),
        (HEAD, "gate"),
        (HEAD + "gate = []", "data.gate"),
        (HEAD + GATE.replace("[[gate]]", "[gate]"), "gate"),
        ("gate = [1]\n" + HEAD, "gate"),
        (HEAD.replace("[data]", "[dataset]") + GATE, "data"),
        (HEAD.replace("[model]", "[models]") + GATE, "model"),
        ("profiles = 3\n" + HEAD + GATE, "profiles"),
        ("model = 3\n" + HEAD.replace("[model]", "[x]") + GATE, "model"),
        ("model = []\n" + HEAD.replace("[model]", "[x]") + GATE, "model"),
        (HEAD.replace("bounds = [0, 1]", "") + GATE, "model.bounds"),
        (HEAD.replace("[0, 1]", "[0, inf]") + GATE, "model.bounds[1]"),
        (HEAD.replace("[0, 1]", "[0, 1, 2]") + GATE, "model.bounds"),
        (HEAD.replace('factory = "shop.model:load"', 'path = "net.pt"') + GATE, "model.path"),
        (HEAD.replace('factory = "shop.data:test_set"', "") + GATE, "data.factory"),
        (
            HEAD.replace('factory = "shop.data:test_set"', 'path = "x"\narguments = { a = 1 }')
            + GATE,
            "data.arguments",
        ),
        (HEAD + GATE.replace("0.45", "nan"), "gate[0].min_robust_accuracy"),
        (HEAD + GATE.replace('"8/255"', "inf"), "gate[0].epsilon"),
        (HEAD + GATE.replace('"8/255"', "true"), "gate[0].epsilon"),
        (HEAD + GATE.replace("[[gate]]", '[[gate]]\nname = ""'), "gate[0].name"),
        (HEAD + GATE.replace("[[gate]]", '[[gate]]\nname = "../../up"'), "gate[0].name"),
        (HEAD + GATE.replace("[[gate]]", '[[gate]]\nname = "a/../b"'), "gate[0].name"),
        (HEAD + GATE.replace("[[gate]]", '[[gate]]\nname = "a//b"'), "gate[0].name"),
        (HEAD + GATE.replace("[[gate]]", "[[gate]]\nname = 3"), "gate[0].name"),
        (HEAD + GATE + GATE, "gate[1].name"),
        (HEAD + GATE.replace('"8/255"', '["8/255", "8/255"]'), "gate[0].name"),
        (HEAD + GATE + 'model = "cnn"', "gate[0].model"),
    ],
)
def test_single_problems(tmp_path: Path, text: str, location: str) -> None:
    assert location in problems(tmp_path, text)


def test_problems_in_a_project_file_are_located_in_its_table(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[tool.fgmf]\nschema = 1\nmodel = { bounds = [0] }\n[[tool.fgmf.gate]]\nkind = 1\n"
    )
    with pytest.raises(InvalidGateFile) as caught:
        load_gate_file(path, profile="default")
    locations = {problem.location for problem in caught.value.problems}
    assert locations == {
        "tool.fgmf.model.factory",
        "tool.fgmf.model.bounds[1]",
        "tool.fgmf.data",
        "tool.fgmf.gate[0].kind",
    }


def test_lists_become_gates_with_stable_names(tmp_path: Path) -> None:
    listed = GATE.replace('"linf"', '["linf", "l2"]').replace('"8/255"', '["8 / 255", 0.5]')
    gate_file = load(tmp_path, HEAD + listed.replace("[[gate]]", '[[gate]]\nname = "wide"'))
    names = [gate.name for gate in gate_file.gates]
    assert names == ["wide@linf-8/255", "wide@linf-0.5", "wide@l2-8/255", "wide@l2-0.5"]
    fewer = listed.replace('["8 / 255", 0.5]', "[0.5]").replace(
        "[[gate]]", '[[gate]]\nname = "wide"'
    )
    assert [g.name for g in load(tmp_path, HEAD + fewer).gates] == ["wide@linf-0.5", "wide@l2-0.5"]
    assert set(gate_file.lines) == set(names)


TWO_MODELS = HEAD.replace("[model]", '[[model]]\nname = "a"') + (
    '[[model]]\nname = "b"\npath = "b.onnx"\nbounds = [0, 1]\n'
)


def test_gates_name_one_of_several_models(tmp_path: Path) -> None:
    gate_file = load(tmp_path, TWO_MODELS + GATE + 'model = "b"\n')
    assert [model.name for model in gate_file.models] == ["a", "b"]
    missing = problems(tmp_path, TWO_MODELS + GATE)
    assert missing == {"gate[0].model": "the name of a model, one of a, b | nothing"}
    unknown = problems(tmp_path, TWO_MODELS + GATE + 'model = "c"\n')
    assert unknown == {"gate[0].model": "the name of a model, one of a, b | 'c'"}


def test_several_models_need_distinct_names(tmp_path: Path) -> None:
    same = TWO_MODELS.replace('"b"', '"a"', 1)
    assert "model" in problems(tmp_path, same + GATE + 'model = "a"\n')
    unnamed = TWO_MODELS.replace('name = "b"\n', "")
    assert "model[1].name" in problems(tmp_path, unnamed + GATE + 'model = "a"\n')


def test_the_only_model_can_be_named(tmp_path: Path) -> None:
    named = HEAD.replace("[model]", '[model]\nname = "a"')
    assert load(tmp_path, named + GATE + 'model = "a"\n').gates[0].model == "a"
    assert load(tmp_path, named + GATE).gates[0].model is None


PROFILES = """
[profiles.nightly]
images = "all"
restarts = 3
max_seconds = 60
confidence = 0.99
inconclusive = "pass"
attacks = ["pgd"]
"""


def test_a_profile_overrides_the_gates(tmp_path: Path) -> None:
    usual: Any = load(tmp_path, HEAD + GATE + PROFILES).gates[0]
    night: Any = load(tmp_path, HEAD + GATE + PROFILES, profile="nightly").gates[0]
    assert (usual.images, usual.restarts, usual.confidence) == (500, 1, 0.95)
    assert (night.images, night.restarts, night.confidence) == ("all", 3, 0.99)
    assert (night.max_seconds, night.inconclusive) == (60.0, "pass")
    assert [attack.name for attack in night.attacks] == ["pgd"]
    assert night.name == usual.name


@pytest.mark.parametrize("own", ['attacks = ["fgsm"]\n', 'suite = "quick"\n', ""])
def test_a_profile_replaces_attacks_by_a_suite_and_a_suite_by_attacks(
    tmp_path: Path, own: str
) -> None:
    text = HEAD + GATE + own
    for table, suite, attacks in (
        ('suite = "thorough"', "thorough", []),
        ('attacks = ["pgd"]', None, ["pgd"]),
    ):
        gate: Any = load(tmp_path, f"{text}[profiles.nightly]\n{table}\n", profile="nightly").gates[
            0
        ]
        assert gate.suite == suite
        assert [attack.name for attack in gate.attacks] == attacks


def test_a_suite_and_attacks_exclude_each_other(tmp_path: Path) -> None:
    both = 'suite = "quick"\nattacks = ["pgd"]\n'
    assert list(problems(tmp_path, HEAD + GATE + both)) == ["gate[0].suite"]
    profile = HEAD + GATE + "[profiles.nightly]\n" + both
    assert "profiles.nightly.suite" in problems(tmp_path, profile)
    unknown = HEAD + GATE + '[profiles.nightly]\nsuite = "nosuch"\n'
    assert list(problems(tmp_path, unknown)) == ["profiles.nightly.suite"]


def test_a_profile_is_checked_before_its_night(tmp_path: Path) -> None:
    text = HEAD + GATE + PROFILES.replace('"pgd"', '"carlini-wagner"')
    assert list(problems(tmp_path, text)) == ["profiles.nightly.attacks"]
    # a gate that the profile does not run need not fit it
    load(tmp_path, HEAD + GATE + 'profiles = ["pr", "default"]\n' + text.removeprefix(HEAD + GATE))


def test_gates_of_other_profiles_are_left_out(tmp_path: Path) -> None:
    text = HEAD + GATE + GATE.replace("[[gate]]", '[[gate]]\nname = "late"\nprofiles = ["nightly"]')
    usual = load(tmp_path, text)
    assert ([g.name for g in usual.gates], usual.left_out) == (["robustness"], ("late",))
    night = load(tmp_path, text, profile="nightly")
    assert ([g.name for g in night.gates], night.left_out) == (["robustness", "late"], ())


def test_a_profile_must_be_known_and_run_something(tmp_path: Path) -> None:
    only_late = HEAD + GATE + 'profiles = ["nightly"]\n'
    assert "runs none" in problems(tmp_path, only_late)["(the active profile)"]
    assert "'nigthly'" in problems(tmp_path, HEAD + GATE, profile="nigthly")["(the active profile)"]
    declared = HEAD + GATE + "[profiles.weekly]\nimages = 5\n"
    assert load(tmp_path, declared, profile="weekly").profile == "weekly"


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (None, None, "default"),
        (None, "true", "ci"),
        (None, "1", "ci"),
        (None, "", "default"),
        (None, "false", "default"),
        ("pr", "true", "pr"),
    ],
)
def test_the_active_profile(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    variable: str | None,
    expected: str,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if variable is not None:
        monkeypatch.setenv("CI", variable)
    assert load(tmp_path, HEAD + GATE, profile=given).profile == expected


def test_required_gates_are_those_that_the_profile_runs(tmp_path: Path) -> None:
    late = GATE.replace("[[gate]]", '[[gate]]\nname = "late"\nrequired = true\nprofiles = ["pr"]')
    text = HEAD + GATE + "required = true\n" + late
    assert load(tmp_path, text).required == ("robustness",)
    assert load(tmp_path, text, profile="pr").required == ("robustness", "late")


def test_an_installed_gate_kind_that_cannot_be_imported_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("no module named gatemaker")

    monkeypatch.setattr(fgmf.gatefile.loading, "gate_kinds", broken)
    listed = problems(tmp_path, HEAD + GATE)
    assert "no module named gatemaker" in listed["gate"]


def test_an_inline_list_of_gates_has_no_lines(tmp_path: Path) -> None:
    inline = (
        'gate = [{ kind = "robustness", norm = "l2", epsilon = 1, min_robust_accuracy = 0.5 }]\n'
    )
    assert load(tmp_path, inline + HEAD).lines == {}
