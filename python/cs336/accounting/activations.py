"""What a forward pass keeps for the backward pass, tensor by tensor, counted in two ways.

`course`: the list of the course's hand-out (section on AdamW's resources): one tensor for each operation, whoever
computes it. `autograd`: what PyTorch keeps of the layers in `cs336.nn`, tensor by tensor; the tests count the same on
real models, byte for byte. The first suits an answer on paper, the second a graphics card.

Neither counts what lives for a moment only: gradients of activations, and what one operation needs while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cs336.accounting.checks import one_of
from cs336.accounting.formula import B, Formula, H, L, N, V, as_formula, d, f
from cs336.accounting.precision import is_mixed, narrow_bytes
from cs336.config import ModelConfig

__all__ = ["COUNTINGS", "Activation", "activations", "autograd_activations", "course_activations"]

COUNTINGS = ("course", "autograd")
LOSSES = ("whole", "chunked")

FLOAT32, INT64, BOOL = 4, 8, 1


@dataclass(frozen=True)
class Activation:
    """One tensor that waits for the backward pass, or the same one in every layer."""

    name: str
    one: Formula
    """Numbers in one of them; with B where they grow with the batch."""
    width: int
    """Bytes of a number."""
    in_block: bool = True
    is_block_input: bool = False
    """The residual stream where it enters a block: all that activation checkpointing keeps of the block."""

    @property
    def formula(self) -> Formula:
        """Numbers in the whole model."""
        return self.one * N if self.in_block else self.one

    @property
    def bytes(self) -> Formula:
        """Bytes in the whole model."""
        return self.formula * self.width


def activations(
    config: ModelConfig,
    *,
    counting: str = "course",
    attention: str | None = None,
    dtype: str = "float32",
    loss: str = "whole",
) -> list[Activation]:
    """The tensors that wait for the backward pass, in the order of the forward pass.

    Args:
        config: the model.
        counting: course or autograd, as the head of this module explains.
        attention: "sdpa", fused, which keeps one number a row of scores instead of the scores (FlashAttention, Dao et
            al. 2022), or "reference", written out. None: the configuration's own for autograd; the course's list has
            the scores in it.
        dtype: float32, tf32, bfloat16 or float16.
        loss: "whole", or "chunked", which keeps gradients of the head and of its input in the place of logits. The
            course's list has the logits in it.
    """
    one_of("way of counting", counting, COUNTINGS)
    one_of("loss", loss, LOSSES)
    own = "reference" if counting == "course" else config.attention
    attention = one_of("attention", attention or own, ("sdpa", "reference"))
    if counting == "course":
        return course_activations(config, attention, dtype)
    return autograd_activations(config, attention, dtype, loss)


def course_activations(config: ModelConfig, attention: str, dtype: str) -> list[Activation]:
    """The course's list: the output of every operation once. For GPT-2: N (16 L d + 2 H L²) + L d + L V + L a sequence.

    Under fused attention the scores and their softmax shrink to the logarithm of each row's sum.
    """
    narrow = narrow_bytes(dtype)
    norms = {"pre": 2, "post": 1 if config.parallel else 2, "none": 0}[config.norm_placement]
    tokens = B * L
    found = [Activation("norms", norms * tokens * d, FLOAT32)] if norms else []
    found.append(Activation("Q, K, V projections", 3 * tokens * d, narrow))
    if config.qk_norm:
        found.append(Activation("norms of Q and K", 2 * tokens * d, FLOAT32))
    if attention == "sdpa":
        found.append(Activation("log-sum of each row of scores", B * H * L, FLOAT32))
    else:
        found.append(Activation("scores Q·K", B * H * L**2, narrow))
        found.append(Activation("softmax", B * H * L**2, narrow))
    found.append(Activation("weighted sum of V", tokens * d, narrow))
    found.append(Activation("output projection", tokens * d, narrow))
    if config.ffn == "swiglu":
        found.append(Activation("feed-forward W1, W3", 2 * tokens * f, narrow))
        found.append(Activation("SiLU, product", 2 * tokens * f, narrow))
    else:
        found.append(Activation("feed-forward W1", tokens * f, narrow))
        found.append(Activation(config.ffn, tokens * f, narrow))
    found.append(Activation("feed-forward W2", tokens * d, narrow))
    if config.norm_placement == "pre":
        found.append(Activation("final norm", tokens * d, FLOAT32, in_block=False))
    found.append(Activation("output head", tokens * V, FLOAT32, in_block=False))
    found.append(Activation("cross-entropy", tokens, FLOAT32, in_block=False))
    return found


def autograd_activations(config: ModelConfig, attention: str, dtype: str, loss: str) -> list[Activation]:
    """What PyTorch keeps of this package's own layers, in training.

    A norm keeps its input, the statistics of each token and, RMSNorm, the normalized input; a linear layer its input,
    which under mixed precision is a narrow copy for each layer that reads it; an activation function its input. With
    dropout it is what CUDA keeps: a byte for each number that may be dropped, and nothing inside fused attention.
    Mixed precision widens what `torch.autocast` widens on the CPU; on CUDA, written-out attention and relu2 take more.
    """
    return list(_Autograd(config, attention, dtype, loss).tensors())


class _Autograd:
    """The layers of `cs336.nn`, in the order in which they run."""

    def __init__(self, config: ModelConfig, attention: str, dtype: str, loss: str) -> None:
        self.config = config
        self.chunked = loss == "chunked"
        self.fused = attention == "sdpa"
        self.mixed = is_mixed(dtype)
        self.narrow = narrow_bytes(dtype)
        self.stream = B * L * d

    def tensors(self) -> Iterator[Activation]:
        """Everything, from token ids to loss."""
        config = self.config
        yield Activation("token ids", B * L, INT64, in_block=False)
        yield from self.dropped("embeddings", in_block=False)
        yield from self.block()
        if config.norm_placement == "pre":
            yield from self.norm("final norm", in_block=False)
        yield from self.loss()

    def loss(self) -> Iterator[Activation]:
        """From what the head reads to the loss."""
        if self.chunked:
            yield Activation("gradient of the output head's input", self.stream, FLOAT32, in_block=False)
            yield Activation("gradient of the output head", V * d, FLOAT32, in_block=False)
            return
        yield from self.linear_input("output head: input", self.stream, 1, in_block=False)
        yield Activation("cross-entropy: logits less the greatest", B * L * V, FLOAT32, in_block=False)
        yield Activation("cross-entropy: their exponentials", B * L * V, FLOAT32, in_block=False)
        yield Activation("cross-entropy: their sums", B * L, FLOAT32, in_block=False)
        yield Activation("targets", B * L, INT64, in_block=False)

    def block(self) -> Iterator[Activation]:
        """One layer: what its sublayers read depends on where the norms stand."""
        placement, parallel = self.config.norm_placement, self.config.parallel
        yield from self.block_input()
        if placement == "pre":
            yield from self.norm("norm 1", keep_input=False)
        yield from self.attention(reads_block_input=placement != "pre")
        if placement == "pre":
            yield from self.norm("norm 2", keep_input=not parallel)
        elif placement == "post":
            yield from self.norm("norm 1")
        yield from self.feed_forward(reads_block_input=placement != "pre" and parallel)
        if placement == "post" and not parallel:
            yield from self.norm("norm 2")

    def block_input(self) -> Iterator[Activation]:
        """The residual stream itself waits where a norm or, without copies in between, a linear layer reads it."""
        if self.config.norm_placement == "pre" or not self.mixed:
            yield Activation("block input", self.stream, FLOAT32, is_block_input=True)

    def norm(self, name: str, *, keep_input: bool = True, in_block: bool = True) -> Iterator[Activation]:
        """Over the residual stream, in float32."""
        if keep_input:
            yield Activation(f"{name}: input", self.stream, FLOAT32, in_block)
        if self.config.norm == "rms":
            yield Activation(f"{name}: normalized", self.stream, FLOAT32, in_block)
            yield Activation(f"{name}: 1 / root mean square", B * L, FLOAT32, in_block)
        else:
            yield Activation(f"{name}: mean, 1 / deviation", 2 * B * L, FLOAT32, in_block)

    def linear_input(self, name: str, size: Formula, readers: int, *, in_block: bool = True) -> Iterator[Activation]:
        """What linear layers read: one tensor for all, or, under mixed precision, a narrow copy each."""
        copies = readers if self.mixed else 1
        yield Activation(name if copies == 1 else f"{name}, {copies} copies", copies * size, self.narrow, in_block)

    def dropped(self, name: str, size: Formula | None = None, *, in_block: bool = True) -> Iterator[Activation]:
        """The mask of a dropout on the residual stream, or of a given size."""
        if self.config.residual_pdrop or size is not None:
            yield Activation(f"dropout of {name}", self.stream if size is None else size, BOOL, in_block)

    def attention(self, *, reads_block_input: bool) -> Iterator[Activation]:
        """From the input of the projections to that of the output projection."""
        # Values that go on to be mixed come from a product of their own, unless queries and keys are made anew.
        at_once = not self.config.value_residual or self.config.qk_norm or self.config.positions == "rope"
        if self.mixed or not reads_block_input:
            yield from self.linear_input("Q, K, V projections: input", self.stream, 1 if at_once else 3)
        if at_once and not self.mixed:
            # One product with the three weights one below the other; mixed precision copies the weights anyway.
            yield Activation("Q, K, V projections: weights", 3 * d**2, FLOAT32)
        if self.config.qk_norm:
            # Read from the product of Q, K and V as it is, or from widened copies of its Q and K.
            yield Activation("norms of Q and K: inputs", (2 if self.mixed else 3) * self.stream, FLOAT32)
            yield Activation("norms of Q and K: normalized", 2 * self.stream, FLOAT32)
            yield Activation("norms of Q and K: 1 / root mean square", 2 * B * H * L, FLOAT32)
        yield Activation("Q, K, V", 3 * self.stream, self.narrow)
        if self.fused:
            yield Activation("log-sum of each row of scores", B * H * L, FLOAT32)
        else:
            yield Activation("causal masks", 2 * L**2, BOOL)
            yield Activation("softmax: exponentials", B * H * L**2, self.narrow)
            yield Activation("softmax: their sums", B * H * L, self.narrow)
            yield Activation("probabilities", B * H * L**2, self.narrow)
            if self.config.attn_pdrop:
                yield from self.dropped("probabilities", B * H * L**2)
        yield Activation("weighted sum of V", self.stream, self.narrow)
        yield from self.dropped("attention")

    def feed_forward(self, *, reads_block_input: bool) -> Iterator[Activation]:
        """From the input of the first matrices to that of the last."""
        gated = self.config.ffn == "swiglu"
        if self.mixed or not reads_block_input:
            yield from self.linear_input("feed-forward: input", self.stream, 2 if gated else 1)
        hidden = B * L * f
        if gated:
            yield Activation("feed-forward W1, W3", 2 * hidden, self.narrow)
            yield Activation("SiLU, product", 2 * hidden, self.narrow)
        else:
            yield Activation("feed-forward W1", hidden, self.narrow)
            yield Activation(self.config.ffn, hidden, self.narrow)
        yield from self.dropped("feed-forward")


def total_bytes(found: list[Activation]) -> Formula:
    """Bytes of all of them."""
    return sum((activation.bytes for activation in found), start=as_formula(0))
