from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import ConvModel, classify, keys_of, make_images
from torch import nn

from fgmf.errors import InvalidInput
from fgmf.faithfulness.references import (
    centre_maps,
    edge_maps,
    random_maps,
    randomised_copy,
    usable_maps,
)

IMAGES = make_images(4)


def test_random_maps_belong_to_their_image_and_seed() -> None:
    keys = keys_of(IMAGES)
    maps = random_maps((8, 8), keys=keys, seed=0)
    assert maps.shape == (4, 8, 8)
    assert torch.equal(maps[2:], random_maps((8, 8), keys=keys[2:], seed=0))
    assert not torch.equal(maps, random_maps((8, 8), keys=keys, seed=1))
    assert not torch.equal(maps[0], maps[1])


def test_the_blob_is_in_the_middle() -> None:
    blob = centre_maps((7, 9), count=2)
    assert torch.equal(blob[0], blob[1])
    assert divmod(int(blob[0].argmax()), 9) == (3, 4)
    assert torch.equal(blob, blob.flip(1))
    assert torch.equal(blob, blob.flip(2))


def test_edges_are_where_images_change() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    edges = edge_maps(image)
    assert (edges[0, :, 3:5] == 4.0).all()
    assert (edges[0, :, :3] == 0).all()
    assert (edges[0, :, 5:] == 0).all()


def test_a_randomised_copy_has_other_weights_and_leaves_the_model() -> None:
    classifier = classify(ConvModel(), batch_size=7)
    before = classifier.state_digest()
    state = torch.random.get_rng_state()
    copy, again, other = (randomised_copy(classifier, seed=s) for s in (0, 0, 1))
    assert classifier.state_digest() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert copy.state_digest() == again.state_digest() != other.state_digest()
    assert copy.state_digest() != before
    assert (copy.bounds, copy.batch_size) == (classifier.bounds, 7)
    copy.logits_in_batches(IMAGES)
    assert classifier.cost_meter.forward_passes == 4


def test_weights_that_cannot_be_drawn_are_shuffled() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.arange(64.0))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ torch.stack([self.weight, -self.weight], dim=1)

    module = Bare()
    copy = randomised_copy(classify(module), seed=0)
    assert copy.module is not None
    (weight,) = copy.module.parameters()
    assert not torch.equal(weight, module.weight)
    assert torch.equal(weight.sort().values, module.weight)


def test_weights_behind_the_older_weight_norm_are_shuffled() -> None:
    """Drawing such a layer touches what is computed from its weights, and not these."""
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(64, 3))
    module = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        module(IMAGES)
    copy = randomised_copy(classify(module), seed=0)
    assert copy.module is not None
    old, new = (dict(m.named_parameters()) for m in (module, copy.module))
    assert not torch.equal(new["1.weight_v"], old["1.weight_v"])
    assert not torch.equal(new["1.weight_g"], old["1.weight_g"])


def test_the_older_weight_norm_can_be_copied_before_its_first_pass() -> None:
    """What it computed when it was put on remembers how, and torch copies no such tensor."""
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(64, 3))
    module = nn.Sequential(nn.Flatten(), layer)
    kept = layer.weight
    copy = randomised_copy(classify(module), seed=0)
    assert layer.weight is kept
    assert copy.module is not None
    new = dict(copy.module.named_parameters())
    assert not torch.equal(new["1.weight_v"], layer.weight_v)
    answers = copy.logits_in_batches(IMAGES)
    norm = new["1.weight_v"].norm(dim=1, keepdim=True)
    weight = new["1.weight_g"] * new["1.weight_v"] / norm
    expected = IMAGES.flatten(1) @ weight.T + new["1.bias"]
    torch.testing.assert_close(answers, expected.detach(), rtol=1e-5, atol=1e-6)


def test_what_has_no_weights_is_refused() -> None:
    with pytest.raises(InvalidInput, match="leave out the reference randomised-model"):
        randomised_copy(classify(lambda images: images.flatten(1)[:, :3]), seed=0)
    with pytest.raises(InvalidInput, match="weights that can be drawn anew, got none"):
        randomised_copy(classify(nn.Flatten()), seed=0)


def test_maps_that_rank_nothing_become_noise() -> None:
    maps = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    maps[1] = 0.25
    noise = random_maps((8, 8), keys=["a", "b", "c"], seed=0)
    mended, count = usable_maps(maps, noise)
    assert count == 1
    assert torch.equal(mended[1], noise[1])
    assert torch.equal(mended[::2], maps[::2])
    maps[2, 0, 0] = np.nan
    with pytest.raises(InvalidInput, match="finite maps of references"):
        usable_maps(maps, noise)
