"""A rate-coded spiking network.

for t in 1..T:
    s_t = spikes of the pixels: poisson        1 with probability p, p the pixel in [0, 1]
                                deterministic  1 where floor(p t) > floor(p (t - 1))
    for each layer:  v = leak v + conv(s);  spike = v > threshold;  v = v - threshold spike
    read-out: membrane of the last layer, which never spikes, summed
logits = sum / T

Backward, a spike counts as an arctan: slope / 2 / (1 + (pi slope (v - threshold) / 2)^2); the
coding of pixels counts as the identity. Images must be in [0, 1].

The true gradient of a spiking network is zero almost everywhere: attacks see the surrogate's.
Its robust accuracy must be judged with attacks that average over draws (EOT) and with better
surrogates, and gates of kind gradient-masking are made to look. With `poisson` every forward pass
draws anew from torch's global generator, in evaluation mode as well.

Source: Neftci et al. (2019) for surrogate gradients, Fang et al. (2021) for the arctan; the layers
and the read-out are our reconstruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

from fgmf.backbones.configuration import check_images, check_sizes, weights_from
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Images, Logits


@dataclass(frozen=True, kw_only=True)
class SpikingConfig:
    """Sizes of a :class:`SpikingNet`.

    Attributes:
        image_side: Height and width of the images in pixels, at least 8.
        channels: Of the images: 1 for grey, 3 for colour.
        num_classes: Length of a row of logits.
        widths: Channels after each convolution, each of which is followed by a pooling by 2.
        time_steps: T.
        coding: ``deterministic`` or ``poisson``.
        leak: Share of the membrane that stays from one step to the next.
        threshold: From which a neuron spikes.
        slope: Of the surrogate: the steeper, the closer to the true gradient, which is zero.
    """

    image_side: int = 28
    channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32)
    time_steps: int = 8
    coding: Literal["deterministic", "poisson"] = "deterministic"
    leak: float = 0.9
    threshold: float = 1.0
    slope: float = 2.0


class SpikingNet(nn.Module):
    """Convolutions between leaky integrate-and-fire neurons.

    Args:
        config: Sizes; for images in [0, 1]. The defaults, for 28 x 28 grey images, have 20 490
            parameters.
        seed: Fixes the first weights (torch's defaults); the global generator is left alone.

    Raises:
        InvalidInput: A size that makes no network.

    Cost: `time_steps` passes through the layers in each forward pass.
    """

    def __init__(self, config: SpikingConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or SpikingConfig()
        _check(config)
        side, channels, layers = config.image_side, config.channels, list[nn.Module]()
        with weights_from(seed):
            for width in config.widths:
                layers.append(
                    nn.Sequential(
                        nn.Conv2d(channels, width, 3, padding=1),
                        nn.AvgPool2d(2, ceil_mode=True),
                    )
                )
                side, channels = -(-side // 2), width
            self.layers = nn.ModuleList(layers)
            self.head = nn.Linear(channels * side**2, config.num_classes)

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) in [0, 1] to logits (n, classes).

        Raises:
            InvalidInput: Images of another shape than configured.
        """
        config = self.config
        check_images(images, channels=config.channels, image_side=config.image_side)
        membranes: list[torch.Tensor | None] = [None] * len(self.layers)
        total: torch.Tensor | None = None
        for step in range(1, config.time_steps + 1):
            signal = self._coded(images, step)
            for place, layer in enumerate(self.layers):
                current = layer(signal)
                before = membranes[place]
                membrane = current if before is None else config.leak * before + current
                signal = _spikes(membrane - config.threshold, config.slope)
                membranes[place] = membrane - config.threshold * signal
            said = self.head(signal.flatten(1))
            total = said if total is None else total + said
        if total is None:
            raise InvalidInput("expected at least one time step, got none")
        return total / config.time_steps

    def _coded(self, images: Images, step: int) -> torch.Tensor:
        """Spikes of the pixels; the gradient of the coding is the identity."""
        with torch.no_grad():
            if self.config.coding == "poisson":
                spikes = (torch.rand_like(images) < images).to(images.dtype)
            else:
                # A pixel times a step is a whole number up to rounding: 1e-4 is above float32's.
                now, before = (torch.floor(images * t + 1e-4) for t in (step, step - 1))
                spikes = (now > before).to(images.dtype)
        return images + (spikes - images).detach()


class _Spike(torch.autograd.Function):
    """1 where the input is above 0; backward, the slope of an arctan."""

    @staticmethod
    def forward(ctx: Any, above: torch.Tensor, slope: float) -> torch.Tensor:  # noqa: ANN401 - torch's
        """Spikes of the type of the input."""
        ctx.save_for_backward(above)
        ctx.slope = slope
        return (above > 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401 - torch's
        """The surrogate, times what comes from above; differentiable."""
        (above,) = ctx.saved_tensors
        slope = ctx.slope
        return outputs[0] * slope / 2 / (1 + (math.pi / 2 * slope * above) ** 2), None


_spikes: Callable[[torch.Tensor, float], torch.Tensor] = cast("Any", _Spike).apply


def _check(config: SpikingConfig) -> None:
    sizes = {f"widths[{i}]": width for i, width in enumerate(config.widths)}
    check_sizes(
        {
            "channels": config.channels,
            "num_classes": config.num_classes,
            "time_steps": config.time_steps,
            "len(widths)": len(config.widths),
            **sizes,
        },
        image_side=config.image_side,
    )
    if config.coding not in ("deterministic", "poisson"):
        raise InvalidInput(f"expected coding deterministic or poisson, got {config.coding!r}")
    if not (0.0 <= config.leak <= 1.0 and config.threshold > 0 and config.slope > 0):
        raise InvalidInput(
            "expected a leak from 0 to 1, and threshold and slope above 0, "
            f"got {config.leak!r}, {config.threshold!r} and {config.slope!r}"
        )
