"""The language model: embeddings, blocks, head."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cs336.config import ModelConfig
from cs336.errors import CheckpointError, ConfigError
from cs336.nn.attention import SharedValues
from cs336.nn.block import TransformerBlock, build_rope
from cs336.nn.cache import BatchStep, KeyValueCache
from cs336.nn.embedding import Embedding
from cs336.nn.linear import Linear
from cs336.nn.loss import chunked_cross_entropy
from cs336.nn.norm import LayerNorm, RMSNorm, build_norm

__all__ = ["TransformerLM"]

# The projections back into the residual stream.
_INTO_THE_STREAM = ("attn.output_proj.weight", "ffn.w2.weight")


class TransformerLM(nn.Module):
    """Token ids in, for each position the logits of the next token out.

    token_embeddings (+ position_embeddings) -> dropout -> layers -> ln_final -> lm_head. `ln_final` exists with norms
    placed `pre` only: with `post` the last block already ends with a norm. A tied head has no weight of its own and is
    not in the state dict; one in a loaded state dict must equal the token embeddings.

    With `activation_checkpointing` set, a layer keeps its input only for the backward pass, which computes the rest
    again (Chen et al. 2016); dropout draws the same numbers then. With `narrow_stream` set, the residual stream under
    autocast is of autocast's type and not of the embeddings', which saves bytes to move. `loss_of_head` makes the loss
    of hidden states, the head's weight and targets; for the compiler, `cs336.training.compiled` puts another in its
    place.

    Letters in names: B batch, T tokens, D d_model, V vocabulary.
    """

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, device, dtype)
        learned = config.positions == "learned"
        self.position_embeddings = Embedding(config.context_length, config.d_model, device, dtype) if learned else None
        self.dropout = nn.Dropout(config.residual_pdrop)
        rope = build_rope(config, device, dtype)  # one pair of tables for all layers
        self.layers = nn.ModuleList(TransformerBlock(config, rope, device, dtype) for _ in range(config.num_layers))
        self.ln_final = build_norm(config, device, dtype) if config.norm_placement == "pre" else nn.Identity()
        self.lm_head = (
            None if config.tie_embeddings else Linear(config.d_model, config.vocab_size, False, device, dtype)
        )
        self.activation_checkpointing = False
        self.narrow_stream = False
        self.loss_of_head: Callable[[Tensor, Tensor, Tensor], Tensor] = chunked_cross_entropy
        self.register_load_state_dict_pre_hook(_accept_tied_head)  # type: ignore[no-untyped-call]  # torch's
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights again, as `config.init` says, from torch's global random state.

        course: linear weights normal with variance 2 / (in + out), embeddings normal with variance 1, all cut at 3
        sigma. A tied table is a head too, where variance 1 would make logits of variance d_model and a first loss far
        above ln(vocab): it gets variance 1 / d_model, and so do the position embeddings added to it.

        gpt2: normal with standard deviation 0.02; the projections back into the residual stream, of which it sums
        2 num_layers, divided by sqrt(2 num_layers). Biases are 0, norms 1.

        `config.zero_init` then sets those projections to 0.
        """
        for module in self.modules():
            if isinstance(module, Linear | Embedding | RMSNorm | LayerNorm):
                module.reset_parameters()
        if self.config.init == "gpt2":
            self._init_gpt2()
        elif self.config.tie_embeddings:
            for table in (self.token_embeddings, self.position_embeddings):
                if table is not None:
                    table.reset_parameters(std=1.0 / math.sqrt(self.config.d_model))
        if self.config.zero_init:
            for name, parameter in self.named_parameters():
                if name.endswith(_INTO_THE_STREAM):
                    nn.init.zeros_(parameter)

    def _init_gpt2(self) -> None:
        std = 0.02
        for name, parameter in self.named_parameters():
            if name.endswith(_INTO_THE_STREAM):
                nn.init.normal_(parameter, std=std / math.sqrt(2 * self.config.num_layers))
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=std)

    def forward(
        self,
        token_ids_BT: Tensor,
        *,
        cache: KeyValueCache | BatchStep | None = None,
        mask: Tensor | None = None,
        only_B: Tensor | None = None,
        targets_BT: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T); with targets (B, T) their mean loss instead, a scalar.

        The loss is that of `cross_entropy`, computed in chunks (`cs336.nn.loss`), so that logits of a whole batch never
        stand in memory.

        With a cache (see `new_cache`) the ids are the next T tokens after those it has seen, and are added to it; the
        logits are the same as without it, up to rounding. A mask (B, 1, T, T), True where a token may attend, takes the
        place of the causal one; `cs336.data.document_mask` makes one that keeps documents apart. With `only_B`, the
        place of one token in each row, only its logits are computed: (B, 1, V). More tokens than `context_length` raise
        ConfigError.
        """
        positions: Tensor | None = None  # 0, 1, 2, ...
        if isinstance(cache, BatchStep):
            positions, mask = cache.positions_B1, cache.mask
        else:
            past = 0 if cache is None else cache.length
            end = past + token_ids_BT.shape[-1]
            if end > self.config.context_length:
                raise ConfigError(
                    f"{end} tokens are more than the model's context_length of {self.config.context_length}; "
                    f"give it fewer, or train it with a longer context"
                )
            if past:
                positions = torch.arange(past, end, device=token_ids_BT.device)
        x_BTD = self.token_embeddings(token_ids_BT)
        if (table := self.position_embeddings) is not None:
            x_BTD = x_BTD + (table.weight[: token_ids_BT.shape[-1]] if positions is None else table(positions))
        x_BTD = self.dropout(x_BTD)
        if self.narrow_stream and torch.is_autocast_enabled(x_BTD.device.type):
            x_BTD = x_BTD.to(torch.get_autocast_dtype(x_BTD.device.type))
        values = SharedValues() if self.config.value_residual else None
        for index, layer in enumerate(self.layers):
            shared = None if values is None else values.mix if index else values.keep
            if self.activation_checkpointing and cache is None:
                x_BTD = checkpoint(layer, x_BTD, mask=mask, shared=shared, use_reentrant=False)
            else:
                layer_cache = None if cache is None else cache.layers[index]
                x_BTD = layer(x_BTD, positions, cache=layer_cache, mask=mask, shared=shared)
        if only_B is not None:
            x_BTD = x_BTD[torch.arange(len(only_B), device=only_B.device), only_B][:, None]
        x_BTD = self.ln_final(x_BTD)
        head = self.token_embeddings if self.lm_head is None else self.lm_head
        if targets_BT is not None:
            return self.loss_of_head(x_BTD, head.weight, targets_BT)
        return F.linear(x_BTD, head.weight)

    def new_cache(self, batch_size: int = 1, dtype: torch.dtype | None = None) -> KeyValueCache:
        """Return an empty key/value cache for `context_length` tokens, of the weights' device and type."""
        weight = self.token_embeddings.weight
        return KeyValueCache(self.config, batch_size, weight.device, dtype or weight.dtype)

    def num_parameters(self) -> int:
        """Count the trainable parameters; `config.num_parameters()` says the same without building them."""
        return sum(parameter.numel() for parameter in self.parameters())


def _accept_tied_head(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let a tied model load a state dict that stores the table under both names, or under the head's only."""
    if not isinstance(module, TransformerLM) or not module.config.tie_embeddings:
        return
    head = state_dict.pop(prefix + "lm_head.weight", None)
    if head is None:
        return
    table = state_dict.setdefault(prefix + "token_embeddings.weight", head)
    if not torch.equal(table, head):
        raise CheckpointError(
            "lm_head.weight differs from token_embeddings.weight, but this model has one table for both; "
            "set tie_embeddings to false to load these weights"
        )
