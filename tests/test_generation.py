from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from cs336.config import ModelConfig
from cs336.errors import ConfigError, NonFiniteLossError, TokenIdError
from cs336.generation import generate, generate_batch, generate_ids, generate_stream
from cs336.nn import TransformerLM

END = 256
CONFIG = ModelConfig(vocab_size=257, context_length=16, d_model=32, num_layers=2, num_heads=4)


class ByteStream:
    """Holds back bytes until they are whole characters."""

    def __init__(self) -> None:
        self.held = b""

    def push(self, token_id: int) -> str:
        self.held += b"<|endoftext|>" if token_id == END else bytes([token_id])
        try:
            text = self.held.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                return ""
            text = self.held.decode(errors="replace")
        self.held = b""
        return text

    def finish(self) -> str:
        return self.held.decode(errors="replace")


class ByteTokenizer:
    """256 bytes, and perhaps an end of text."""

    def __init__(self, end_of_text: bool = True) -> None:
        self.vocab = {i: bytes([i]) for i in range(256)}
        if end_of_text:
            self.vocab[END] = b"<|endoftext|>"

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_to_id(self, token: str) -> int | None:
        return next((i for i, bytes_ in self.vocab.items() if bytes_ == token.encode()), None)

    def decode_stream(self) -> ByteStream:
        return ByteStream()


class Script(nn.Module):
    """A model that says given ids one after the other, whatever it is told, counting from `start` known tokens."""

    def __init__(self, ids: list[int], start: int, vocab_size: int = 257) -> None:
        super().__init__()
        self.config = ModelConfig(vocab_size=vocab_size, context_length=1000, d_model=2, num_layers=1, num_heads=1)
        self.token_embeddings = nn.Embedding(1, 1)
        self.ids, self.start = ids, start

    def forward(self, token_ids: Tensor, *, cache: object = None, only_B: Tensor | None = None) -> Tensor:
        position = token_ids.shape[1] - self.start
        logits = torch.zeros(1, 1, self.config.vocab_size)
        logits[0, 0, self.ids[position]] = 100.0
        return logits


@pytest.fixture(scope="module")
def model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(CONFIG, dtype=torch.float64)


def say(text: bytes | list[int], prompt: str = "x", **settings: object) -> list[str]:
    script: object = Script([*text, END], start=len(prompt.encode()))
    return list(generate_stream(script, ByteTokenizer(), prompt, use_cache=False, temperature=0, **settings))


def test_the_new_text_only_up_to_the_end_of_text() -> None:
    assert "".join(say(b"hello")) == "hello"


def test_a_stream_yields_whole_characters() -> None:
    assert say("aé漢😀".encode()) == ["a", "é", "漢", "😀"]


def test_a_character_cut_short_comes_at_the_end_as_a_replacement() -> None:
    assert say("é".encode()[:1]) == ["�"]


def test_without_a_stop_the_end_of_text_is_a_token_like_others() -> None:
    assert "".join(say([END, 65], stop=None, max_new_tokens=2)) == "<|endoftext|>A"


def test_another_stop() -> None:
    assert "".join(say(b"one\ntwo", stop="\n")) == "one"


def test_max_new_tokens() -> None:
    assert "".join(say(b"hello", max_new_tokens=3)) == "hel"
    assert say(b"hello", max_new_tokens=0) == []


def test_a_prompt_is_needed_without_an_end_of_text(model: TransformerLM) -> None:
    with pytest.raises(ConfigError, match=r"<\|endoftext\|>.*give a prompt"):
        generate(model, ByteTokenizer(end_of_text=False))
    assert generate(model, ByteTokenizer(end_of_text=False), "a", max_new_tokens=2, seed=0)


