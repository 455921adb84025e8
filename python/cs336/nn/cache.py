"""Keys and values of the tokens already seen, so that each new token costs one step."""

from __future__ import annotations

import torch
from torch import Tensor

from cs336.config import ModelConfig
from cs336.errors import ConfigError

__all__ = ["KeyValueCache", "LayerCache"]


class LayerCache:
    """One layer's keys and values, allocated once for the whole context: (batch, heads, context, head_dim) each."""

    def __init__(self, keys_BHSD: Tensor, values_BHSD: Tensor) -> None:
        self.keys_BHSD = keys_BHSD
        self.values_BHSD = values_BHSD
        self.length = 0

    def append(self, keys_BHTD: Tensor, values_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of T new tokens; return those of all tokens so far."""
        start, end = self.length, self.length + keys_BHTD.shape[-2]
        room = self.keys_BHSD.shape[-2]
        if end > room:
            raise ConfigError(f"{end} tokens do not fit a cache for {room}; make a larger one")
        self.keys_BHSD[:, :, start:end] = keys_BHTD
        self.values_BHSD[:, :, start:end] = values_BHTD
        self.length = end
        return self.keys_BHSD[:, :, :end], self.values_BHSD[:, :, :end]


class KeyValueCache:
    """The caches of all layers. `length` tokens are in it; `reset` empties it and keeps its memory."""

    def __init__(
        self, config: ModelConfig, batch_size: int, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        shape = (batch_size, config.num_heads, config.context_length, config.head_dim)

        def empty() -> Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        self.layers = [LayerCache(empty(), empty()) for _ in range(config.num_layers)]

    @property
    def length(self) -> int:
        """How many tokens have been seen."""
        return self.layers[0].length

    def reset(self) -> None:
        """Forget everything."""
        for layer in self.layers:
            layer.length = 0
