from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from cs336.config import ModelConfig
from cs336.nn import TransformerLM
from cs336.optim import SGD, AdamW, Muon, clip_grad_norm, constant_schedule, cosine_schedule, wsd_schedule
from cs336.optim.muon import orthogonalize
from cs336.training import OptimizerConfig
from cs336.training.optimizers import make_optimizers


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(7, 11), torch.nn.GELU(), torch.nn.Linear(11, 3))


def train(optimizer_of, steps: int, dtype: torch.dtype) -> list[torch.Tensor]:
    net = model().to(dtype)
    optimizer = optimizer_of(net.parameters())
    data = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(5, 7, generator=data, dtype=dtype)
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("fused", [False, True, None])
def test_adamw_equals_torch(dtype: torch.dtype, tolerance: float, weight_decay: float, fused: bool | None) -> None:
    settings = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": weight_decay}
    ours = train(lambda p: AdamW(p, **settings, fused=fused), 300, dtype)
    theirs = train(lambda p: torch.optim.AdamW(p, **settings), 300, dtype)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("fused", [False, True])
def test_a_parameter_without_a_gradient_stays_as_old_as_it_was(fused: bool) -> None:
    first, second = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    optimizer = AdamW([first, second], lr=0.1, fused=fused)
    for step in range(4):
        first.grad = torch.full_like(first, step + 1.0)
        second.grad = torch.full_like(second, step) if step % 2 else None
        optimizer.step()
    assert [optimizer.state[parameter]["t"] for parameter in (first, second)] == [4, 2]
    alone = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    twin = torch.optim.AdamW([alone], lr=0.1)
    for gradient in (1.0, 3.0):
        alone.grad = torch.full_like(alone, gradient)
        twin.step()
    torch.testing.assert_close(second, alone)


def test_the_kernel_goes_on_from_the_state_of_the_formula() -> None:
    ends = []
    for kinds in ([False, False], [False, True], [True, False], [None, None]):
        net = model().double()
        state = None
        for fused in kinds:
            optimizer = AdamW(net.parameters(), lr=3e-3, fused=fused)
            if state is not None:
                optimizer.load_state_dict(state)
            for _ in range(5):
                optimizer.zero_grad()
                net(torch.ones(5, 7, dtype=torch.float64)).square().sum().backward()
                optimizer.step()
            state = optimizer.state_dict()
        ends.append([parameter.detach() for parameter in net.parameters()])
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-12, atol=1e-12)


def test_no_optimizer_imports_the_compiler() -> None:
    code = """
import sys, torch
from cs336.config import ModelConfig
from cs336.nn import TransformerLM
from cs336.optim import SGD, AdamW, Muon
for kind in (SGD, AdamW, Muon):
    net = torch.nn.Linear(3, 3, bias=False)
    optimizer = kind(net.parameters())
    net(torch.ones(3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True
    )  # a process, because torch may have imported it in this one


def test_a_closure_is_called_with_gradients() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert SGD([weight], lr=0.5).step(closure) == 9.0
    assert weight.item() == 0.0


def test_sgd_decays_with_the_root_of_the_step() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = SGD([weight], lr=0.5)
    for _ in range(3):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.item() == pytest.approx(1 - 0.5 * (1 + 1 / math.sqrt(2) + 1 / math.sqrt(3)))


def test_muon_orthogonalizes_and_learns() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(8, 20), steps=8))
    assert values.min() > 0.6
    assert values.max() < 1.3
    target = torch.randn(6, 4)
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([weight], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * target.square().sum().item()
    with pytest.raises(ValueError, match="takes matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))])


def test_cosine_schedule() -> None:
    rates = [cosine_schedule(t, 1.0, 0.1, 7, 21) for t in range(25)]
    assert rates[:8] == pytest.approx([t / 7 for t in range(8)])
    assert rates[14] == pytest.approx(0.55)
    assert rates[21:] == pytest.approx([0.1] * 4)
    assert cosine_schedule(0, 1.0, 0.1, 0, 10) == 1.0


def test_other_schedules() -> None:
    assert [wsd_schedule(t, 1.0, 0.0, 2, 4, 6) for t in range(8)] == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0, 0])
    assert [constant_schedule(t, 2.0, 2) for t in range(4)] == pytest.approx([0, 1, 2, 2])


def test_clipping_equals_torch_and_passes_over_frozen_parameters() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(4, 3)) for _ in range(3)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    ours[2].requires_grad_(False)
    theirs[2].requires_grad_(False)
    for parameters in (ours, theirs):
        sum((p**3).sum() for p in parameters if p.requires_grad).backward()
    norm = clip_grad_norm(ours, 0.01)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.01)
    torch.testing.assert_close(norm, expected)
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    assert clip_grad_norm([], 1.0).item() == 0


@pytest.mark.parametrize(("first", "limit"), [(3.0, 9.0), (3.0, math.inf), (math.nan, 9.0), (math.inf, 9.0)])
def test_what_need_not_be_clipped_stays_and_what_is_not_finite_spreads(first: float, limit: float) -> None:
    ours, theirs = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    for parameter in (ours, theirs):
        parameter.grad = torch.tensor([first, 4.0, 0.1])
    torch.testing.assert_close(
        clip_grad_norm([ours], limit), torch.nn.utils.clip_grad_norm_([theirs], limit), equal_nan=True
    )
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("arguments", [{"lr": -1.0}, {"betas": (1.0, 0.9)}, {"eps": -1.0}, {"weight_decay": -0.1}])
def test_nonsense_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        AdamW([torch.nn.Parameter(torch.zeros(1))], **arguments)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_each_weight_has_the_rate_and_the_decay_of_its_kind(name: str, tie_embeddings: bool) -> None:
    net = TransformerLM(
        ModelConfig(
            vocab_size=9, context_length=4, d_model=8, num_layers=1, num_heads=2, positions="learned",
            tie_embeddings=tie_embeddings,
        )
    )  # fmt: skip
    settings = OptimizerConfig(name=name, lr=0.1, embedding_lr=0.3, muon_lr=0.2, weight_decay=0.05)
    found = {
        id(parameter): (type(optimizer), group["peak_lr"], group["weight_decay"])
        for optimizer in make_optimizers(net, settings)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    in_layers = (Muon, 0.2, 0.05) if name == "muon" else (AdamW, 0.1, 0.05)
    expected = {"token_embeddings": (AdamW, 0.3, 0.05), "position_embeddings": (AdamW, 0.3, 0.05)}
    expected |= {"lm_head": (AdamW, 0.1, 0.05), "ln_final": (AdamW, 0.1, 0.0)}
    for parameter_name, parameter in net.named_parameters():
        kind = parameter_name.split(".")[0]
        if kind == "layers":
            assert found[id(parameter)] == (in_layers if parameter.ndim == 2 else (AdamW, 0.1, 0.0)), parameter_name
        else:
            assert found[id(parameter)] == expected[kind], parameter_name
    assert len(found) == len(list(net.parameters()))