def test_an_empty_prompt_starts_from_the_end_of_text(model: TransformerLM) -> None:
    expected = list(generate_ids(model, [END], max_new_tokens=5, temperature=0, stop_id=END))
    stream = ByteStream()
    text = "".join(map(stream.push, expected)) + stream.finish()
    assert generate(model, ByteTokenizer(), "", max_new_tokens=5, temperature=0) == text


def test_greedy_is_the_argmax_of_each_step(model: TransformerLM) -> None:
    ids = [3, 1, 4]
    model.eval()
    for _ in range(30):
        ids.append(int(model(torch.tensor([ids[-CONFIG.context_length :]]))[0, -1].argmax()))
    assert [3, 1, 4, *generate_ids(model, [3, 1, 4], max_new_tokens=30, temperature=0)] == ids


SHAPES: dict[str, dict[str, object]] = {
    "rope": {},
    "learned": {"positions": "learned", "norm": "layer", "bias": True, "tie_embeddings": True},
    "none": {"positions": "none", "ffn": "gelu"},
    "post": {"norm_placement": "post"},
    "parallel": {"parallel": True, "qk_norm": True},
    "post, parallel": {"norm_placement": "post", "parallel": True, "positions": "learned"},
    "reference": {"attention": "reference"},
    "value residual": {"value_residual": True},
}


def shaped(shape: str, dtype: torch.dtype = torch.float64) -> TransformerLM:
    torch.manual_seed(1)
    return TransformerLM(dataclasses.replace(CONFIG, **SHAPES[shape]), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prompt_length", [1, 15, 16, 40])
def test_the_cache_changes_nothing(shape: str, prompt_length: int) -> None:
    model = shaped(shape)
    prompt = torch.randint(0, 257, (prompt_length,)).tolist()

    def ids(use_cache: bool) -> list[int]:
        return list(generate_ids(model, prompt, max_new_tokens=20, seed=5, use_cache=use_cache))

    assert ids(True) == ids(False)


class NumberTokenizer(ByteTokenizer):
    """Ids as numbers, so that a text tells them all."""

    def encode(self, text: str) -> list[int]:
        return list(map(int, text.split()))

    def token_to_id(self, token: str) -> int | None:
        return END if token == "<|endoftext|>" else int(token) if token.isdecimal() else None

    def decode_stream(self) -> NumberStream:
        return NumberStream()


class NumberStream:
    def push(self, token_id: int) -> str:
        return f"{token_id} "

    def finish(self) -> str:
        return "."


PROMPTS = [" ".join(str(7 * i % 257) for i in range(length)) for length in (3, 16, 1, 40, 15)]


def check_rows(model: TransformerLM, batch_size: int, **settings: object) -> None:
    """Each row of a batch is what `generate` gives it alone."""
    settings = {"max_new_tokens": 20, "stop": None, **settings}
    alone = [
        generate(model, NumberTokenizer(), prompt, **{"seed": 5 + row, **settings, "use_cache": True})
        for row, prompt in enumerate(PROMPTS)
    ]
    assert all(len(text.split()) == 21 for text in alone)
    assert generate_batch(model, NumberTokenizer(), PROMPTS, seed=5, batch_size=batch_size, **settings) == alone


@pytest.mark.parametrize(("batch_size", "use_cache"), [(3, True), (32, True), (32, False)])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_row_of_a_batch_is_what_it_is_alone(shape: str, batch_size: int, use_cache: bool) -> None:
    check_rows(shaped(shape), batch_size, use_cache=use_cache)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"top_k": 50}, {"top_p": 0.9, "temperature": 1.5}])
def test_rows_under_other_settings(model: TransformerLM, settings: dict[str, object]) -> None:
    check_rows(model, 32, **settings)


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_batches_in_float32(shape: str) -> None:
    check_rows(shaped(shape, torch.float32), 32, temperature=0)


