"""SGAM: a saliency-guided adaptive mask in front of any image model, invertible and logged.

    model = Sgam.wrap(backbone, channels=1)            # images in [0, 1] to the backbone's logits
    teacher = SaliencyTeacher(every=8)
    loss = cross_entropy(model(images), labels) + teacher.loss(model, images, labels, step=step)
    with model.register_saliency_mask_hook(note):      # note(record) for every mask applied
        model(images)

`upsampling` is the pure arithmetic between grid and mask, `predictor` the light network, `layer`
puts both in front of images, `wrapping` in front of a user's model; `teacher` and `cam_layers` say
what the predictor learns.
"""

from __future__ import annotations

from fgmf.sgam.cam_layers import find_cam_layer
from fgmf.sgam.layer import VARIANTS, SgamConfig, SgamLayer
from fgmf.sgam.recording import Purpose, SaliencyMaskHook, SaliencyMaskRecord, Variant
from fgmf.sgam.teacher import (
    CamMethod,
    SaliencyTarget,
    SaliencyTeacher,
    saliency_target,
    teaching_loss,
)
from fgmf.sgam.upsampling import UPSAMPLING_VERSION, inverse, saliency_mask_of
from fgmf.sgam.wrapping import Sgam

__all__ = [
    "UPSAMPLING_VERSION",
    "VARIANTS",
    "CamMethod",
    "Purpose",
    "SaliencyMaskHook",
    "SaliencyMaskRecord",
    "SaliencyTarget",
    "SaliencyTeacher",
    "Sgam",
    "SgamConfig",
    "SgamLayer",
    "Variant",
    "find_cam_layer",
    "inverse",
    "saliency_mask_of",
    "saliency_target",
    "teaching_loss",
]
