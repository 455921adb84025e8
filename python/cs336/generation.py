"""Sampling text from a model, one token at a time, for one prompt or for several at once.

The model always sees the last `context_length` tokens. While the text fits, each new token costs one step with the
key/value cache. Once it does not, every step drops the oldest token and moves the others one position down, which
changes all their keys and values, so the whole window is computed again: slower, and the same result with the cache
as without.

Prompts of several lengths stand side by side from the left, filled up on the right, where no token of theirs looks; the
next token of each then goes to the place behind its own last one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, Unpack

from cs336.data import END_OF_TEXT
from cs336.errors import ConfigError, NonFiniteLossError, TokenIdError
from cs336.extra import needs_extra

with needs_extra("cs336.generate"):
    import torch
    from torch import Tensor

    from cs336.nn import KeyValueCache, TransformerLM

__all__ = ["generate", "generate_batch", "generate_ids", "generate_stream"]

_SEEDS = 2**64


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


def generate_batch(
    model: TransformerLM,
    tokenizer: _Tokenizer,
    prompts: Sequence[str],
    *,
    stop: str | None = END_OF_TEXT,
    batch_size: int = 32,
    **sampling: Unpack[Sampling],
) -> list[str]:
    """Continue several prompts, `batch_size` of them at a time; return the new text of each.

    Prompt number i gets what `generate` gives it with seed + i (modulo 2^64), up to rounding: a product of matrices may
    round otherwise where it has more rows, which can tip a choice between two tokens that are all but equally likely.
    The errors are those of `generate`, before the work.
    """
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ConfigError(f"prompts must be a list of texts, not {prompts!r}")
    _check_count("batch_size", batch_size, least=1)
    settings = _Settings(model, stop_id=_stop_id(tokenizer, stop), known_ids=tokenizer.vocab, **sampling)
    all_ids = [settings.check_ids(_prompt_ids(tokenizer, prompt)) for prompt in prompts]
    streams = [tokenizer.decode_stream() for _ in prompts]
    texts = [""] * len(all_ids)
    for start in range(0, len(all_ids), batch_size):
        for row, token_id in _generate(model, all_ids[start : start + batch_size], settings, first_row=start):
            texts[start + row] += streams[start + row].push(token_id)
    return [text + stream.finish() for text, stream in zip(texts, streams, strict=True)]


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
    settings = _Settings(
        model,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_id=stop_id,
        use_cache=use_cache,
        known_ids=known_ids,
    )
    checked = settings.check_ids(ids)
    return (token_id for _, token_id in _generate(model, [checked], settings))


class _Settings:
    """What `generate_ids` is asked for, checked."""

    def __init__(
        self,
        model: TransformerLM,
        *,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_id: int | None = None,
        use_cache: bool = True,
        known_ids: Iterable[int] | None = None,
    ) -> None:
        self.vocab_size = model.config.vocab_size
        self.sampler = _Sampler(temperature, top_k, top_p, _forbidden(self.vocab_size, known_ids))
        self.sampler.check()
        _check_count("max_new_tokens", max_new_tokens, least=0)
        if seed is not None:
            _check_count("seed", seed, least=0)
            if seed >= _SEEDS:
                raise ConfigError(f"seed must fit 64 bits, and {seed} does not")
        self.max_new_tokens, self.seed, self.stop_id, self.use_cache = max_new_tokens, seed, stop_id, use_cache

    def check_ids(self, ids: Sequence[int]) -> list[int]:
        """A prompt as a list of its own."""
        ids = [int(token_id) for token_id in ids]
        _check_ids(ids, self.vocab_size)
        return ids

    def random(self, row: int) -> torch.Generator:
        """The source of randomness of a prompt, by its number."""
        rng = torch.Generator()
        if self.seed is None:
            rng.seed()
        else:
            rng.manual_seed((self.seed + row) % _SEEDS)
        return rng


def _generate(
    model: TransformerLM, texts: list[list[int]], settings: _Settings, first_row: int = 0
) -> Iterator[tuple[int, int]]:
    """Let each text grow until it stops; yield the number of a text and its next token."""
    reader = _Reader(model, texts, settings.use_cache)
    randoms = [settings.random(first_row + row) for row in range(len(texts))]
    active = list(range(len(texts)))
    for _ in range(settings.max_new_tokens):
        logits = reader.read(active)
        for row in list(active):
            token_id = settings.sampler.sample(logits[row], randoms[row])
            if token_id == settings.stop_id:
                active.remove(row)
                continue
            texts[row].append(token_id)
            yield row, token_id
        if not active:
            return


class _Reader:
    """Gives the logits after each of several texts, which grow by a token between two calls."""

    def __init__(self, model: TransformerLM, texts: list[list[int]], use_cache: bool) -> None:
        self.model, self.texts = model, texts
        self.room = model.config.context_length
        self.rows = [row for row, text in enumerate(texts) if use_cache and len(text) < self.room]
        """Those in the cache, in its order. A text leaves it when it ends, or no longer fits."""
        self.cache: KeyValueCache | None = None

    @torch.inference_mode()
    def read(self, active: list[int]) -> dict[int, Tensor]:
        """Return the logits (vocab) of the token after each active text, on the CPU."""
        with _evaluating(self.model):
            cached = self._keep([row for row in self.rows if row in active and len(self.texts[row]) <= self.room])
            others = [row for row in active if row not in cached]
            found: dict[int, Tensor] = {}
            if cached:
                found |= zip(cached, self._step() if self.cache is not None else self._begin(), strict=True)
            if others:
                found |= zip(others, self._read_whole(others, None), strict=True)
        return found

    def _keep(self, rows: list[int]) -> list[int]:
        if self.cache is not None and rows and rows != self.rows:
            self.cache.keep([self.rows.index(row) for row in rows])
        self.rows = rows
        return rows

    def _begin(self) -> Tensor:
        self.cache = self.model.new_cache(len(self.rows))
        return self._read_whole(self.rows, self.cache)

    def _step(self) -> Tensor:
        """The last token of each text, with those before it from the cache."""
        assert self.cache is not None
        last = self._tensor([[self.texts[row][-1]] for row in self.rows])
        step = self.cache.step([len(self.texts[row]) - 1 for row in self.rows])
        return self._logits(last, cache=step)

    def _read_whole(self, rows: list[int], cache: KeyValueCache | None) -> Tensor:
        """As much of each text as the model sees."""
        windows = [self.texts[row][-self.room :] for row in rows]
        lengths = [len(window) for window in windows]
        filled = [window + [0] * (max(lengths) - len(window)) for window in windows]
        return self._logits(self._tensor(filled), cache=cache, only_B=self._tensor([n - 1 for n in lengths]))

    def _logits(self, ids_BT: Tensor, **places: Any) -> Tensor:
        logits_B1V: Tensor = self.model(ids_BT, **places)
        return logits_B1V[:, -1].cpu()

    def _tensor(self, numbers: list[Any]) -> Tensor:
        return torch.tensor(numbers, device=self.model.token_embeddings.weight.device)


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
    forbidden: Tensor | None
    """(vocab), True for the ids that may not be sampled; None: there is none."""

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
        logits_V = logits_V.cpu()
        if self.forbidden is not None:
            logits_V = logits_V.masked_fill(self.forbidden, -math.inf)
        likeliest = int(logits_V.argmax())  # NaN, if there is one
        if not math.isfinite(logits_V[likeliest]):
            raise NonFiniteLossError("the model's logits are not finite: its weights are damaged, or training diverged")
        if self.temperature == 0:
            return likeliest
        logits_V = logits_V.double()
        # The greatest becomes 0 first, so that a tiny temperature sends the others to -inf, and not it to inf.
        logits_V = (logits_V - logits_V[likeliest]) / self.temperature
        if self.top_k is None and self.top_p is None:
            return int(torch.multinomial(logits_V.softmax(dim=-1), 1, generator=rng))
        ids, logits = self._likeliest(logits_V)
        probabilities = logits.softmax(dim=-1)
        if self.top_p is not None:
            before = probabilities.cumsum(dim=-1) - probabilities  # of the likelier tokens together
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        return int(ids[torch.multinomial(probabilities, 1, generator=rng)])

    def _likeliest(self, logits_V: Tensor) -> tuple[Tensor, Tensor]:
        """The top_k ids, or all, likeliest first and of equals the first first; and their logits."""
        ids = torch.arange(len(logits_V))
        if self.top_k is not None and self.top_k < len(logits_V):
            ids = ids[logits_V >= logits_V.topk(self.top_k).values[-1]]  # few, so that sorting them costs little
        logits, order = logits_V[ids].sort(descending=True, stable=True)
        return ids[order][: self.top_k], logits[: self.top_k]


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


def _forbidden(vocab_size: int, known_ids: Iterable[int] | None) -> Tensor | None:
    """Return a mask (vocab), True for the ids that may not be sampled, if there are any."""
    if known_ids is None:
        return None
    forbidden_V = torch.ones(vocab_size, dtype=torch.bool)
    known = [token_id for token_id in known_ids if token_id < vocab_size]
    if not known:
        raise ConfigError(
            "the model and the tokenizer have no token id in common; give the tokenizer it was trained with"
        )
    forbidden_V[known] = False
    return forbidden_V if forbidden_V.any() else None


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
