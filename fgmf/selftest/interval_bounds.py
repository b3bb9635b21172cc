"""Interval bounds: what no adversary in the ball can do to a small network, proven.

    box    = [x - eps, x + eps] cut to the bounds           # holds every ball of radius eps
    affine : centre -> W c + b, radius -> |W| r             # Linear, Conv2d, BatchNorm, AvgPool
    monotone: applied to both ends                          # ReLU, MaxPool
    every affine step widens the interval by what rounding can add
    robust = lower end of (logit of the label - any other) above 0

Source: interval bound propagation, Gowal et al. 2018; the differences of logits are taken inside
the last linear layer, as there. Bounds are computed in float64 and widened by the error bound
n u sum |w x| of a sum of n products (Higham 2002, section 3.1) with u of the precision in which
the model itself computes, so that they hold for what the model returns, not only for real
numbers. TF32 and other shortcuts of accelerators are not covered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from fgmf.selftest.chains import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels

_SPARE = 4
"""Rounding steps beyond the sum itself: products, bias, centre and radius."""


class Intervals(NamedTuple):
    """Ends of intervals, of one shape, float64."""

    lower: torch.Tensor
    upper: torch.Tensor


def certified_images(
    classifier: Classifier, images: Images, criterion: Criterion, threat: ThreatModel
) -> ImageFlags | None:
    """Say which images no adversary can break.

    Args:
        classifier: Its module must be a chain of supported layers; inside or outside its guard.
        images: (n, ...) inside the bounds.
        criterion: Misclassification; for others nothing is certified.
        threat: Ball and box; L2 and L1 balls are enclosed in the Linf ball of the same radius.

    Returns:
        (n,) True where robustness is proven; None if the network is not supported.

    Cost: one forward pass of one image, by which the layers are compared with the model; three
        float64 passes of every image through the layers. The module is traced once.
    """
    if criterion.kind != "misclassification" or classifier.module is None:
        return None
    unit = torch.finfo(classifier.dtype).eps
    with classifier.guard():
        layers = layers_of(classifier.module)
        if layers is None or not _agrees(classifier, layers, images[:1], unit):
            return None
        proven = []
        for at in range(0, len(images), classifier.batch_size):
            part = images[at : at + classifier.batch_size].cpu()
            box = _entered(classifier, input_box(part, threat), unit)
            own = criterion.labels[at : at + classifier.batch_size].cpu()
            proven.append(margins_below(layers, box, own, unit=unit) > 0)
    return torch.cat(proven)


def input_box(images: Images, threat: ThreatModel) -> Intervals:
    """Return the smallest box that holds the ball, cut to the bounds."""
    exact = images.double()
    lower, upper = threat.bounds
    return Intervals(
        (exact - threat.epsilon).clamp(lower, upper), (exact + threat.epsilon).clamp(lower, upper)
    )


def output_bounds(layers: Sequence[nn.Module], box: Intervals, *, unit: float) -> Intervals:
    """Bound what a chain of layers returns for any input in the box.

    Args:
        layers: Supported layers, in eval mode.
        box: (n, ...) inputs.
        unit: Rounding unit of the model's own arithmetic.

    Returns:
        (n, ...) bounds.
    """
    for layer in layers:
        box = _RULES[type(layer)](layer, box, unit)
    return box


def margins_below(
    layers: Sequence[nn.Module], box: Intervals, labels: Labels, *, unit: float
) -> torch.Tensor:
    """Bound from below by how much the label's logit leads.

    Args:
        layers: As for :func:`output_bounds`; logits (n, classes) come out.
        box: (n, ...) inputs.
        labels: (n,).
        unit: Rounding unit.

    Returns:
        (n,) float64 lower bounds of the smallest lead over another class.
    """
    rows = torch.arange(len(labels))
    head = layers[-1] if layers else None
    if not isinstance(head, nn.Linear):
        ends = output_bounds(layers, box, unit=unit)
        leads = ends.lower[rows, labels].unsqueeze(1) - ends.upper
    else:
        before = output_bounds(layers[:-1], box, unit=unit)
        weight, bias = _parameters(head)
        own = weight[labels].unsqueeze(1) - weight
        offset = bias[labels].unsqueeze(1) - bias
        centre = (before.lower + before.upper).unsqueeze(1) / 2
        radius = (before.upper - before.lower).unsqueeze(1) / 2
        leads = (own * centre).sum(dim=2) + offset - (own.abs() * radius).sum(dim=2)
        largest = torch.maximum(before.lower.abs(), before.upper.abs())
        size = largest @ weight.abs().T + bias.abs()
        slack = (weight.shape[1] + _SPARE) * unit * size
        leads = leads - slack - slack[rows, labels].unsqueeze(1)
    leads[rows, labels] = torch.inf
    return leads.min(dim=1).values


def _agrees(
    classifier: Classifier, layers: Sequence[nn.Module], image: Images, unit: float
) -> bool:
    """Whether what the model returns lies within the bounds for an epsilon of 0."""
    logits = classifier.logits(image).double().cpu()
    point = Intervals(image.cpu().double(), image.cpu().double())
    ends = output_bounds(layers, _entered(classifier, point, unit), unit=unit)
    if ends.lower.shape != logits.shape:
        return False
    return bool(((ends.lower <= logits) & (logits <= ends.upper)).all())


def _entered(classifier: Classifier, box: Intervals, unit: float) -> Intervals:
    """Apply the adapter's normalisation, which rises with its input."""
    if classifier.normalization is None:
        return box
    ends = [classifier.normalization.apply(end) for end in box]
    mean = torch.tensor(classifier.normalization.mean).abs().max()
    smallest = min(classifier.normalization.std)
    largest = float(torch.maximum(box.lower.abs(), box.upper.abs()).max() + mean) / smallest
    return _widened(ends[0], ends[1], torch.full_like(ends[0], _SPARE * unit * largest))


