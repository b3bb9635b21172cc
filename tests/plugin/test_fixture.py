"""The fixture `fgmf`: models and data from fixtures or the gate file, verdicts in every report."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from pydantic_core import PydanticUndefined

from fgmf.gates import GradientMaskingGate, RobustnessGate
from pytest_fgmf.fixtures import GateFixture

if TYPE_CHECKING:
    from fgmf.gates import GateSpecification
    from tests.plugin.conftest import Project


def gate_test(project: Project, body: str, name: str = "tests/test_gate.py") -> None:
    project.write(name, "import pytest\nfrom conftest import StubGate\n" + body)
    project.gates('name = "in-file"', name="fgmf.toml")


def test_verdicts_of_tests_are_in_table_and_report(project: Project, mode: str) -> None:
    gate_test(
        project,
        """
@pytest.mark.parametrize("outcome", ["pass", "fail", "inconclusive", "error"])
def test_gate(fgmf, outcome):
    raises = "no gradient" if outcome == "error" else ""
    fgmf.assert_gate(StubGate(outcome=outcome, raises=raises))
""",
    )
    result = project.run("--fgmf-report=json:report.json", "--junitxml=junit.xml", mode=mode)
    result.assert_outcomes(passed=3, failed=2, errors=1)
    outcomes = project.outcomes()
    assert outcomes.pop("in-file") == "pass"
    assert outcomes == {
        "tests/test_gate.py/test_gate=pass": "pass",
        "tests/test_gate.py/test_gate=fail": "fail",
        "tests/test_gate.py/test_gate=inconclusive": "inconclusive",
        "tests/test_gate.py/test_gate=error": "error",
    }
    result.stdout.fnmatch_lines(["FAIL * tests/test_gate.py/test_gate=fail *"])
    result.stdout.fnmatch_lines(
        ["FAILED tests/test_gate.py::test_gate[[]fail[]] - stub-gate: 0.100 *"]
    )
    cases = project.junit()
    assert cases["test_gate[error]"].find("error") is not None
    assert cases["test_gate[error]"].find("failure") is None
    assert cases["test_gate[fail]"].find("failure") is not None
    names = [e.attrib["name"] for e in cases["test_gate[pass]"].iter("property")]
    assert "fgmf.measured" in names


def test_a_failure_says_where_the_test_asked(project: Project) -> None:
    gate_test(project, "def test_gate(fgmf):\n    fgmf.assert_gate(StubGate(outcome='fail'))\n")
    result = project.run()
    result.stdout.fnmatch_lines(["stub-gate: 0.100 *", "at *test_gate.py:4"])
    assert "raise GateFailure" not in result.stdout.str()


def test_check_returns_every_verdict(project: Project) -> None:
    gate_test(
        project,
        """
def test_gate(fgmf):
    verdict = fgmf.check(StubGate(name="mine", outcome="fail"))
    assert str(verdict.outcome) == "fail"
    assert verdict.gate == "mine"
    assert verdict.reproduce == "pytest tests/test_gate.py::test_gate"
""",
    )
    result = project.run("--fgmf-report=json:report.json")
    result.assert_outcomes(passed=3)
    assert project.outcomes()["mine"] == "fail"


def test_several_gates_of_one_test_are_told_apart(project: Project, local: str) -> None:
    gate_test(
        project,
        """
def test_gate(fgmf):
    fgmf.assert_gate(StubGate())
    fgmf.assert_gate(StubGate())
    fgmf.assert_gate(StubGate(name="mine"))
""",
    )
    project.run("--fgmf-report=json:report.json", mode=local).assert_outcomes(passed=3)
    assert set(project.outcomes()) == {
        "in-file",
        "mine",
        "tests/test_gate.py/test_gate",
        "tests/test_gate.py/test_gate@2",
    }


def test_two_tests_must_not_use_one_name(project: Project, local: str) -> None:
    gate_test(
        project,
        """
@pytest.mark.parametrize("n", [1, 2])
def test_gate(fgmf, n):
    fgmf.assert_gate(StubGate(name="mine"))
""",
    )
    result = project.run(mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["stub-gate: not measured: the name 'mine' is used by several *"])


def test_names_do_not_depend_on_groups_of_workers(project: Project) -> None:
    gate_test(
        project,
        """
@pytest.mark.xdist_group("one")
def test_gate(fgmf):
    fgmf.assert_gate(StubGate(required=True))
