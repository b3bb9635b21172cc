"""PGCA: perturbation, gradients and class activation, brought to a consensus in five stages.

    evidence:  every cell of a grid replaced by a value and by noise   grid^2 (1 + draws) forwards
               Grad-CAM++ at a layer                                   1 gradient
               consensus only: gradients on the way from a baseline, from noise, and under noise
    stages:    1 perturb, 2 attend, 3 agree (published: fuse), 4 smooth, 5 contrast

The stages are plain functions in `pgca_consensus` (the default) and `pgca_published`; here their
evidence is gathered, in batches across images and cells, and every map between is kept.

Source: arXiv 2412.03884; what is a reconstruction is said in the two modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from fgmf.attribution import pgca_consensus as consensus
from fgmf.attribution import pgca_published as published
from fgmf.attribution.class_activation import activation_maps, grad_cam_plus_plus
from fgmf.attribution.images import enlarge, mean_and_deviation
from fgmf.attribution.layers import AUTOMATIC, find_place
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.occlusion import occlusion_drops
from fgmf.attribution.path_gradients import expected_gradients, integrated_gradients
from fgmf.attribution.smooth_grad import smooth_gradient

if TYPE_CHECKING:
    from fgmf.attribution.passes import Output
    from fgmf.attribution.request import Request
    from fgmf.parameters import Value


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the model said: both kinds of drops (n, grid, grid), and Grad-CAM++ (n, h, w)."""

    zero: torch.Tensor
    noise: torch.Tensor
    attention: torch.Tensor
    layer: str


