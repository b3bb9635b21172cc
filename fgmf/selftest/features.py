"""Features of a model: what its last linear layer is given, caught on the way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fgmf.classifier.outputs import find_logits
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.types import Images

LOGITS = "logits"
"""Name of the logits as features."""


class FeatureReader:
    """Runs a model and returns its features; made by :func:`read_features`.

    Attributes:
        source: Name of the layer whose input the features are, or ``logits``.
    """

    def __init__(self, classifier: Classifier, source: str) -> None:
        self.source = source
        self._classifier = classifier
        self._caught: object = None

    def catch(self, _module: nn.Module, inputs: Any, named: Any) -> None:  # noqa: ANN401 - a hook's
        """Forward hook of the layer."""
        self._caught = inputs[0] if inputs else named.get("input")

    def features(self, images: Images) -> torch.Tensor:
        """Return the features of one batch.

        Args:
            images: (n, ...) within the bounds.

        Returns:
            (n, d) on the classifier's device, attached to the graph where `images` requires a
            gradient.

        Raises:
            InvalidInput: The layer was not run, or not on one row for each image.

        Cost: n forward passes.
        """
        self._caught = None
        output = self._classifier.raw_output(images)
        caught = self._caught
        if self.source == LOGITS:
            caught = find_logits(output, select=self._classifier.output, image_count=len(images))
        if not isinstance(caught, torch.Tensor) or len(caught) != len(images):
            shape = tuple(caught.shape) if isinstance(caught, torch.Tensor) else "nothing"
            message = f"expected one row for each of {len(images)} images in {self.source!r}"
            raise InvalidInput(f"{message}, got {shape}; name another layer, or {LOGITS!r}")
        self._caught = None
        return caught.flatten(1).to(self._classifier.device)


@contextmanager
def read_features(
    classifier: Classifier, images: Images, *, layer: str = "auto"
) -> Iterator[FeatureReader]:
    """Hook a reader of features into a model, for the block.

    Args:
        classifier: Inside its guard.
        images: (n, ...) a few images, to see which layers run.
        layer: Name of a submodule, whose input is read; ``logits``; or ``auto``: the last linear
            layer with one output for each class, and the logits where there is none.

    Raises:
        InvalidInput: There is no layer of that name.

    Cost: n forward passes with ``auto``.
    """
    source = _last_linear(classifier, images) if layer == "auto" else layer
    reader = FeatureReader(classifier, source)
    if source == LOGITS:
        yield reader
        return
    handle = _module(classifier, source).register_forward_pre_hook(reader.catch, with_kwargs=True)
    try:
        yield reader
    finally:
        handle.remove()


def _module(classifier: Classifier, name: str) -> nn.Module:
    module = classifier.module
    modules: dict[str, nn.Module] = {} if module is None else dict(module.named_modules())
    if name not in modules:
        linear = [key for key, module in modules.items() if isinstance(module, nn.Linear)]
        known = ", ".join([*linear, LOGITS])
        raise InvalidInput(f"expected the name of a layer, such as {known}; got {name!r}")
    return modules[name]


def _last_linear(classifier: Classifier, images: Images) -> str:
    """Name of the linear layer that ran last and gives as many numbers as there are classes."""
    if classifier.module is None or isinstance(classifier.module, torch.jit.ScriptModule):
        return LOGITS
    ran: list[nn.Module] = []

    def note(module: nn.Module, inputs: Any, _output: object) -> None:  # noqa: ANN401 - a hook's
        if inputs and len(inputs[0]) == len(images):
            ran.append(module)

    linear = {m: name for name, m in classifier.module.named_modules() if isinstance(m, nn.Linear)}
    handles = [module.register_forward_hook(note) for module in linear]
    try:
        classes = classifier.logits(images).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    widths = {classes, 1} if classes == 2 else {classes}
    heads = [m for m in ran if isinstance(m, nn.Linear) and m.out_features in widths]
    return linear[heads[-1]] if heads else LOGITS
