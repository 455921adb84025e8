"""The embedding table."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Embedding"]


class Embedding(nn.Module):
    """Row `id` of a table (num_embeddings, embedding_dim) for each id."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self, std: float = 1.0) -> None:
        """Draw the table from a normal distribution, cut at 3 sigma."""
        nn.init.trunc_normal_(self.weight, std=std, a=-3.0 * std, b=3.0 * std)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(...) integers -> (..., embedding_dim). An id outside the table raises IndexError on the CPU."""
        return F.embedding(token_ids, self.weight)  # weight[token_ids], but refuses negative ids

    def extra_repr(self) -> str:
        """Show the sizes when the module is printed."""
        return f"{self.num_embeddings}, {self.embedding_dim}"