@dataclass(frozen=True, kw_only=True)
class Pgca(Method):
    """PGCA.

    Attributes:
        fusion: ``consensus``, which was measured to beat both of its parents, or ``published``.
        grid: Cells per side; 8, as published.
        noise_draws: Noise fills per cell; 1, because a second one changed no rank that counts.
        zero: The pixel value of the zero fill.
        layer: Where Grad-CAM++ looks: a module's name, or ``auto`` (`layers`).
        output: ``auto``: log-odds for the consensus, whose differences don't vanish where the
            model is sure; the probability for the published fusion.
        path_steps: Gradients on the way from `zero`; 4 are enough for a share of .2.
        baseline_samples: Gradients on the way from noise; each costs as much as two fills.
        smoothing_samples: Gradients under noise.
        smoothing_deviation: Of that noise, as a share of the bounds' range; SmoothGrad's .15.
        path_weight: Share of the evidence from `zero`, for which zero fills are a test.
        baseline_weight: Share of the evidence from noise.
        smoothing_weight: Share of the evidence under noise.
        return_share: beta, how much of a cell's disagreement is handed back; .5 trusts cells and
            pixels alike.
        return_floor: phi, the weight of silent pixels; .02 keeps a cell without gradients finite.
        blur_scale: tau, blur as a share of the length over which the image changes.
        blur_least: Smallest blur in pixels; .25 leaves a fine-grained image as it is.
        blur_most: Largest blur in pixels; 2 and more cost fidelity at 28 pixels.
        gain: lambda of the amplification where both parents speak.
        gamma: Exponent of the contrast, for the eye only in the consensus.
        balance: alpha of the published fusion, the share of the perturbation map.
        published_blur: Its blur in pixels.
        clip_low: Its lower percentile.
        clip_high: Its upper percentile.

    Stages: ``zero-occlusion``, ``noise-occlusion``, ``grad-cam-plus-plus``, ``perturbation``,
        ``gradients`` (consensus only), ``consensus``, ``smoothed``, ``contrast``.

    Diagnostics:
        score: Of the image.
        zero_cam: 1 where Grad-CAM++ is zero everywhere.
        disagreement: Root mean square of the disagreement of cells and gradients, over that of
            the cells (consensus only).

    Cost: 1 + grid^2 (1 + noise_draws) forward passes, 1 gradient for Grad-CAM++, and for the
        consensus path_steps + baseline_samples + smoothing_samples gradients; once a pass of one
        image to find the layer. Randomness: fixed by seed and keys.
    """

    name: ClassVar[str] = "pgca"
    fusion: Literal["consensus", "published"] = "consensus"
    grid: int = 8
    noise_draws: int = 1
    zero: float = 0.0
    layer: str = AUTOMATIC
    output: Literal["auto", "log-odds", "logit", "probability"] = "auto"
    path_steps: int = 4
    baseline_samples: int = 12
    smoothing_samples: int = 8
    smoothing_deviation: float = 0.15
    path_weight: float = 0.2
    baseline_weight: float = 0.4
    smoothing_weight: float = 0.4
    return_share: float = 0.5
    return_floor: float = 0.02
    blur_scale: float = 0.25
    blur_least: float = 0.25
    blur_most: float = 1.5
    gain: float = 1.0
    gamma: float = 0.7
    balance: float = 0.7
    published_blur: float = 1.0
    clip_low: float = 1.0
    clip_high: float = 99.0

    def _answer(self, request: Request) -> Answer:
        output = self._output()
        place = find_place(request, self.layer)
        (zero, noise), score = occlusion_drops(
            request,
            ["zero", "noise"],
            grid=self.grid,
            zero=self.zero,
            output=output,
            draws=self.noise_draws,
        )
        attention = activation_maps(request, place, grad_cam_plus_plus, output=output).double()
        evidence = _Evidence(zero=zero, noise=noise, attention=attention, layer=place.name)
        staged = self._published if self.fusion == "published" else self._consensus
        maps, stages, more = staged(request, evidence)
        height, width = request.images.shape[2:]
        found: dict[str, Value] = {"layer": place.name, "output": output}
        return Answer(
            maps=maps,
            stages={
                "zero-occlusion": enlarge(zero, height, width),
                "noise-occlusion": enlarge(noise, height, width),
                "grad-cam-plus-plus": attention,
                **stages,
            },
            diagnostics={
                "score": score,
                "zero_cam": (attention.flatten(1) == 0).all(dim=1).double(),
                **more,
            },
            found=found,
        )

    def _output(self) -> Output:
        if self.output != "auto":
            return self.output
        return "probability" if self.fusion == "published" else "log-odds"

    def _published(
        self, request: Request, evidence: _Evidence
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        height, width = request.images.shape[2:]
        perturbation = published.perturb([evidence.zero, evidence.noise], height, width)
        fused = published.fuse(
            perturbation, evidence.attention, balance=self.balance, gain=self.gain
        )
        smoothed = published.smooth(fused, deviation=self.published_blur)
        maps = published.contrast(
            smoothed, low=self.clip_low, high=self.clip_high, gamma=self.gamma
        )
        stages = {
            "perturbation": perturbation,
            "consensus": fused,
            "smoothed": smoothed,
            "contrast": maps,
        }
        return maps, stages, {}

    def _consensus(
        self, request: Request, evidence: _Evidence
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        height, width = request.images.shape[2:]
        images = request.images.cpu().double()
        cells = consensus.perturb([evidence.zero, evidence.noise])
        gradients = consensus.attend(self._gradient_parts(request))
        agreed = consensus.agree(gradients, cells, share=self.return_share, floor=self.return_floor)
        smoothed = consensus.smooth(
            agreed, images, scale=self.blur_scale, least=self.blur_least, most=self.blur_most
        )
        maps = consensus.amplify(smoothed, cells, evidence.attention, gain=self.gain)
        stages = {
            "perturbation": enlarge(cells, height, width),
            "gradients": gradients,
            "consensus": agreed,
            "smoothed": smoothed,
            "contrast": consensus.contrast(maps, gamma=self.gamma),
        }
        return maps, stages, {"disagreement": consensus.disagreement(gradients, cells)}

    def _gradient_parts(self, request: Request) -> list[tuple[float, torch.Tensor]]:
        output = self._output()
        images = request.images.cpu().double()
        parts = []
        if self.path_weight:
            path = integrated_gradients(
                request, steps=self.path_steps, baseline="zero", zero=self.zero, output=output
            )
            parts.append((self.path_weight, path))
        if self.baseline_weight:
            expected = expected_gradients(request, samples=self.baseline_samples, output=output)
            parts.append((self.baseline_weight, expected))
        if self.smoothing_weight:
            slope = smooth_gradient(
                request,
                samples=self.smoothing_samples,
                deviation=self.smoothing_deviation,
                output=output,
            )
            centred = images - mean_and_deviation(images)[0]
            parts.append((self.smoothing_weight, centred * slope))
        return parts or [(0.0, torch.zeros_like(images))]
