"""Sampling text from a model, one token at a time.

The model always sees the last `context_length` tokens. While the text fits, each new token costs one step with the
key/value cache. Once it does not, every step drops the oldest token and moves the others one position down, which
changes all their keys and values, so the whole window is computed again: slower, and the same result with the cache
as without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack

from cs336.data import END_OF_TEXT
from cs336.errors import ConfigError, NonFiniteLossError, TokenIdError
from cs336.extra import needs_extra

with needs_extra("cs336.generate"):
    import torch
    from torch import Tensor

    from cs336.nn import KeyValueCache, TransformerLM

__all__ = ["generate", "generate_ids", "generate_stream"]


class _DecodeStream(Protocol):
    def push(self, token_id: int, /) -> str: ...
    def finish(self) -> str: ...


class _Tokenizer(Protocol):
    """What generation needs of a tokenizer."""

    @property
    def vocab(self) -> dict[int, bytes]: ...
    def encode(self, text: str, /) -> Sequence[int]: ...
    def token_to_id(self, token: str, /) -> int | None: ...
    def decode_stream(self) -> _DecodeStream: ...


class Sampling(TypedDict, total=False):
    """The settings of `generate_ids` that every way to generate takes."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    use_cache: bool


def generate(
    model: TransformerLM,
    tokenizer: _Tokenizer,
    prompt: str = "",
    *,
    stop: str | None = END_OF_TEXT,
    **sampling: Unpack[Sampling],
) -> str:
    """Continue a prompt; return the new text only.

    Args:
        model: used as in evaluation, without dropout; its mode is left as it was.
        tokenizer: the one the model was trained with.
        prompt: text to continue. Special tokens in it are tokens. Empty: start as after an end of text.
        stop: end when the model gives this token, which is not part of the text; None never ends early. A tokenizer
            without END_OF_TEXT is accepted, and then nothing ends the text early.
        sampling: max_new_tokens, temperature, top_k, top_p, seed, use_cache; see `generate_ids`.

    Raises:
        ConfigError: a setting is out of its range, `stop` is not a token, or the prompt is empty and the tokenizer has
            no END_OF_TEXT to start from.
        TokenIdError: the prompt has an id that the model does not know, so they do not belong together.
        NonFiniteLossError: the model gives no finite logits.
    """
    return "".join(generate_stream(model, tokenizer, prompt, stop=stop, **sampling))


def generate_stream(
    model: TransformerLM,
    tokenizer: _Tokenizer,
    prompt: str = "",
    *,
    stop: str | None = END_OF_TEXT,
    **sampling: Unpack[Sampling],
) -> Iterator[str]:
    """Like `generate`, but yield the text in pieces as it comes, each of whole characters. Errors come at the call."""
    if not isinstance(prompt, str):
        raise ConfigError(f"prompt must be a text, not {prompt!r}")
    stop_id = _stop_id(tokenizer, stop)
    ids = _prompt_ids(tokenizer, prompt)
    new_ids = generate_ids(model, ids, stop_id=stop_id, known_ids=tokenizer.vocab, **sampling)
    return _whole_characters(tokenizer.decode_stream(), new_ids)


def generate_ids(
    model: TransformerLM,
    ids: Sequence[int],
    *,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop_id: int | None = None,
    use_cache: bool = True,
    known_ids: Iterable[int] | None = None,
) -> Iterator[int]:
    """Like `generate`, from ids to ids. Errors come at the call.

    Args:
        model: see `generate`.
        ids: at least one.
        max_new_tokens: stop after so many tokens at the latest.
        temperature: logits are divided by it; 0 always takes the likeliest token (of equals the first).
        top_k: sample among the k likeliest tokens only.
        top_p: sample among the likeliest tokens that together reach this probability (Holtzman et al. 2020), after
            temperature and top_k.
        seed: the same seed gives the same ids; None draws one. Neither uses nor changes torch's global random state.
        stop_id: ends the sequence and is not yielded.
        use_cache: keep keys and values of earlier tokens; the result is the same, only slower without.
        known_ids: the ids that may be sampled; None: all of the model's. A model can have more rows than its tokenizer
            has tokens.
    """
    sampler = _Sampler(temperature, top_k, top_p, _allowed(model.config.vocab_size, known_ids))
    sampler.check()
    _check_count("max_new_tokens", max_new_tokens, least=0)
    if seed is not None:
        _check_count("seed", seed, least=0)
        if seed >= 2**64:
            raise ConfigError(f"seed must fit 64 bits, and {seed} does not")
    ids = [int(token_id) for token_id in ids]
    _check_ids(ids, model.config.vocab_size)
    rng = torch.Generator()
    if seed is None:
        rng.seed()
    else:
        rng.manual_seed(seed)
    return _generate(
        model,
        ids,
        max_new_tokens=max_new_tokens,
        sampler=sampler,
        rng=rng,
        stop_id=stop_id,
        use_cache=use_cache,
    )