def test_rows_of_a_batch_end_at_different_times() -> None:
    torch.manual_seed(3)
    model = TransformerLM(dataclasses.replace(CONFIG, vocab_size=12), dtype=torch.float64)
    prompts = [" ".join("123456789"[:length]) for length in range(1, 10)]
    settings = {"stop": "7", "max_new_tokens": 25, "temperature": 2.0}
    alone = [generate(model, NumberTokenizer(), p, seed=row, **settings) for row, p in enumerate(prompts)]
    lengths = {len(text.split()) for text in alone}
    assert len(lengths) > 4, lengths
    assert generate_batch(model, NumberTokenizer(), prompts, seed=0, **settings) == alone


def test_no_prompts_and_no_tokens(model: TransformerLM) -> None:
    assert generate_batch(model, ByteTokenizer(), []) == []
    assert generate_batch(model, ByteTokenizer(), ["a", "b"], max_new_tokens=0) == ["", ""]


def test_the_last_seed_is_followed_by_the_first(model: TransformerLM) -> None:
    texts = generate_batch(model, NumberTokenizer(), ["1", "1"], seed=2**64 - 1, max_new_tokens=9)
    assert texts[1] == generate(model, NumberTokenizer(), "1", seed=0, max_new_tokens=9) != texts[0]


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ("text", {}, "prompts must be a list"),
        (["a", 5], {}, "prompts must be a list"),
        (["a"], {"batch_size": 0}, "batch_size"),
        (["a"], {"top_k": 0}, "top_k"),
        (["a"], {"stop": "two tokens"}, "two tokens"),
    ],
)
def test_a_bad_batch_is_refused(
    model: TransformerLM, prompts: object, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_batch(model, ByteTokenizer(), prompts, **settings)


def test_one_bad_prompt_is_refused_before_any_work() -> None:
    small = TransformerLM(ModelConfig(**{**vars(CONFIG), "vocab_size": 100}))
    with pytest.raises(TokenIdError, match="token id 122"):
        generate_batch(small, ByteTokenizer(), ["A", "z"])


def test_only_the_logits_asked_for(model: TransformerLM) -> None:
    ids = torch.randint(0, 257, (3, 9))
    only = torch.tensor([8, 0, 4])
    with torch.no_grad():
        torch.testing.assert_close(model(ids, only_B=only)[:, 0], model(ids)[torch.arange(3), only])


def test_a_step_beyond_the_cache_is_refused(model: TransformerLM) -> None:
    with pytest.raises(ConfigError, match="17 tokens do not fit a cache for 16"):
        model.new_cache(2).step([3, 16])


def test_a_step_looks_at_no_more_than_the_longest_text(model: TransformerLM) -> None:
    alike, unlike = model.new_cache(2).step([4, 4]), model.new_cache(2).step([2, 4])
    assert (alike.span, alike.mask) == (5, None)
    assert unlike.mask is not None
    assert unlike.mask[:, 0, 0].tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_a_compiled_model_is_compiled_a_few_times_for_all_tokens() -> None:
    model = TransformerLM(dataclasses.replace(CONFIG, context_length=256, num_layers=1))
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled: object = torch.compile(model, backend=count, fullgraph=True, dynamic=False)
    settings = {"max_new_tokens": 140, "temperature": 0}
    assert list(generate_ids(compiled, [1, 2, 3], **settings)) == list(generate_ids(model, [1, 2, 3], **settings))
    assert len(graphs) == 4  # the prompt, and a step while 64, 128 and 256 places are looked at


def test_a_seed_is_repeatable_and_leaves_the_global_state(model: TransformerLM) -> None:
    before = torch.get_rng_state()

    def text(seed: int | None) -> str:
        return generate(model, ByteTokenizer(), "a", max_new_tokens=20, seed=seed)

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(4)}) == 4
    assert text(None) != text(None)
    assert torch.equal(before, torch.get_rng_state())


