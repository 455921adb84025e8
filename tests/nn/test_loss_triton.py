"""The kernel for graphics cards does what the plain function does; here Triton's interpreter runs it on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import torch
from cs336.nn import loss, loss_triton

torch.manual_seed(0)
for vocab, columns in ((10, 16), (4096, 4096), (5000, 5056), (33_000, 33_024)):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = (5 * torch.randn(3, columns)).to(dtype)
        logits[1, : vocab - 3] = -60_000  # what counts stands in the last columns
        logits[:, vocab:] = 1000  # and this is no entry
        targets = torch.tensor([[0], [vocab - 1], [vocab // 2]])
        plain, gradient = loss.softmax_gradient(logits.clone(), targets, vocab)
        mine, written = loss_triton.softmax_gradient(logits, targets, vocab)
        assert written is logits
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)
        # A narrow number may be rounded up by the one and down by the other.
        close = {"rtol": 1e-5 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps, "atol": 1e-6}
        torch.testing.assert_close(written, gradient, **close)
        assert not written[:, vocab:].any()
print("equal")
"""


def test_equal_to_the_plain_function() -> None:
    # In a process of its own, because Triton looks at the variable when the kernel is defined.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "equal\n", done.stderr