def _generate(
    model: TransformerLM,
    ids: list[int],
    *,
    max_new_tokens: int,
    sampler: _Sampler,
    rng: torch.Generator,
    stop_id: int | None,
    use_cache: bool,
) -> Iterator[int]:
    context_length = model.config.context_length
    cache = model.new_cache() if use_cache and len(ids) < context_length else None
    for _ in range(max_new_tokens):
        if len(ids) > context_length:
            cache, ids = None, ids[-context_length:]
        token_id = sampler.sample(_next_logits(model, ids, cache), rng)
        if token_id == stop_id:
            return
        ids.append(token_id)
        yield token_id


@torch.inference_mode()
def _next_logits(model: TransformerLM, ids: list[int], cache: KeyValueCache | None) -> Tensor:
    """Return the logits (vocab) of the token after `ids`. The cache holds the first of them, and gets the others."""
    seen = 0 if cache is None else cache.length
    device = model.token_embeddings.weight.device
    with _evaluating(model):
        logits: Tensor = model(torch.tensor([ids[seen:]], device=device), cache=cache)
    return logits[0, -1]


@contextmanager
def _evaluating(model: TransformerLM) -> Iterator[None]:
    """Switch dropout off, and on again if it was on."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


@dataclass(frozen=True)
class _Sampler:
    """Chooses a token from logits. Always on the CPU and in float64, so that a seed means the same on every device."""

    temperature: float
    top_k: int | None
    top_p: float | None
    allowed: Tensor
    """(vocab), True for the ids that may be sampled."""

    def check(self) -> None:
        """Raise ConfigError if a setting is out of its range."""
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature must be a finite number of at least 0, not {self.temperature!r}")
        if self.top_k is not None:
            _check_count("top_k", self.top_k, least=1)
        if self.top_p is not None and (not _is_number(self.top_p) or not 0 < self.top_p <= 1):
            raise ConfigError(f"top_p must be a probability above 0 and up to 1, not {self.top_p!r}")

    def sample(self, logits_V: Tensor, rng: torch.Generator) -> int:
        """Return one token id."""
        logits_V = logits_V.cpu().double().masked_fill(~self.allowed, -math.inf)
        greatest = logits_V.max()  # NaN if there is one
        if not greatest.isfinite():
            raise NonFiniteLossError("the model's logits are not finite: its weights are damaged, or training diverged")
        if self.temperature == 0:
            return int(logits_V.argmax())
        # The greatest becomes 0 first, so that a tiny temperature sends the others to -inf, and not it to inf.
        logits_V = (logits_V - greatest) / self.temperature
        descending_V, order_V = logits_V.sort(descending=True, stable=True)
        if self.top_k is not None:
            descending_V = descending_V[: self.top_k]
        probabilities = descending_V.softmax(dim=-1)
        if self.top_p is not None:
            before = probabilities.cumsum(dim=-1) - probabilities  # of the likelier tokens together
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        return int(order_V[torch.multinomial(probabilities, 1, generator=rng)])


def _whole_characters(stream: _DecodeStream, ids: Iterator[int]) -> Iterator[str]:
    for token_id in ids:
        text = stream.push(token_id)
        if text:
            yield text
    rest = stream.finish()
    if rest:
        yield rest


def _prompt_ids(tokenizer: _Tokenizer, prompt: str) -> list[int]:
    if prompt:
        return list(tokenizer.encode(prompt))
    start = tokenizer.token_to_id(END_OF_TEXT)
    if start is None:
        raise ConfigError(f"the tokenizer has no {END_OF_TEXT} for an empty prompt to start from; give a prompt")
    return [start]


def _stop_id(tokenizer: _Tokenizer, stop: str | None) -> int | None:
    if stop is None:
        return None
    stop_id = tokenizer.token_to_id(stop)
    if stop_id is None and stop != END_OF_TEXT:
        raise ConfigError(f"stop must be one token of the tokenizer, and {stop!r} is none")
    return stop_id


def _allowed(vocab_size: int, known_ids: Iterable[int] | None) -> Tensor:
    """Return a mask (vocab), True for the ids that may be sampled."""
    if known_ids is None:
        return torch.ones(vocab_size, dtype=torch.bool)
    allowed_V = torch.zeros(vocab_size, dtype=torch.bool)
    known = [token_id for token_id in known_ids if token_id < vocab_size]
    if not known:
        raise ConfigError(
            "the model and the tokenizer have no token id in common; give the tokenizer it was trained with"
        )
    allowed_V[known] = True
    return allowed_V


def _check_ids(ids: list[int], vocab_size: int) -> None:
    if not ids:
        raise ConfigError("there is no token to continue; give at least one id")
    for token_id in ids:
        if not 0 <= token_id < vocab_size:
            raise TokenIdError(
                f"the prompt has token id {token_id}, but the model knows ids from 0 to {vocab_size - 1} only; "
                f"use the tokenizer it was trained with"
            )


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