class Fixed(Script):
    """A model that always gives the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__([], start=0, vocab_size=len(logits))
        self.logits = torch.tensor(logits)

    def forward(self, token_ids: Tensor, *, cache: object = None, only_B: Tensor | None = None) -> Tensor:
        return self.logits.expand(1, 1, -1)


def sample(probabilities: list[float], count: int = 400, **settings: object) -> Counter[int]:
    model: object = Fixed([math.log(p) if p else -math.inf for p in probabilities])
    return Counter(generate_ids(model, [0], max_new_tokens=count, seed=3, use_cache=False, **settings))


def test_sampling_follows_the_probabilities() -> None:
    counts = sample([0.5, 0.3, 0.2, 0.0], count=900)
    assert counts[0] == pytest.approx(450, abs=60)
    assert counts[1] == pytest.approx(270, abs=60)
    assert counts[3] == 0


def test_temperature_sharpens() -> None:
    counts = sample([0.6, 0.3, 0.1], count=900, temperature=0.5)  # squares: 0.36, 0.09, 0.01 of 0.46
    assert counts[0] == pytest.approx(900 * 0.36 / 0.46, abs=50)
    assert set(sample([0.34, 0.33, 0.33], temperature=1e-300)) == {0}


def test_top_k_keeps_exactly_k() -> None:
    assert set(sample([0.1, 0.2, 0.3, 0.4], top_k=2)) == {2, 3}
    assert set(sample([0.25, 0.25, 0.25, 0.25], top_k=2)) == {0, 1}
    assert set(sample([0.25, 0.25, 0.25, 0.25], top_k=100)) == {0, 1, 2, 3}


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    probabilities = [0.1, 0.2, 0.3, 0.4]
    assert set(sample(probabilities, top_p=0.39)) == {3}
    assert set(sample(probabilities, top_p=0.41)) == {3, 2}
    assert set(sample(probabilities, top_p=0.71)) == {3, 2, 1}
    assert set(sample(probabilities, top_p=1.0)) == {0, 1, 2, 3}
    assert set(sample(probabilities, top_p=1e-9)) == {3}


def test_top_p_counts_after_top_k() -> None:
    assert set(sample([0.1, 0.2, 0.3, 0.4], top_k=2, top_p=0.5)) == {3}  # 0.4 of 0.7 is already above a half


def test_ids_without_a_token_are_never_sampled() -> None:
    assert set(sample([0.7, 0.1, 0.1, 0.1], known_ids=[1, 3, 99])) == {1, 3}
    assert set(sample([0.7, 0.1, 0.1, 0.1], temperature=0, known_ids=[1, 3])) == {1}


def test_dropout_is_off_and_comes_back() -> None:
    torch.manual_seed(0)
    config = ModelConfig(**{**vars(CONFIG), "residual_pdrop": 0.5, "attn_pdrop": 0.5})
    model = TransformerLM(config).train()
    stream = generate_ids(model, [1], max_new_tokens=10, temperature=0)
    first = next(stream)
    assert model.training  # also between two tokens
    rest = list(stream)
    assert model.training
    assert [first, *rest] == list(generate_ids(model.eval(), [1], max_new_tokens=10, temperature=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"stop": "two tokens"}, "two tokens"),
        ({"prompt": 5}, "prompt"),
    ],
)
def test_bad_settings_are_refused_at_the_call(model: TransformerLM, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_stream(model, ByteTokenizer(), **{"prompt": "a", **settings})


def test_a_prompt_beyond_the_models_vocabulary() -> None:
    small = TransformerLM(ModelConfig(**{**vars(CONFIG), "vocab_size": 100}))
    with pytest.raises(TokenIdError, match=r"token id 122.*0 to 99"):
        generate(small, ByteTokenizer(), "z")


def test_no_ids_are_refused(model: TransformerLM) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        generate_ids(model, [])


def test_a_broken_model_says_so() -> None:
    broken: object = Fixed([0.0, math.nan, 0.0])
    with pytest.raises(NonFiniteLossError, match="diverged"):
        list(generate_ids(broken, [0], use_cache=False))
