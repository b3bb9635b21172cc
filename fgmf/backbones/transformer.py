"""The transformer block that the ViT and the hybrid share.

x = x + proj(attention(norm(x)))          # pre-norm: gradients pass through the sum unscaled
x = x + mlp(norm(x))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from fgmf.backbones.configuration import activation
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    import torch

    from fgmf.backbones.configuration import Activation


class AttentionBlock(nn.Module):
    """One pre-norm transformer block.

    Args:
        width: Length of a token, a multiple of `heads`.
        heads: Attention heads.
        mlp_ratio: Width of the hidden layer of the MLP as a multiple of `width`.
        activation_name: Activation of the MLP.

    Parameters: 4 width^2 for attention and 2 mlp_ratio width^2 for the MLP, plus
        (9 + mlp_ratio) width for biases and norms.

    Raises:
        InvalidInput: The heads do not divide the width.
    """

    def __init__(
        self, width: int, *, heads: int, mlp_ratio: int, activation_name: Activation
    ) -> None:
        super().__init__()
        if width % heads:
            raise InvalidInput(f"expected a width that {heads} heads divide, got {width}")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width),
            activation(activation_name),
            nn.Linear(mlp_ratio * width, width),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, t, width) to tokens of the same shape."""
        tokens = tokens + self.projection(self._attention(self.attention_norm(tokens)))
        mixed: torch.Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        n, count = tokens.shape[:2]
        split = self.queries_keys_values(tokens).reshape(n, count, 3, self.heads, -1)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # each (n, heads, t, head width)
        attended = scaled_dot_product_attention(queries, keys, values)
        # Fewer heads than at first where some were removed: `fgmf.sparsity.compact`.
        return attended.transpose(1, 2).reshape(n, count, -1)