def _widened(lower: torch.Tensor, upper: torch.Tensor, slack: torch.Tensor) -> Intervals:
    return Intervals(lower - slack, upper + slack)


def _parameters(layer: nn.Linear | nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    weight = layer.weight.detach().cpu().double()
    if layer.bias is None:
        return weight, weight.new_zeros(len(weight))
    return weight, layer.bias.detach().cpu().double()


def _affine(
    box: Intervals,
    run: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    parameters: tuple[torch.Tensor, torch.Tensor],
    slack: float,
) -> Intervals:
    """Bounds of a linear map with its bias; `slack` is relative to the sum of magnitudes."""
    weight, bias = parameters
    centre = run((box.lower + box.upper) / 2, weight, bias)
    radius = run((box.upper - box.lower) / 2, weight.abs(), torch.zeros_like(bias))
    largest = torch.maximum(box.lower.abs(), box.upper.abs())
    size = run(largest, weight.abs(), bias.abs())
    return _widened(centre - radius, centre + radius, slack * size)


def _linear(layer: nn.Linear, box: Intervals, unit: float) -> Intervals:
    slack = (layer.in_features + _SPARE) * unit
    return _affine(box, functional.linear, _parameters(layer), slack)


def _convolution(layer: nn.Conv2d, box: Intervals, unit: float) -> Intervals:
    def run(images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(
            images, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )

    parameters = _parameters(layer)
    return _affine(box, run, parameters, (parameters[0][0].numel() + _SPARE) * unit)


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, box: Intervals, unit: float) -> Intervals:
    mean, variance = layer.running_mean, layer.running_var
    if mean is None or variance is None:
        raise TypeError("expected running statistics")  # layers_of lets none through
    scale = (variance.detach().cpu().double() + layer.eps).rsqrt()
    shift = -mean.detach().cpu().double() * scale
    if layer.weight is not None:
        weight, bias = layer.weight.detach().cpu().double(), layer.bias.detach().cpu().double()
        scale, shift = scale * weight, shift * weight + bias
    shape = (1, -1, *([1] * (box.lower.ndim - 2)))
    scale, shift = scale.reshape(shape), shift.reshape(shape)
    ends = [box.lower * scale + shift, box.upper * scale + shift]
    largest = torch.maximum(box.lower.abs(), box.upper.abs())
    # The mean is subtracted first: what cancels there counts with its full size.
    own = (mean.detach().cpu().double().reshape(shape) * scale).abs()
    slack = 2 * _SPARE * unit * (largest * scale.abs() + shift.abs() + own)
    return _widened(torch.minimum(*ends), torch.maximum(*ends), slack)


def _average(layer: nn.Module, box: Intervals, unit: float) -> Intervals:
    lower, upper = (layer(end) for end in box)
    largest = torch.maximum(box.lower.abs(), box.upper.abs()).flatten(1).amax(dim=1)
    window = box.lower[0, 0].numel()  # of one channel: no window is larger
    slack = (window + _SPARE) * unit * largest.reshape(-1, *([1] * (lower.ndim - 1)))
    return _widened(lower, upper, slack.expand_as(lower))


def _rising(layer: nn.Module, box: Intervals, _unit: float) -> Intervals:
    """Layers that only choose among values, or move them."""
    if isinstance(layer, nn.ReLU):
        return Intervals(box.lower.relu(), box.upper.relu())  # whatever `inplace` says
    return Intervals(layer(box.lower), layer(box.upper))


def _same(_layer: nn.Module, box: Intervals, _unit: float) -> Intervals:
    return box


_RULES: dict[type[nn.Module], Callable[..., Intervals]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _average,
    nn.ReLU: _rising,
    nn.MaxPool2d: _rising,
    nn.Flatten: _rising,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout2d: _same,
}
