"""The layer: what it does to images and gradients, its variants, and its one hook."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.errors import InvalidInput
from fgmf.sgam import VARIANTS, SaliencyMaskRecord, SgamConfig, SgamLayer, saliency_mask_of


def made(*, seed: int = 3, dtype: torch.dtype = torch.float64, **changes: Any) -> SgamLayer:
    """A layer whose mask varies: trained layers do, fresh ones hardly."""
    layer = SgamLayer(SgamConfig(**{"grid_side": 4, **changes}), seed=seed).to(dtype)
    with torch.no_grad():
        layer.predictor.read_out.weight.mul_(6)
        layer.predictor.queries_keys_values.weight.mul_(2)
    return layer


def images_of(
    n: int = 3, channels: int = 1, side: int = 12, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)


def recorded(layer: SgamLayer, images: torch.Tensor) -> tuple[torch.Tensor, SaliencyMaskRecord]:
    records: list[SaliencyMaskRecord] = []
    with layer.register_saliency_mask_hook(records.append):
        outputs = layer(images)
    (record,) = records
    return outputs, record


class TestTheMask:
    @pytest.mark.parametrize("channels", [1, 2, 3, 6])
    @pytest.mark.parametrize("side", [28, 32, 64, 224])
    def test_sizes(self, channels: int, side: int) -> None:
        layer = made(channels=channels, grid_side=7, dtype=torch.float32)
        images = images_of(2, channels, side, torch.float32)
        outputs, record = recorded(layer, images)
        assert outputs.shape == images.shape
        assert record.coarse.shape == (2, 1, 7, 7)
        assert record.saliency_mask.shape == (2, 1, side, side)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_the_record_undoes_it(self, variant: Any, dtype: torch.dtype) -> None:
        layer, images = made(m_min=0.02, dtype=dtype), images_of(dtype=dtype)
        layer.record_mean_saliency(images)
        layer.use_variant(variant)
        outputs, record = recorded(layer, images)
        assert record.coarse.dtype == torch.float32
        assert record.variant == variant
        assert outputs.dtype == dtype
        for found in (record.inverse(outputs), layer.inverse(outputs, record.coarse)):
            assert float((found - images).detach().abs().max()) <= 1e-5  # the promise to the log
        again = saliency_mask_of(
            record.coarse, (12, 12), record.m_min, record.upsampling_version
        ).to(dtype)
        # A float32 grid under a float64 mask.
        torch.testing.assert_close(again, record.saliency_mask, atol=1e-7, rtol=0)
        torch.testing.assert_close(outputs.detach(), images * record.saliency_mask, atol=0, rtol=0)

    def test_it_depends_on_the_image_and_on_the_place(self) -> None:
        _, record = recorded(made(), images_of())
        assert float(record.coarse.std(dim=0).mean()) > 1e-3
        assert float(record.coarse[0].std()) > 1e-2

    def test_at_first_it_changes_little(self) -> None:
        images = images_of(dtype=torch.float32)
        _, record = recorded(SgamLayer(SgamConfig(grid_side=4)), images)
        assert float(record.saliency_mask.min()) > 0.85

    def test_the_same_twice_in_any_batch_and_without_the_global_generator(self) -> None:
        layer, images = made(dtype=torch.float32).eval(), images_of(9, dtype=torch.float32)
        first, state = layer(images), torch.get_rng_state()
        torch.rand(3)
        assert torch.equal(layer(images), first)
        torch.set_rng_state(state)
        # Matrix products may sum in another order in a smaller batch.
        torch.testing.assert_close(layer(images[4:5]), first[4:5], atol=1e-6, rtol=0)
        layer(images)
        assert torch.equal(torch.get_rng_state(), state)

    def test_seeds(self) -> None:
        state = torch.get_rng_state()
        same, other = SgamLayer(seed=5), SgamLayer(seed=6)
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in SgamLayer(seed=5).state_dict().items():
            assert torch.equal(value, same.state_dict()[name])
        assert not torch.equal(other.predictor.stem.weight, same.predictor.stem.weight)
        assert not torch.equal(other.random_saliency, same.random_saliency)

    def test_half_precision_and_autocast(self) -> None:
        images = images_of(dtype=torch.float32)
        layer = made(dtype=torch.float32)
        plain = layer(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(layer(images), plain)
        outputs, record = recorded(layer, images.bfloat16())
        assert outputs.dtype == torch.bfloat16
        assert record.coarse.dtype == torch.float32

    def test_bounds_are_what_the_predictor_sees(self) -> None:
        images = images_of(dtype=torch.float64)
        narrow, wide = made(), made(bounds=(-1.0, 3.0))
        torch.testing.assert_close(
            narrow.predicted_logits(images), wide.predicted_logits(4 * images - 1)
        )


class TestGradients:
    def test_the_gradient_goes_through_the_mask(self) -> None:
        images = images_of(1, side=5).requires_grad_()
        layer = made(grid_side=3)
        assert torch.autograd.gradcheck(lambda x: layer(x).square().sum(), images)
        assert torch.autograd.gradgradcheck(lambda x: layer(x).square().sum(), images)

    def test_detached_has_the_same_values_and_the_mask_as_gradient(self) -> None:
        images, layer = images_of().requires_grad_(), made()
        built = layer(images)
        layer.use_variant("detached")
        detached, record = recorded(layer, images)
        assert torch.equal(built, detached)
        (through,) = torch.autograd.grad(built.sum(), images)
        (plain,) = torch.autograd.grad(detached.sum(), images)
        torch.testing.assert_close(plain, record.saliency_mask)
        assert not torch.allclose(through, plain, atol=1e-3)
        assert not made().use_variant("built")

    def test_detached_teaches_the_predictor_nothing(self) -> None:
        layer, images = made(), images_of()
        layer.use_variant("detached")
        layer(images.requires_grad_()).sum().backward()
        assert all(parameter.grad is None for parameter in layer.predictor.parameters())

    def test_salient_pixels_have_smaller_gradients(self) -> None:
        images, layer = images_of().requires_grad_(), made(m_min=0.1)
        outputs, record = recorded(layer, images)
        (slope,) = torch.autograd.grad(outputs.sum(), images)
        dimmed = record.saliency_mask < record.saliency_mask.median()
        assert float(slope[dimmed].abs().mean()) < float(slope[~dimmed].abs().mean())

    def test_parameters_learn(self) -> None:
        layer = made()
        layer(images_of()).square().sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in layer.parameters())


class TestVariants:
    def test_none_is_the_identity(self) -> None:
        layer, images = made(), images_of()
        layer.use_variant("none")
        outputs, record = recorded(layer, images)
        assert torch.equal(outputs, images)
        assert float(record.coarse.abs().max()) == 0.0

    def test_frozen_mean_is_the_mean_of_all_that_was_seen(self) -> None:
        layer, images = made(), images_of(7)
        expected = layer.predicted_logits(images).sigmoid().mean(dim=0)
        layer.record_mean_saliency(images[:2])
        layer.record_mean_saliency(images[2:])
        layer.use_variant("frozen-mean")
        _, record = recorded(layer, images[:3])
        for grid in record.coarse:
            torch.testing.assert_close(grid, expected.float())

    def test_frozen_mean_needs_a_mean_and_state_dict_keeps_it(self) -> None:
        layer, images = made(), images_of()
        with pytest.raises(InvalidInput, match="record_mean_saliency"):
            layer.use_variant("frozen-mean")
        layer.record_mean_saliency(images)
        other = made(seed=4)
        other.load_state_dict(layer.state_dict())
        other.use_variant("frozen-mean")
        layer.use_variant("frozen-mean")
        assert torch.equal(other(images), layer(images))

    def test_random_is_one_grid_for_all(self) -> None:
        layer = made()
        layer.use_variant("random")
        _, record = recorded(layer, images_of())
        torch.testing.assert_close(record.coarse[0], record.coarse[2], atol=0, rtol=0)
        assert float(record.coarse.std()) > 0.1

    def test_unknown(self) -> None:
        with pytest.raises(InvalidInput, match="frozen-mean"):
            made().use_variant("mean")  # type: ignore[arg-type]


class Listener:
    """Counts in its class, so that a copy of it would count too."""

    calls = 0

    def __call__(self, record: SaliencyMaskRecord) -> None:
        Listener.calls += 1


class TestTheHook:
    def test_every_mask_is_offered_in_order_until_the_handle_is_removed(self) -> None:
        layer, images = made(), images_of()
        seen: list[tuple[str, SaliencyMaskRecord]] = []
        first = layer.register_saliency_mask_hook(lambda record: seen.append(("a", record)))
        layer.register_saliency_mask_hook(lambda record: seen.append(("b", record)))
        layer(images)
        layer.eval()(images)
        first.remove()
        with torch.inference_mode():
            layer(images)
        assert [name for name, _ in seen] == ["a", "b", "a", "b", "b"]
        assert [record.training for _, record in seen] == [True, True, False, False, False]
        assert {record.purpose for _, record in seen} == {"forward"}

    def test_the_record_is_frozen_and_detached(self) -> None:
        images = images_of().requires_grad_()
        _, record = recorded(made(), images)
        assert torch.equal(record.inputs, images)
        for tensor in (record.inputs, record.coarse, record.saliency_mask):
            assert not tensor.requires_grad
        with pytest.raises(FrozenInstanceError):
            record.m_min = 0.1  # type: ignore[misc]

    def test_an_error_of_the_hook_leaves_the_forward_pass(self) -> None:
        layer = made()

        def full(record: SaliencyMaskRecord) -> None:
            raise OSError("no space left")

        with pytest.raises(OSError, match="no space"), layer.register_saliency_mask_hook(full):
            layer(images_of())
        layer(images_of())  # the handle came off

    def test_copies_have_none(self) -> None:
        layer = made()
        seen = Listener()
        layer.register_saliency_mask_hook(seen)
        unpickled = pickle.loads(pickle.dumps(layer))  # noqa: S301 - it was made here
        for other in (copy.deepcopy(layer), unpickled):
            other(images_of())
        assert Listener.calls == 0
        layer(images_of())
        assert Listener.calls == 1

    def test_compiled_code_offers_too(self) -> None:
        layer, images, seen = made(), images_of(), []
        compiled = torch.compile(layer, backend="eager")
        with torch.no_grad():
            expected = compiled(images)
            with layer.register_saliency_mask_hook(seen.append):
                torch.testing.assert_close(compiled(images), expected)
            compiled(images)
        assert len(seen) == 1


class TestMistakes:
    @pytest.mark.parametrize(
        "changes",
        [
            {"channels": 0},
            {"grid_side": 0},
            {"grid_side": True},
            {"width": 2.5},
            {"m_min": 0.001},
            {"m_min": 1.0},
            {"bounds": (1.0, 1.0)},
            {"bounds": (0.0, float("inf"))},
            {"upsampling_version": 2},
        ],
        ids=str,
    )
    def test_configuration(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            SgamConfig(**changes)

    @pytest.mark.parametrize("variant", ["built", "none"])
    @pytest.mark.parametrize(
        ("images", "words"),
        [
            (torch.rand(2, 3, 12, 12), r"\(n, 1, h, w\)"),
            (torch.rand(1, 12, 12), r"\(n, 1, h, w\)"),
            (torch.zeros(2, 1, 12, 12, dtype=torch.uint8), "uint8"),
            (torch.rand(2, 1, 3, 12), "grid_side"),
        ],
    )
    def test_images(self, images: torch.Tensor, words: str, variant: Any) -> None:
        layer = made(dtype=torch.float32)
        layer.use_variant(variant)
        with pytest.raises(InvalidInput, match=words):
            layer(images)

    def test_it_says_what_it_is(self) -> None:
        assert "m_min=0.5" in repr(nn.Sequential(SgamLayer()))
        assert "variant=built" in repr(SgamLayer())
