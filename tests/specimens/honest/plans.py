"""Honest networks of many kinds, undefended and robust, on digits."""

from __future__ import annotations

from functools import partial

from fgmf.backbones import HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.training import NFgsmRecipe, PgdRecipe, Schedule, StandardRecipe, TradesRecipe
from specimens.networks import Residual, conv_net, multilayer, pooled_net
from specimens.plans import Plan
from specimens.recipes import NoisyRecipe, SmoothedRecipe

EPSILON = 0.15
_SHORT = Schedule(epochs=15, batch_size=64, peak_learning_rate=8e-3)
_ROBUST = Schedule(epochs=20, batch_size=64, peak_learning_rate=8e-3)
_TOKENS = Schedule(epochs=25, batch_size=64, peak_learning_rate=4e-3)
_PLAIN = StandardRecipe(schedule=_SHORT)
_PGD = PgdRecipe(epsilon=EPSILON, steps=5, schedule=_ROBUST)
_NOISE = NFgsmRecipe(epsilon=EPSILON, schedule=_ROBUST)
_TRADES = TradesRecipe(epsilon=EPSILON, steps=5, schedule=_ROBUST)


def _vit(seed: int) -> ViT:
    config = ViTConfig(image_side=8, patch_side=2, width=24, depth=2, heads=2)
    return ViT(config, seed=seed)


def _hybrid(seed: int) -> HybridNet:
    return HybridNet(HybridConfig(image_side=8, stem_widths=(24,), depth=1, heads=2), seed=seed)


PLANS: dict[str, Plan] = {
    **{f"plain-{s}": Plan(build=partial(conv_net, seed=s), recipe=_PLAIN) for s in range(3)},
    **{f"pgd-{s}": Plan(build=partial(conv_net, seed=s), recipe=_PGD) for s in range(3)},
    **{f"n-fgsm-{s}": Plan(build=partial(conv_net, seed=s), recipe=_NOISE) for s in range(2)},
    **{f"trades-{s}": Plan(build=partial(conv_net, seed=s), recipe=_TRADES) for s in range(2)},
    **{
        f"plain-{act}": Plan(build=partial(conv_net, act=act, seed=3), recipe=_PLAIN)
        for act in ("gelu", "silu", "tanh", "softplus", "leaky", "elu")
    },
    "pgd-gelu": Plan(build=partial(conv_net, act="gelu", seed=4), recipe=_PGD),
    "pgd-tanh": Plan(build=partial(conv_net, act="tanh", seed=4), recipe=_PGD),
    "plain-batchnorm-0": Plan(build=partial(conv_net, norm=True, seed=5), recipe=_PLAIN),
    "plain-batchnorm-1": Plan(build=partial(conv_net, norm=True, seed=6), recipe=_PLAIN),
    "pgd-batchnorm": Plan(build=partial(conv_net, norm=True, seed=5), recipe=_PGD),
    "plain-dropout": Plan(build=partial(conv_net, dropout=0.3, seed=7), recipe=_PLAIN),
    "pgd-dropout": Plan(build=partial(conv_net, dropout=0.2, seed=7), recipe=_PGD),
    "smoothed-0": Plan(
        build=partial(conv_net, seed=8), recipe=SmoothedRecipe(amount=0.1, schedule=_SHORT)
    ),
    "smoothed-1": Plan(
        build=partial(conv_net, seed=9), recipe=SmoothedRecipe(amount=0.3, schedule=_SHORT)
    ),
    "noise-trained-0": Plan(
        build=partial(conv_net, seed=10), recipe=NoisyRecipe(deviation=0.15, schedule=_SHORT)
    ),
    "noise-trained-1": Plan(
        build=partial(conv_net, seed=12), recipe=NoisyRecipe(deviation=0.3, schedule=_SHORT)
    ),
    "weight-decay": Plan(
        build=partial(conv_net, seed=13),
        recipe=StandardRecipe(
            schedule=Schedule(epochs=15, batch_size=64, peak_learning_rate=8e-3, weight_decay=0.5)
        ),
    ),
    "confident": Plan(
        build=partial(conv_net, seed=14),
        recipe=StandardRecipe(
            schedule=Schedule(epochs=50, batch_size=64, peak_learning_rate=8e-3, weight_decay=0.0)
        ),
    ),
    "narrow-0": Plan(build=partial(conv_net, widths=(3, 6), hidden=12, seed=15), recipe=_PLAIN),
    "narrow-pgd": Plan(build=partial(conv_net, widths=(4, 8), hidden=16, seed=15), recipe=_PGD),
    "wide": Plan(build=partial(conv_net, widths=(24, 48), hidden=64, seed=16), recipe=_PLAIN),
    "average-pooled": Plan(build=partial(conv_net, pool="average", seed=17), recipe=_PLAIN),
    "pooled-away": Plan(build=partial(pooled_net, seed=18), recipe=_PLAIN),
    "pooled-away-pgd": Plan(build=partial(pooled_net, seed=18), recipe=_PGD),
    "residual": Plan(build=partial(Residual, seed=19), recipe=_PLAIN),
    "residual-pgd": Plan(build=partial(Residual, width=12, seed=19), recipe=_NOISE),
    "linear-0": Plan(build=partial(multilayer, seed=20), recipe=_PLAIN),
    "linear-pgd": Plan(build=partial(multilayer, seed=21), recipe=_PGD),
    "multilayer-0": Plan(build=partial(multilayer, 48, 48, seed=22), recipe=_PLAIN),
    "multilayer-tanh": Plan(build=partial(multilayer, 48, act="tanh", seed=23), recipe=_PLAIN),
    "multilayer-pgd": Plan(build=partial(multilayer, 64, 48, seed=24), recipe=_PGD),
    "vit-plain": Plan(build=partial(_vit, 25), recipe=StandardRecipe(schedule=_TOKENS)),
    "hybrid-plain": Plan(build=partial(_hybrid, 27), recipe=StandardRecipe(schedule=_TOKENS)),
    "hybrid-n-fgsm": Plan(
        build=partial(_hybrid, 28),
        recipe=NFgsmRecipe(epsilon=0.06, schedule=_TOKENS),
        epsilon=0.06,
    ),
    "colour-plain": Plan(
        build=partial(conv_net, channels=3, seed=29), recipe=_PLAIN, data="colour"
    ),
    "colour-pgd": Plan(
        build=partial(conv_net, channels=3, seed=30),
        recipe=PgdRecipe(epsilon=0.06, steps=5, schedule=_ROBUST),
        data="colour",
        epsilon=0.06,
    ),
    "two-plain": Plan(build=partial(conv_net, classes=2, seed=31), recipe=_PLAIN, data="two"),
    "two-pgd": Plan(
        build=partial(conv_net, classes=2, seed=32),
        recipe=PgdRecipe(epsilon=0.08, steps=5, schedule=_ROBUST),
        data="two",
        epsilon=0.08,
    ),
}
