from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.config import ModelConfig
from cs336.data import Sampler, document_mask, get_batch
from cs336.data.sampler import permute
from cs336.errors import DataError
from cs336.nn import TransformerLM


@given(st.integers(1, 3000), st.integers(0, 5))
def test_a_permutation_is_one(size: int, key: int) -> None:
    shuffled = permute(np.arange(size), size, [key])
    assert sorted(shuffled.tolist()) == list(range(size))
    assert permute(np.array([size // 2]), size, [key])[0] == shuffled[size // 2]


def test_permutations_look_random() -> None:
    size = 10_000
    one, other = (permute(np.arange(size), size, [key]) for key in (1, 2))
    assert np.abs(np.corrcoef(one, other)[0, 1]) < 0.05
    assert np.abs(np.corrcoef(one, np.arange(size))[0, 1]) < 0.05
    # Neighbours don't stay neighbours: by chance, 2 of 10,000 would.
    assert (np.abs(np.diff(one)) == 1).sum() < 20


def test_one_file_at_random_is_get_batch() -> None:
    tokens = np.arange(500)
    sampler = Sampler([tokens], 16, seed=3)
    windows = torch.from_numpy(sampler.windows(sampler.draw(7, 8, sampler.beginning)))
    inputs, targets = get_batch(tokens, 8, 16, "cpu", rng=np.random.default_rng([3, 7]))
    assert torch.equal(windows[:, :-1], inputs)
    assert torch.equal(windows[:, 1:], targets)


def drawn(sampler: Sampler, sizes: list[int]) -> list[tuple[int, int]]:
    position, places = sampler.beginning, []
    for step, size in enumerate(sizes, start=1):
        draw = sampler.draw(step, size, position)
        position = draw.position
        places += list(zip(draw.files.tolist(), draw.starts.tolist(), strict=True))
    return places


@given(st.lists(st.integers(9, 90), min_size=1, max_size=4), st.integers(1, 7))
def test_an_epoch_has_every_sequence_once(lengths: list[int], batch_size: int) -> None:
    files = [np.arange(length) for length in lengths]
    sampler = Sampler(files, 8, seed=0, order="epochs")
    every = [(number, start) for number, file in enumerate(files) for start in range(0, len(file) - 8, 8)]
    steps = -(-3 * len(every) // batch_size)
    places = drawn(sampler, [batch_size] * steps)
    for epoch in range(3):
        assert sorted(places[epoch * len(every) : (epoch + 1) * len(every)]) == every
    assert all(start + 8 < lengths[number] for number, start in places)
    assert places == drawn(sampler, [1] * len(places))  # where batches begin and end makes no difference


def test_epochs_are_shuffled_each_in_its_own_way() -> None:
    sampler = Sampler([np.arange(801)], 8, seed=0, order="epochs")
    places = drawn(sampler, [100, 100])
    assert places[:100] != sorted(places[:100])
    assert places[:100] != places[100:]
    assert places != drawn(Sampler([np.arange(801)], 8, seed=1, order="epochs"), [100, 100])


@pytest.mark.parametrize("order", ["random", "epochs"])
def test_weights_say_how_often_a_file_is_drawn_from(order: str) -> None:
    files = [np.arange(1000), np.arange(50_000), np.arange(300)]
    sampler = Sampler(files, 8, seed=0, order=order, weights=[3.0, 1.0, 0.0])
    places = drawn(sampler, [500] * 16)
    counts = np.bincount([file for file, _ in places], minlength=3)
    assert counts[2] == 0
    assert counts[0] / len(places) == pytest.approx(0.75, abs=0.02)
    if order == "epochs":  # each file has epochs of its own
        first = [start for file, start in places if file == 0][:124]
        assert sorted(first) == list(range(0, 992, 8))


def test_several_files_without_weights_are_one() -> None:
    sampler = Sampler([np.arange(1000), np.arange(3000)], 8, seed=0)
    places = drawn(sampler, [8000])
    assert np.mean([file for file, _ in places]) == pytest.approx(2992 / (2992 + 992), abs=0.02)
    assert all(start + 8 < (1000, 3000)[file] for file, start in places)
    with pytest.raises(DataError, match="1 weights for 2 token files"):
        Sampler([np.arange(1000), np.arange(3000)], 8, seed=0, weights=[1.0])


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("positions", ["rope", "none"])
def test_masked_documents_know_nothing_of_each_other(attention: str, positions: str) -> None:
    end = 0
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=20, context_length=12, d_model=16, num_layers=2, num_heads=2,
                         positions=positions, attention=attention)  # type: ignore[arg-type]  # fmt: skip
    model = TransformerLM(config).eval()
    first, second = torch.tensor([[3, 4, 5, end]]), torch.tensor([[7, 8, 9, end, 11, 12]])
    both = torch.cat((first, second), dim=1)
    logits = model(both, mask=document_mask(both, end))
    torch.testing.assert_close(logits[:, :4], model(first))
    # RoPE sees distances only, so the second one may begin anywhere.
    torch.testing.assert_close(logits[:, 4:8], model(second[:, :4]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[:, 8:], model(second[:, 4:]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(both)[:, 4:8], model(second[:, :4]), atol=1e-2)
