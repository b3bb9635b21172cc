"""Curvature of a model's loss: Hessian-vector products in pixels and parameters, with costs.

    curvature = InputCurvature(ImageLoss(model=model, labels=labels), images)
    curvature.product(directions)                      # H v, one Hessian per image
    curvature_along(curvature, directions)             # v'Hv / v'v
    lanczos(curvature, random_directions(images, seed=0)).values
    measure_negative_curvature(loss_of, images, CurvatureProbe(step=1.5))

`passes` counts and chooses the kernel, `input_space` and `parameter_space` hold the products,
`spectrum` their eigenvalues, `negative` asks whether the loss is locally convex.
"""

from __future__ import annotations

from fgmf.curvature.input_space import ImageLoss, InputCurvature, curvature_along
from fgmf.curvature.negative import CurvatureProbe, NegativeCurvature, measure_negative_curvature
from fgmf.curvature.parameter_space import (
    ParameterCurvature,
    ParameterMode,
    parameter_curvature_per_image,
    parameter_products_per_image,
)
from fgmf.curvature.passes import (
    GRADIENT_COST,
    HVP_MODES,
    PRODUCT_COSTS,
    HvpMode,
    PassCount,
    loss_scale,
    second_derivatives,
)
from fgmf.curvature.spectrum import (
    Eigenpairs,
    Products,
    SpectrumEnd,
    lanczos,
    power_iteration,
    random_directions,
)

__all__ = [
    "GRADIENT_COST",
    "HVP_MODES",
    "PRODUCT_COSTS",
    "CurvatureProbe",
    "Eigenpairs",
    "HvpMode",
    "ImageLoss",
    "InputCurvature",
    "NegativeCurvature",
    "ParameterCurvature",
    "ParameterMode",
    "PassCount",
    "Products",
    "SpectrumEnd",
    "curvature_along",
    "lanczos",
    "loss_scale",
    "measure_negative_curvature",
    "parameter_curvature_per_image",
    "parameter_products_per_image",
    "power_iteration",
    "random_directions",
    "second_derivatives",
]
