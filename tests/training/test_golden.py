"""Golden loss curves: three short runs on built-in stories go as they went when they were recorded.

Between them the runs use every optimizer and schedule, and most switches of the model. In float64 kernels for other
CPUs, with and without AVX, moved a curve by up to 8e-10 of its values; in float32, on the same machine, it lay up to
1e-6 off. The tolerances are a hundred and twenty times that, and still far below what a wrong detail of model,
optimizer or loop does: the last test tries many of them.

To record again after a change that is meant:  python tests/training/test_golden.py
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cs336.data import get_batch, stories
from cs336.nn import RotaryPositionalEmbedding, TransformerLM, functional
from cs336.optim import AdamW, sgd
from cs336.tokenizer import train_bpe_from_iterator
from cs336.training import RunConfig, loop, make_config, optimizers, step, train
from cs336.training.metrics import read_rows

GOLDEN = Path(__file__).with_name("golden_losses.json")
TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-5}
STEPS = 30
MODEL = {"vocab_size": 300, "context_length": 32, "d_model": 32, "num_layers": 2, "num_heads": 2}
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "adamw": {
        "model": {},
        "optimizer": {"lr": 0.01, "warmup_steps": 4, "grad_clip": 0.5},
        "training": {"grad_accumulation": 2},
    },
    "muon": {
        "model": {"positions": "learned", "ffn": "gelu", "norm": "layer", "bias": True, "tie_embeddings": True,
                  "qk_norm": True, "attention": "reference"},
        "optimizer": {"name": "muon", "lr": 0.01, "schedule": "wsd", "min_lr": 0.0},
        "training": {},
    },
    "sgd": {
        "model": {"positions": "none", "ffn": "relu2", "norm_placement": "post", "parallel": True},
        "optimizer": {"name": "sgd", "lr": 0.3, "schedule": "constant", "warmup_steps": 10, "grad_clip": 0.0},
        "training": {},
    },
}  # fmt: skip

Curve = dict[str, list[float]]


@cache
def story_tokens() -> np.ndarray:
    texts = [text + "<|endoftext|>" for text in stories(40, seed=0)]
    return train_bpe_from_iterator(texts, 300, ["<|endoftext|>"]).encode_numpy("".join(texts))


class Settled(TransformerLM):
    """Starts from weights that depend on no random generator of torch, which may draw otherwise in another version."""

    def reset_parameters(self) -> None:
        rng = np.random.default_rng(0)
        for name, parameter in self.named_parameters():
            values = rng.normal(1.0 if "norm" in name or "ln" in name else 0.0, 0.1, parameter.shape)
            parameter.data = torch.from_numpy(values).to(parameter.dtype)


def config_of(name: str, folder: Path, overrides: dict[str, Any]) -> RunConfig:
    tokens = story_tokens()
    np.save(folder / "train.npy", tokens[2000:])
    np.save(folder / "valid.npy", tokens[:2000])
    sections = {
        "model": MODEL,
        "data": {"train": str(folder / "train.npy"), "valid": str(folder / "valid.npy")},
        "optimizer": {},
        "training": {"steps": STEPS, "batch_size": 8, "eval_every": STEPS, "checkpoint_every": STEPS, "device": "cpu"},
    }
    for changes in (RUNS[name], overrides):
        sections = {section: values | changes.get(section, {}) for section, values in sections.items()}
    return make_config(sections)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def curve(name: str, dtype: torch.dtype = torch.float64, report: loop.Report | None = None, **overrides: Any) -> Curve:
    """The curve of a run, with other values for some keys of its configuration."""
    with (
        tempfile.TemporaryDirectory() as folder,
        default_dtype(dtype),
        mock.patch.object(step, "TransformerLM", Settled),
        mock.patch.object(loop, "plot_losses"),
    ):
        config = config_of(name, Path(folder), overrides)
        train(config, Path(folder, "run"), report=report)
        rows = read_rows(Path(folder, "run", "metrics.jsonl"))
    return {key: [row[key] for row in rows if key in row] for key in ("loss", "grad_norm", "valid_loss")}


def distance(mine: Curve, golden: Curve) -> float:
    """The greatest relative difference between two curves."""
    return max(abs(a / b - 1) for key in golden for a, b in zip(mine[key], golden[key], strict=True))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    found = hashlib.sha256(story_tokens().tobytes()).hexdigest()
    assert found == recorded["tokens"], "the stories or their tokens have changed, so the curves must be recorded again"
    return recorded


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", RUNS)
def test_the_curves_are_the_recorded_ones(golden: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    assert distance(curve(name, dtype), golden[name]) < TOLERANCE[dtype]


def test_pytorchs_own_parts_give_the_recorded_curve(golden: dict[str, Any], tmp_path: Path) -> None:
    """The record is right, not only old: the run named adamw, from what PyTorch brings."""
    with default_dtype(torch.float64):
        config = config_of("adamw", tmp_path, {})
        weights = {n: p.detach().requires_grad_() for n, p in Settled(config.model).named_parameters()}
        matrices = [p for p in weights.values() if p.dim() == 2]
        vectors = [p for p in weights.values() if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
        losses = []
        for step in range(1, STEPS + 1):
            rng = np.random.default_rng([0, step])
            inputs, targets = get_batch(np.load(tmp_path / "train.npy"), 8, 32, "cpu", rng=rng)
            loss = F.cross_entropy(llama(weights, inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), 0.5)
            fraction = (step - 4) / (STEPS - 4)
            for group in optimizer.param_groups:
                cosine = 0.001 + 0.009 * 0.5 * (1 + math.cos(math.pi * fraction))
                group["lr"] = 0.01 * step / 4 if step < 4 else cosine
            optimizer.step()
            losses.append(loss.item())
    # The loss of the loop is the sum of two halves, in float32.
    assert losses == pytest.approx(golden["adamw"]["loss"], rel=1e-6)


def llama(w: dict[str, Tensor], ids: Tensor) -> Tensor:
    x = w["token_embeddings.weight"][ids]
    angles = torch.outer(torch.arange(32.0), 10000.0 ** (-torch.arange(0, 16, 2) / 16))
    turn = torch.polar(torch.ones_like(angles), angles)
    for i in range(2):
        layer = {name.removeprefix(f"layers.{i}."): value for name, value in w.items()}
        h = F.rms_norm(x, (32,), layer["ln1.weight"], 1e-5)
        q, k, v = (F.linear(h, layer[f"attn.{n}_proj.weight"]).unflatten(-1, (2, 16)).transpose(1, 2) for n in "qkv")
        q, k = (torch.view_as_real(torch.view_as_complex(t.unflatten(-1, (8, 2))) * turn).flatten(-2) for t in (q, k))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(heads.transpose(1, 2).flatten(2), layer["attn.output_proj.weight"])
        h = F.rms_norm(x, (32,), layer["ln2.weight"], 1e-5)
        gated = F.silu(F.linear(h, layer["ffn.w1.weight"])) * F.linear(h, layer["ffn.w3.weight"])
        x = x + F.linear(gated, layer["ffn.w2.weight"])
    return F.linear(F.rms_norm(x, (32,), w["ln_final.weight"], 1e-5), w["lm_head.weight"])


def turn_halves(self: RotaryPositionalEmbedding, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
    """RoPE as GPT-NeoX pairs: i with i + d / 2."""
    cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def decay_after_the_step(self: AdamW, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    adamw_update(self, parameter, gradient, group | {"weight_decay": 0.0})
    parameter.mul_(1 - group["lr"] * group["weight_decay"])


def no_correction_of_bias(self: AdamW, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    state = self.state[parameter]
    if state:
        state["t"] = 10**6
    adamw_update(self, parameter, gradient, group)


def decay_in_the_gradient(self: AdamW, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    adamw_update(self, parameter, gradient + group["weight_decay"] * parameter, group | {"weight_decay": 0.0})


def a_step_late(number: int, *rest: Any) -> float:
    return learning_rate(number - 1, *rest)


adamw_update, learning_rate = AdamW._update, optimizers.learning_rate
READABLE = (optimizers, "AdamW", partial(AdamW, fused=False))
ROOT_IS_ONE = SimpleNamespace(sqrt=lambda x: 1.0)
WRONG: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "another eps of AdamW": ("adamw", {"optimizer": {"eps": 1e-9}}, []),
    "another beta": ("adamw", {"optimizer": {"betas": [0.9, 0.951]}}, []),
    "no decay": ("adamw", {"optimizer": {"weight_decay": 0.0}}, []),
    "decay of norms too": ("adamw", {"optimizer": {"decay_all": True}}, []),
    "decay after the step": ("adamw", {}, [READABLE, (AdamW, "_update", decay_after_the_step)]),
    "decay in the gradient": ("adamw", {}, [READABLE, (AdamW, "_update", decay_in_the_gradient)]),
    "no correction of bias": ("adamw", {}, [READABLE, (AdamW, "_update", no_correction_of_bias)]),
    "no clipping": ("adamw", {"optimizer": {"grad_clip": 0.0}}, []),
    "a rate that comes a step late": ("adamw", {}, [(step, "learning_rate", a_step_late)]),
    "other batches": ("adamw", {"training": {"seed": 1}}, []),
    "RoPE on halves": ("adamw", {}, [(RotaryPositionalEmbedding, "forward", turn_halves)]),
    "another theta": ("adamw", {"model": {"rope_theta": 10001.0}}, []),
    "another eps of RMSNorm": ("adamw", {"model": {"norm_eps": 1.1e-5}}, []),
    "GELU for SiLU": ("adamw", {}, [(F, "silu", F.gelu)]),
    "one layer less": ("adamw", {"model": {"num_layers": 1}}, []),
    "an approximate GELU": ("muon", {"model": {"ffn": "gelu_tanh"}}, []),
    "another eps of LayerNorm": ("muon", {"model": {"norm_eps": 1.1e-5}}, []),
    "attention without its scale": ("muon", {}, [(functional, "math", ROOT_IS_ONE)]),
    "a head of its own": ("muon", {"model": {"tie_embeddings": False}}, []),
    "no norm of queries and keys": ("muon", {"model": {"qk_norm": False}}, []),
    "another rate for the matrices": ("muon", {"optimizer": {"muon_lr": 0.0201}}, []),
    "a decay that begins late": ("muon", {"optimizer": {"decay_fraction": 0.17}}, []),
    "norms before": ("sgd", {"model": {"norm_placement": "pre"}}, []),
    "one sublayer after the other": ("sgd", {"model": {"parallel": False}}, []),
    "SGD without the root": ("sgd", {}, [(sgd, "math", ROOT_IS_ONE)]),
}


class Shown(Exception):  # noqa: N818  it is what should happen
    pass


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_detail_shows(golden: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, overrides, changes = WRONG[what]
    for owner, attribute, other in changes:
        monkeypatch.setattr(owner, attribute, other)

    def compare(row: dict[str, Any]) -> None:
        for key in set(row) & {"loss", "grad_norm"}:
            if abs(row[key] / golden[name][key][row["step"] - 1] - 1) > 3 * TOLERANCE[torch.float64]:
                raise Shown

    with pytest.raises(Shown):  # as soon as it shows, to save the other steps
        curve(name, report=compare, **overrides)


if __name__ == "__main__":
    record = {"tokens": hashlib.sha256(story_tokens().tobytes()).hexdigest()} | {name: curve(name) for name in RUNS}
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
