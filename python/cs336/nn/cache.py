"""Keys and values of the tokens already seen, so that each new token costs one step.

All memory is allocated once, for the whole context. There are two ways to add to it. Texts of one length grow together,
by any number of tokens: `model(ids, cache=cache)`. Texts of different lengths grow by a token each, every one at a
place of its own: `model(ids, cache=cache.step(places))`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cs336.config import ModelConfig
from cs336.errors import ConfigError

__all__ = ["BatchStep", "KeyValueCache", "LayerCache", "LayerStep"]


class LayerCache:
    """One layer's keys and values, allocated once for the whole context: (batch, heads, context, head_dim) each."""

    def __init__(self, keys_BHSD: Tensor, values_BHSD: Tensor) -> None:
        self.keys_BHSD = keys_BHSD
        self.values_BHSD = values_BHSD
        self.length = 0

    def append(self, keys_BHTD: Tensor, values_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of T new tokens; return those of all tokens so far."""
        start, end = self.length, self.length + keys_BHTD.shape[-2]
        check_room(end, self.keys_BHSD.shape[-2])
        self.keys_BHSD[:, :, start:end] = keys_BHTD
        self.values_BHSD[:, :, start:end] = values_BHTD
        self.length = end
        return self.keys_BHSD[:, :, :end], self.values_BHSD[:, :, :end]


class LayerStep:
    """One layer of a `BatchStep`."""

    def __init__(self, layer: LayerCache, step: BatchStep) -> None:
        self.layer, self.step = layer, step

    @property
    def length(self) -> int:
        """Places before the last one that is looked at."""
        return self.step.span - 1

    def append(self, keys_BH1D: Tensor, values_BH1D: Tensor) -> tuple[Tensor, Tensor]:
        """Put one token of each row where it belongs; return all places that a row may look at, and more."""
        keys_BHSD, values_BHSD = self.layer.keys_BHSD, self.layer.values_BHSD
        rows_B, places_B, span = self.step.rows_B, self.step.positions_B1[:, 0], self.step.span
        keys_BHSD[rows_B, :, places_B] = keys_BH1D[:, :, 0]
        values_BHSD[rows_B, :, places_B] = values_BH1D[:, :, 0]
        return keys_BHSD[:, :, :span], values_BHSD[:, :, :span]


class BatchStep:
    """One new token for each row of a cache, each at a place of its own.

    What is looked at ends with the longest text. A compiled model looks up to the next power of two: its shapes then
    change rarely, what changes from token to token are numbers in tensors, and it is compiled a few times, and not for
    every token.
    """

    def __init__(self, layers: list[LayerCache], places: Sequence[int]) -> None:
        keys_BHSD = layers[0].keys_BHSD
        room, device = keys_BHSD.shape[-2], keys_BHSD.device
        self._longest = max(places) + 1
        check_room(self._longest, room)
        self._rounded = min(room, max(64, 1 << (self._longest - 1).bit_length()))
        self._equal = min(places) == max(places)
        self.rows_B = torch.arange(len(places), device=device)
        self.positions_B1 = torch.tensor(places, device=device)[:, None]
        # A row's own tokens, and none of what other rows have beyond them.
        self._mask_B11S = (torch.arange(self._rounded, device=device) <= self.positions_B1)[:, None, None]
        self.layers = [LayerStep(layer, self) for layer in layers]

    @property
    def span(self) -> int:
        """S, how many places are looked at."""
        return self._rounded if torch.compiler.is_compiling() else self._longest

    @property
    def mask(self) -> Tensor | None:
        """(B, 1, 1, S), True where a row may attend; None: to all."""
        if torch.compiler.is_compiling():
            return self._mask_B11S
        return None if self._equal else self._mask_B11S[..., : self._longest]


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

    def step(self, places: Sequence[int]) -> BatchStep:
        """Take one token of each row next, at these places; what a row has there or beyond is forgotten."""
        return BatchStep(self.layers, places)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order."""
        for layer in self.layers:
            layer.keys_BHSD = layer.keys_BHSD[list(rows)]
            layer.values_BHSD = layer.values_BHSD[list(rows)]


def check_room(tokens: int, room: int) -> None:
    """Raise ConfigError where there are more tokens than places for them."""
    if tokens > room:
        raise ConfigError(f"{tokens} tokens do not fit a cache for {room}; make a larger one")
