"""The closed forms of the study of optimizers: saddles with least values that are known."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.optimizer_study import CLOSED, linear, saddle, table


def hessian(parameters: list[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
    slopes = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([slope.flatten() for slope in slopes])
    rows = [
        torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for g, p in zip(
                    torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True),
                    parameters,
                    strict=True,
                )
            ]
        )
        for entry in flat
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("problem", list(CLOSED))
def test_they_begin_where_the_loss_bends_downwards(problem: str) -> None:
    parameters, loss_of, least, height = CLOSED[problem](1)
    values = torch.linalg.eigvalsh(hessian(parameters, loss_of()))
    assert float(values[0]) < -1e-3
    assert float(loss_of().detach()) > least
    assert height > 0


def test_the_least_value_of_the_saddle() -> None:
    """y_i = sqrt(b_i), x = 0."""
    (x, y), loss_of, least, height = saddle(1)
    with torch.no_grad():
        x.zero_()
        y.copy_(torch.logspace(-1, 0, 10).double().sqrt())
    assert float(loss_of().detach()) == pytest.approx(least)
    with torch.no_grad():
        y.zero_()
    assert float(loss_of().detach()) - least == pytest.approx(height)


def test_the_least_value_of_the_linear_network() -> None:
    weights, loss_of, least, height = linear(1)
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    assert float(loss_of().detach()) == pytest.approx(height)
    singular = torch.linspace(0.3, 3.0, 8).double()
    assert height == pytest.approx(float(singular.square().sum()) / 2)
    assert least == 0.0


def test_the_table_says_who_never_arrived() -> None:
    cell = {"updates_to_1_percent": None, "ms_to_1_percent": None, "gap": math.pi}
    shown = table("saddle", {"slow": {"rate": 0.1, "cells": [cell, cell]}})
    assert shown.splitlines()[-1] == "| slow | 0.1 | 0 of 2 | - | - | 3.1e+00 |"
