"""Types of numbers: what matrix products are computed in, and the scaling that float16 needs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from cs336.errors import ConfigError
from cs336.training.config import TrainingConfig

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # from malloc.h

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def set_up_torch(training: TrainingConfig, device: torch.device) -> None:
    """Sets what holds for all of torch: TF32 on or off, deterministic kernels or the fastest, freed memory kept."""
    if training.dtype == "tf32" and device.type != "cuda":
        raise ConfigError(f"training.dtype tf32 is a mode of CUDA devices, and this is {device}; use float32")
    keep_freed_memory(device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # so that pinned memory and meters of memory, which name none, are of this one
    torch.set_float32_matmul_precision("high" if training.dtype == "tf32" else "highest")
    if training.deterministic:
        # Read by cuBLAS when it starts; without it, torch refuses deterministic matrix products.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != training.deterministic:
        # Asked first, because telling torch what is so already would import its compiler, which takes seconds.
        torch.use_deterministic_algorithms(training.deterministic)


def keep_freed_memory(device: torch.device) -> None:
    """On the CPU under glibc, keeps the memory of freed tensors for the next ones.

    By default large blocks go back to the system and come again as pages that it has to clear: of each step of a model
    of 17 million parameters a twelfth. Elsewhere nothing is changed.
    """
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**25)  # the greatest it takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Matrix products in ``dtype``; weights, norms and the loss stay in float32."""
    return torch.autocast(device.type, dtype, enabled=dtype in (torch.bfloat16, torch.float16))


class LossScale:
    """Keeps gradients inside float16's narrow range, by a power of 2 on the loss (Micikevicius et al. 2018).

    Halved when a gradient overflows, and that step is left out; doubled after ``patience`` good steps. For other types
    it stays 1 and changes nothing.
    """

    def __init__(self, dtype: torch.dtype, patience: int = 1000) -> None:
        self.active = dtype == torch.float16
        self.value = 2.0**16 if self.active else 1.0
        self.patience = patience
        self.good_steps = 0

    def unscale(self, gradients: Iterable[Tensor]) -> None:
        """Divides gradients of the scaled loss by the scale, in place."""
        if self.active:
            for gradient in gradients:
                gradient.mul_(1 / self.value)

    def succeeded(self) -> None:
        """After a step whose gradient was finite."""
        if self.active:
            self.good_steps += 1
            if self.good_steps % self.patience == 0:
                self.value *= 2

    def shrink(self) -> bool:
        """After one that overflowed: tries half the scale. False where there is none to blame."""
        if not self.active or self.value <= 1:
            return False
        self.value, self.good_steps = self.value / 2, 0
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"value": self.value, "good_steps": self.good_steps} if self.active else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Puts it back."""
        if self.active and state:
            self.value, self.good_steps = state["value"], state["good_steps"]
