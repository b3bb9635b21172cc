"""Ways to compute and optimizers: the same weights another way, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from unit.training.trainings import AMO, SCHEDULE, bits, network, same, some

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.curvature import ImageLoss
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.scorpio import Amortised, PerturbationStore, amortised_step
from fgmf.training import (
    Ascent,
    Engine,
    Optimization,
    Schedule,
    StandardRecipe,
    TrainingRun,
    TrainingSettings,
    climb_loss,
    noisy_step,
)


class TestEngine:
    def double(self) -> tuple[nn.Module, Samples]:
        samples = some()
        images = samples.images.double()
        model = ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=3).double()
        return model, Samples(images=images, labels=samples.labels)

    def weights(self, **engine: Any) -> torch.Tensor:
        model, samples = self.double()
        recipe = StandardRecipe(schedule=SCHEDULE)
        settings = TrainingSettings(seed=5, engine=Engine(**engine))
        TrainingRun(model, samples, recipe, settings).finish()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    @pytest.mark.parametrize(
        "engine",
        [{"accumulate": 3}, {"channels_last": True}, {"compiled": True, "backend": "aot_eager"}],
        ids=str,
    )
    def test_the_same_weights_in_another_way(self, engine: dict[str, Any]) -> None:
        """In double precision; only the order of sums differs, over 8 updates of AdamW."""
        torch.testing.assert_close(self.weights(**engine), self.weights(), atol=1e-9, rtol=1e-7)

    def test_mixed_precision_rounds(self) -> None:
        model, plain = network(), network()
        for each, precision in ((model, "bfloat16"), (plain, None)):
            engine = Engine(mixed_precision=precision)
            settings = TrainingSettings(seed=5, engine=engine)
            report = TrainingRun(each, some(), AMO, settings).finish()
        one, other = bits(model), bits(plain)
        assert not same(one, other)
        assert all(value.dtype == other[name].dtype for name, value in one.items())
        # 8 bits of mantissa: about 0.4 % per product, more after 8 updates of Adam.
        assert (one["1.head.1.weight"] - other["1.head.1.weight"]).abs().max() < 0.02
        assert report.losses[-1] < report.losses[0] + 0.1

    def test_a_penalty_through_gradients_beside_a_compiled_model(self) -> None:
        """What needs second derivatives is computed by the module that was compiled."""
        plain, _ = self.double()
        compiled, samples = self.double()
        for model, engine in (
            (plain, Engine()),
            (compiled, Engine(compiled=True, backend="aot_eager")),
        ):
            TrainingRun(model, samples, AMO, TrainingSettings(seed=5, engine=engine)).finish()
        one, other = bits(plain), bits(compiled)
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, atol=1e-9, rtol=1e-7)

    def test_secant_curvature_of_a_compiled_model(self) -> None:
        model, samples = self.double()
        settings = TrainingSettings(
            engine=Engine(compiled=True, backend="aot_eager"),
            optimization=Optimization(name="curvature-aware", curvature_mode="secant"),
        )
        report = TrainingRun(model, samples, StandardRecipe(schedule=SCHEDULE), settings).finish()
        assert report.losses[-1] < report.losses[0]

    @pytest.mark.parametrize("attack", ["n-fgsm", "pgd", "amo"])
    def test_images_that_the_model_is_sure_of_are_attacked_in_float16(self, attack: str) -> None:
        """Without a scale their gradients are below 6e-8, the smallest number there is."""
        samples, model = some(32), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        with torch.no_grad():
            model[1].weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(1)))
            model[1].weight *= 0.05
            model[1].bias.copy_(18.0 * torch.eye(10)[3])  # other classes: 1e-7 in all
        images, labels = samples.images, torch.full((32,), 3)
        draws = torch.Generator().manual_seed(0)
        ascent = Ascent(epsilon=0.1, steps=1, step=0.1, bounds=(-1.0, 2.0))

        gradients: list[torch.Tensor] = []

        def moved() -> torch.Tensor:
            draws.manual_seed(0)
            if attack == "n-fgsm":
                return noisy_step(
                    model, images, labels, noise=0.0, step=0.1, bounds=(-1.0, 2.0), draws=draws
                )
            if attack == "pgd":
                return climb_loss(model, images, labels, ascent, draws=draws)
            found = amortised_step(
                ImageLoss(model=model, labels=labels),
                images,
                torch.arange(32),
                PerturbationStore(32, (1, 8, 8)),
                Amortised(noise=0.0),
                epsilon=0.1,
                bounds=(-1.0, 2.0),
                draws=draws,
            )
            gradients.append(found.gradient)
            return found.images

        plain = moved()
        with torch.autocast("cpu", dtype=torch.float16):
            half = moved()
        # All but those slopes that few classes nearly cancel: without a scale there are none.
        assert float((half == plain).float().mean()) > 0.85
        for one, other in zip(gradients[::2], gradients[1::2], strict=True):  # without the scale
            torch.testing.assert_close(other, one, atol=float(0.05 * one.abs().max()), rtol=0.0)

    def test_float16_needs_cuda(self) -> None:
        with pytest.raises(InvalidInput, match="CUDA device for float16"):
            Engine(mixed_precision="float16")

    @pytest.mark.parametrize("values", [{"accumulate": 0}, {"mixed_precision": "float8"}], ids=str)
    def test_refusals(self, values: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="expected"):
            Engine(**values)


class TestOptimization:
    @pytest.mark.parametrize(
        ("shape", "rates"),
        [
            ("one-cycle", (0.5, 1.0, 0.5, 0.0)),
            ("cosine", (0.962, 0.854, 0.309, 0.0)),
            ("constant", (0.5, 1.0, 1.0, 1.0)),
            ("steps", (0.5, 1.0, 0.1, 0.01)),
        ],
    )
    def test_shapes(self, shape: Any, rates: tuple[float, ...]) -> None:
        """At an eighth, a quarter, five eighths and the end, over the peak."""
        schedule = Schedule(peak_learning_rate=2.0, rise=0.25)
        found = [
            Optimization(shape=shape).learning_rate(schedule, at) / 2.0
            for at in (0.125, 0.25, 0.625, 1.0)
        ]
        assert found == pytest.approx(rates, abs=1e-3)

    @pytest.mark.parametrize("momentum", [0.9, 0.0])
    def test_sgd_written_out(self, momentum: float) -> None:
        """Nesterov: v = momentum v + g; the step is along g + momentum v."""
        x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
        schedule = Schedule(peak_learning_rate=0.1, weight_decay=0.0)
        optimizer = Optimization(name="sgd", momentum=momentum).build([x], schedule, seed=0)
        expected, velocity = 3.0, 0.0
        for _ in range(3):
            optimizer.zero_grad()
            x.square().sum().backward()
            optimizer.step()
            slope = 2 * expected
            velocity = momentum * velocity + slope
            expected -= 0.1 * (slope + momentum * velocity)
        assert x.tolist() == pytest.approx([expected])

    def test_steps_go_down_where_they_say(self) -> None:
        schedule = Schedule(peak_learning_rate=1.0, rise=0.0)
        places = (0.0, 0.599, 0.6, 0.849, 0.85, 0.999)
        found = [Optimization(shape="steps").learning_rate(schedule, at) for at in places]
        assert found == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])

    @pytest.mark.parametrize(
        "values",
        [
            {"name": "adam"},
            {"shape": "square"},
            {"momentum": 1.0},
            {"base": "sgd"},
            {"name": "curvature-aware", "base": "adam"},
        ],
        ids=str,
    )
    def test_refusals(self, values: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="expected"):
            Optimization(**values)
