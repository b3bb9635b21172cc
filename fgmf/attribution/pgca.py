"""PGCA: perturbation, gradients and class activation, brought to a consensus in five stages.

    evidence:  every cell of a grid replaced by a value and by noise   grid^2 (1 + draws) forwards
               Grad-CAM++ at a layer                                   1 gradient
               consensus only: gradients under noise, and on the way from noise
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
from fgmf.attribution.images import enlarge
from fgmf.attribution.layers import AUTOMATIC, find_place
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.occlusion import cell_drops, chess_board, whole_replacement
from fgmf.attribution.path_gradients import noise_path_gradient
from fgmf.attribution.smooth_grad import smooth_gradient

if TYPE_CHECKING:
    from fgmf.attribution.passes import Output
    from fgmf.attribution.request import Request
    from fgmf.parameters import Value
    from fgmf.types import Images

_Staged = tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the model said: drops by kind of fill (n, grid, grid), and Grad-CAM++ (n, h, w)."""

    drops: dict[str, torch.Tensor]
    attention: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Pgca(Method):
    """PGCA.

    Attributes:
        fusion: ``consensus``, which was measured to beat both of its parents, or ``published``.
        grid: Cells per side; 8, as published.
        fills: ``both``: every cell replaced by a value and by noise, as published.
            ``alternate``: each once, by the value on the white fields of a chess board and by
            noise on the black ones, at half the passes.
        noise_draws: Noise fills per cell with ``both``; 1, as each more costs grid^2 passes.
        zero: The pixel value of the first fill.
        layer: Where Grad-CAM++ looks: a module's name, or ``auto`` (`layers`).
        output: ``auto``: log-odds for the consensus, whose differences don't vanish where the
            model is sure; the probability for the published fusion.
        smoothing_samples: Gradients under noise, in pairs of opposite noise.
        smoothing_deviation: Of that noise, as a share of the bounds' range; SmoothGrad's .15.
        path_samples: Gradients on the way from noise to the image, likewise in pairs.
        path_share: Share of the latter in the evidence of gradients.
        surround: What a pixel is compared with, by the deviation of a blur as a share of the longer
            side; .14, measured to beat half and twice as much, and the mean of the image.
        return_share: beta, how much of a cell's disagreement is handed back: below one half,
            because a cell is coarser than what it is compared with.
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

    Stages: ``zero-occlusion`` and ``noise-occlusion`` (``alternate``: one ``occlusion``),
        ``grad-cam-plus-plus``, ``perturbation``, ``gradients`` (consensus only), ``consensus``,
        ``smoothed``, ``contrast``.

    Diagnostics:
        score: Of the image.
        zero_cam: 1 where Grad-CAM++ is zero everywhere.
        disagreement: Root mean square of the disagreement of cells and gradients, over that of
            the cells (consensus only).

    Cost: 1 + grid^2 (1 + noise_draws) forward passes (``alternate``: 1 + grid^2), 1 gradient for
        Grad-CAM++, and for the consensus smoothing_samples + path_samples gradients; once a pass
        of one image to find the layer. Randomness: fixed by seed and keys.
    """

    name: ClassVar[str] = "pgca"
    fusion: Literal["consensus", "published"] = "consensus"
    grid: int = 8
    fills: Literal["both", "alternate"] = "both"
    noise_draws: int = 1
    zero: float = 0.0
    layer: str = AUTOMATIC
    output: Literal["auto", "log-odds", "logit", "probability"] = "auto"
    smoothing_samples: int = 6
    smoothing_deviation: float = 0.15
    path_samples: int = 6
    path_share: float = 0.5
    surround: float = 0.14
    return_share: float = 0.3
    return_floor: float = 0.02
    blur_scale: float = 0.18
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
        fills = self._fill_images(request)
        drops, score = cell_drops(
            request, [fill for _, fill in fills], grid=self.grid, output=output
        )
        kinds = [kind for kind, _ in fills]
        by_kind = {
            kind: drops[:, [i for i, k in enumerate(kinds) if k == kind]].mean(dim=1)
            for kind in dict.fromkeys(kinds)
        }
        attention = activation_maps(request, place, grad_cam_plus_plus, output=output).double()
        staged = self._published if self.fusion == "published" else self._consensus
        maps, stages, more = staged(request, _Evidence(drops=by_kind, attention=attention))
        height, width = request.images.shape[2:]
        found: dict[str, Value] = {"layer": place.name, "output": output}
        return Answer(
            maps=maps,
            stages={
                **{kind: enlarge(drop, height, width) for kind, drop in by_kind.items()},
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

    def _fill_images(self, request: Request) -> list[tuple[str, Images]]:
        zero = whole_replacement(request, "zero", zero=self.zero)
        if self.fills == "alternate":
            noise = whole_replacement(request, "noise", zero=self.zero)
            height, width = request.images.shape[2:]
            white = chess_board(height, width, self.grid).to(zero.device)
            return [("occlusion", torch.where(white, zero, noise))]
        noises = [
            ("noise-occlusion", whole_replacement(request, "noise", zero=self.zero, draw=draw))
            for draw in range(self.noise_draws)
        ]
        return [("zero-occlusion", zero), *noises]

    def _published(self, request: Request, evidence: _Evidence) -> _Staged:
        height, width = request.images.shape[2:]
        perturbation = published.perturb(list(evidence.drops.values()), height, width)
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

    def _consensus(self, request: Request, evidence: _Evidence) -> _Staged:
        height, width = request.images.shape[2:]
        images = request.images.cpu().double()
        output = self._output()
        cells = consensus.perturb(list(evidence.drops.values()))
        gradients = consensus.attend(
            images,
            smooth_gradient(
                request,
                samples=self.smoothing_samples,
                deviation=self.smoothing_deviation,
                output=output,
                paired=True,
            ),
            noise_path_gradient(request, samples=self.path_samples, output=output),
            path_share=self.path_share,
            surround=self.surround,
        )
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
