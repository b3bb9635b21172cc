"""What a Hessian-vector product costs, in passes per image, and how second derivatives are had.

mode                   gradient + first product    every further product    exact
double-backward        1 forward, 2 backward       1 backward               yes
forward-over-reverse   2 forward, 2 backward       2 forward, 2 backward    yes
finite-difference      2 forward, 2 backward       1 forward, 1 backward    for small steps
central-difference     3 forward, 3 backward       2 forward, 2 backward    for small steps

A pass that carries tangents counts as two. The second backward pass of double-backward goes through
the graph of the first one, which is longer: docs/curvature.md has the times.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgmf.errors import GradientUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

HvpMode: TypeAlias = Literal[
    "double-backward", "forward-over-reverse", "finite-difference", "central-difference"
]
HVP_MODES: Final[tuple[HvpMode, ...]] = get_args(HvpMode)

_NO_SECOND_DERIVATIVE: Final = (
    "double backward",
    "donated buffer",
    "is not implemented",
    "once_differentiable",
    "forward AD",
    "forward-mode",
    "jvp",
)


@dataclass(frozen=True, kw_only=True)
class PassCount:
    """Passes of the model, each over the whole batch.

    Attributes:
        forward: Evaluations of the loss; one with tangents counts as two.
        backward: Traversals asked of autograd; one with tangents counts as two.
    """

    forward: int = 0
    backward: int = 0

    def __add__(self, other: PassCount) -> PassCount:
        return PassCount(
            forward=self.forward + other.forward, backward=self.backward + other.backward
        )


GRADIENT_COST: Final = PassCount(forward=1, backward=1)

PRODUCT_COSTS: Final[dict[HvpMode, PassCount]] = {
    "double-backward": PassCount(backward=1),
    "forward-over-reverse": PassCount(forward=2, backward=2),
    "finite-difference": PassCount(forward=1, backward=1),
    "central-difference": PassCount(forward=2, backward=2),
}
"""Of one product, where the gradient at the point is there already."""


def loss_scale(images: torch.Tensor) -> float:
    """What the loss of each image is multiplied by, where only the sign of a gradient counts.

    More than 1 under float16, whose smallest number is 6e-8: gradients of images that the model is
    sure of would be zero, and these images would not be attacked. 128 is far from overflow.
    """
    kind = images.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return 128.0 if half else 1.0


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Everything inside can be differentiated twice, or the error says that it can't.

    Attention runs in its plain mathematical form: the fused kernels have no second derivative, and
    which kernel a graph holds is decided in the forward pass.

    Raises:
        GradientUnavailable: The model has no second derivative here: compiled code, or an
            operation that is written without.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # The first forward derivative of a process makes torch load scripts of its own.
            warnings.filterwarnings("ignore", r"`torch\.jit\.script", DeprecationWarning)
            yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_SECOND_DERIVATIVE):
            raise
        reason = str(error).strip().splitlines()[0]
        raise GradientUnavailable(
            f"expected a model that can be differentiated twice, got: {reason}; compiled models "
            'and some operations cannot: use mode="finite-difference", or the model before '
            "torch.compile"
        ) from error