""",
    )
    project.run("--fgmf-report=json:a.json")
    result = project.run("--fgmf-report=json:b.json", "--dist=loadgroup", mode="-n2")
    assert result.ret == pytest.ExitCode.OK
    first, second = project.report("a.json"), project.report("b.json")
    assert first == second


def test_a_caught_error_leaves_the_test_alone(project: Project) -> None:
    gate_test(
        project,
        """
from fgmf import GateError

def test_gate(fgmf):
    with pytest.raises(GateError, match="boom"):
        fgmf.assert_gate(StubGate(raises="boom"))

def test_another(fgmf):
    fgmf.check(StubGate(raises="boom"))
    assert 1 == 2
""",
    )
    project.run().assert_outcomes(passed=3, failed=1)


def test_without_model_and_data_the_error_says_what_to_do(project: Project) -> None:
    project.write(
        "tests/test_gate.py",
        "from conftest import StubGate\ndef test_gate(fgmf): fgmf.assert_gate(StubGate())\n",
    )
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["stub-gate: not measured: *override the fixtures fgmf_model*"])
    assert "Traceback" not in result.stdout.str()


def test_wrong_arguments_are_an_error_that_names_them_all(project: Project, local: str) -> None:
    gate_test(
        project,
        """
def test_gate(fgmf):
    fgmf.assert_robust(norm="linf", epsilon=-1, min_robust_accuracy=2)
""",
    )
    result = project.run("--fgmf-report=json:report.json", mode=local)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "robustness: not measured: invalid gate: epsilon: expected a finite epsilon >= 0, "
            "got -1; min_robust_accuracy: expected a number <= 1, got 2"
        ]
    )
    assert project.outcomes()["tests/test_gate.py/test_gate"] == "error"


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (GateFixture.assert_robust, RobustnessGate),
        (GateFixture.assert_no_gradient_masking, GradientMaskingGate),
    ],
)
def test_assertions_have_every_field_of_their_gate_with_its_default(
    method: Any, kind: type[GateSpecification]
) -> None:
    parameters = dict(inspect.signature(method).parameters)
    del parameters["self"]
    fields = {n: f for n, f in kind.model_fields.items() if n not in {"kind", "profiles"}}
    assert set(parameters) == set(fields)
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        default = fields[name].default
        expected = inspect.Parameter.empty if default is PydanticUndefined else default
        assert parameter.default == expected, name
        assert parameter.annotation is not inspect.Parameter.empty


def test_models_and_data_come_from_overridden_fixtures(bare_project: Project) -> None:
    bare_project.write(
        "conftest.py",
        """
        import pytest, torch, fgmf

        @pytest.fixture(scope="session", params=[1.0, -1.0], ids=["right", "wrong"])
        def fgmf_model(request):
            return fgmf.Classifier(lambda x: x.flatten(1) * request.param, bounds=(0, 1))

        @pytest.fixture
        def fgmf_data():
            return torch.eye(4).reshape(4, 1, 2, 2), torch.arange(4)
        """,
    )
    bare_project.write(
        "test_model.py",
        """
        import pytest

        def test_model(fgmf, request):
            predicted = fgmf.classifier.predict(fgmf.samples.images).tolist()
            assert (predicted == fgmf.samples.labels.tolist()) is ("right" in request.node.name)
            assert fgmf.classifier.batch_size == 2
        """,
    )
    result = bare_project.run("--fgmf-batch-size=2", "--fgmf-device=cpu")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("torch.nn.Flatten()", "expected an fgmf.Classifier, got Flatten; wrap the model*"),
        ("fgmf.Classifier(torch.nn.Flatten(), bounds=(0, 1))", "*expected*"),
    ],
)
def test_what_fixtures_return_is_checked(bare_project: Project, model: str, words: str) -> None:
    bare_project.write(
        "conftest.py",
        f"""
        import pytest, torch, fgmf

        @pytest.fixture
        def fgmf_model(): return {model}

        @pytest.fixture
        def fgmf_data(): return []
        """,
    )
    bare_project.write(
        "test_model.py",
        """
        def test_model(fgmf):
            fgmf.assert_robust(norm="linf", epsilon=0.1, min_robust_accuracy=0.5)
        """,
    )
    result = bare_project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"robustness: not measured: {words}"])


def test_a_fixture_that_raises_is_an_error(bare_project: Project, local: str) -> None:
    bare_project.write(
        "test_model.py",
        """
        import pytest

        @pytest.fixture
        def fgmf_model(): raise RuntimeError("no weights")

        def test_model(fgmf): pass
        """,
    )
    result = bare_project.run(mode=local)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
