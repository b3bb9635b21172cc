"""Small image classifiers to train, attack and measure: plain modules that know nothing else.

All of them map images (n, c, h, w) to logits (n, classes), take any side from 8 pixels on and any
number of channels, are made of a frozen configuration, and get their first weights from a seed.
No normalisation of the input is built in: images come in the range that the model was trained on.

    ConvNet      convolutions with pooling                  ConvNetConfig
    ViT          patches through transformer blocks         ViTConfig
    HybridNet    a convolutional stem under such blocks     HybridConfig
    ResNet       residual blocks, of medium size            ResNetConfig
    SpikingNet   rate-coded spikes, surrogate gradients     SpikingConfig
"""

from __future__ import annotations

from fgmf.backbones.cnn import ConvNet, ConvNetConfig
from fgmf.backbones.configuration import Activation, parameter_count
from fgmf.backbones.hybrid import HybridConfig, HybridNet
from fgmf.backbones.resnet import ResNet, ResNetConfig
from fgmf.backbones.spiking import SpikingConfig, SpikingNet
from fgmf.backbones.transformer import AttentionBlock
from fgmf.backbones.vit import ViT, ViTConfig

__all__ = [
    "Activation",
    "AttentionBlock",
    "ConvNet",
    "ConvNetConfig",
    "HybridConfig",
    "HybridNet",
    "ResNet",
    "ResNetConfig",
    "SpikingConfig",
    "SpikingNet",
    "ViT",
    "ViTConfig",
    "parameter_count",
]
