"""The digest that a batch names is that of the weights as they are, whatever happened to them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from mask_log_layers import sgam
from torch import nn

from fgmf.mask_log.layer_weights import WeightsDigest
from fgmf.mask_log.tensors import weights_of
from fgmf.mask_log.weights import weights_digest


def test_the_digest_of_weights_is_always_that_of_the_weights() -> None:
    model = sgam().half()
    model.layer.register_buffer("odd", torch.arange(3).to(torch.bfloat16))
    digest = WeightsDigest(layer=model.layer)
    for _ in range(2):
        assert digest.now() == weights_digest(weights_of(model.layer)).hex()
        model.layer.predictor.stem.weight.data.add_(1)  # a change that no version counter sees


class _OwnStateDict(nn.Linear):
    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "packed"] = self.weight.detach() * 2


class _OwnExtraState(nn.Linear):
    def get_extra_state(self) -> torch.Tensor:
        return torch.arange(3)


def _set(layer: nn.Module, name: str, value: object) -> None:
    setattr(layer, name, value)


_CHANGES = {
    "value": lambda m: m.one.weight.data.mul_(2),
    "other data": lambda m: _set(m.one.weight, "data", torch.rand(4, 4)),
    "data seen as another type": lambda m: _set(
        m.two.running_mean, "data", m.two.running_mean.data.view(torch.int32)
    ),
    "data of another shape": lambda m: _set(m.one.weight, "data", torch.rand(2, 3)),
    "data in another order": lambda m: _set(m.one.weight, "data", m.one.weight.data.t()),
    "data of another type": lambda m: _set(m.one.weight, "data", m.one.weight.data.double()),
    "shape in place": lambda m: m.two.running_mean.resize_(1),
    "parameter": lambda m: _set(m.one, "weight", nn.Parameter(torch.rand(4, 4))),
    "module": lambda m: _set(m, "one", nn.Linear(4, 4)),
    "bias left out": lambda m: _set(m.one, "bias", None),
    "buffer": lambda m: m.register_buffer("new", torch.arange(4)),
    "buffer that is not kept": lambda m: m.register_buffer("n", torch.ones(1), persistent=False),
    "module without": lambda m: m.register_module("none", None),
    "state dict of its own": lambda m: m.append(_OwnStateDict(2, 2)),
    "state of its own": lambda m: m.append(_OwnExtraState(2, 2)),
    "hook": lambda m: m[0].register_state_dict_post_hook(
        lambda module, state, prefix, meta: state.update({prefix + "x": torch.ones(2)})
    ),
    "shared": lambda m: m.append(m.one),
    "empty": lambda m: m.register_buffer("empty", torch.ones(0)),
}


@pytest.mark.parametrize("name", _CHANGES)
def test_a_digest_of_weights_follows_every_change(name: str) -> None:
    layer = nn.Sequential(OrderedDict(one=nn.Linear(4, 4), two=nn.BatchNorm2d(2)))
    digest = WeightsDigest(layer=layer)
    before = digest.now()
    assert before == digest.now() == weights_digest(weights_of(layer)).hex()
    _CHANGES[name](layer)
    after = weights_digest(weights_of(layer)).hex()
    assert digest.now() == digest.now() == after
    assert (after == before) == (name in {"buffer that is not kept", "module without", "empty"})
