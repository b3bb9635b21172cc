"""`fgmf selftest`: the installation without a gate file, the gates' attacks with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fgmf.selftest import ControlResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.cli.conftest import Shop


def _controls(*passed: bool) -> Any:
    def run(attacks: Any, *, seed: int) -> Iterator[ControlResult]:
        assert list(attacks) == ["linf", "l2", "l1"]
        for at, good in enumerate(passed):
            yield ControlResult(
                name=f"control {at}, seed {seed}",
                norm="l2",
                epsilon=0.125,
                expected="8 of 8 broken",
                measured="8 of 8 broken" if good else "7 of 8 broken",
                passed=good,
            )

    return run


@pytest.mark.parametrize(
    ("passed", "code"), [((True, True), 0), ((True, False), 1), ((), 1)], ids=str
)
def test_without_a_gate_file_the_controls_decide(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, passed: tuple[bool, ...], code: int
) -> None:
    monkeypatch.setattr("fgmf.selftest.run_controls", _controls(*passed))
    result = shop.run("selftest", "--seed", "3")
    assert result.exit_code == code, result.output
    assert f"{sum(passed)} of {len(passed)} controls as expected, seed 3" in result.output
    if passed:
        assert "PASS     l2    0.125  control 0, seed 3  8 of 8 broken  8 of 8 broken" in (
            result.output
        )


def test_with_a_gate_file_the_attacks_of_its_gates_are_tested(shop: Shop) -> None:
    shop.write(shop.head, shop.passing.rstrip() + "\nmax_seconds = 0.000001\n")
    result = shop.run("selftest", "fgmf.toml", "--report", "json:report.json")
    assert result.exit_code == 3, result.output
    assert "INCONCLUSIVE small: attack-selftest:" in result.output
    assert "fgmf selftest fgmf.toml --gate small --seed 7" in result.output
    assert '"kind":"attack-selftest"' in (shop.directory / "report.json").read_text().replace(
        ": ", ":"
    )


def test_a_file_without_robustness_gates_is_wrong_use(shop: Shop) -> None:
    gate = '\n[[gate]]\nkind = "attack-selftest"\nnorm = "linf"\nepsilon = 0.1\n'
    shop.write(shop.head, gate)
    result = shop.run("selftest", "fgmf.toml")
    assert result.exit_code == 2
    assert "expected a gate of kind robustness in fgmf.toml, got none" in result.output


def test_a_missing_gate_file_is_said(shop: Shop) -> None:
    assert shop.run("selftest", "absent.toml").exit_code == 4


@pytest.mark.parametrize(
    "option",
    [("--device", "cpu"), ("--batch-size", "4"), ("--gate", "x"), ("--report", "json:r.json")],
)
def test_options_about_gates_need_a_gate_file(shop: Shop, option: tuple[str, str]) -> None:
    result = shop.run("selftest", *option)
    assert result.exit_code == 2
    assert f"expected {option[0]} with a gate file" in result.output
