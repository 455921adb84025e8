"""What graphics cards can do at most, from NVIDIA's data sheets and white papers of each.

Operations a second are dense ones: where a sheet counts with sparsity, half of what it says. float32 is the rate of
plain cores, tf32 and the narrow types that of tensor cores with sums in float32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cs336.accounting.checks import one_of
from cs336.accounting.precision import DTYPES
from cs336.errors import ConfigError

__all__ = ["DEVICES", "Device", "find_device"]

GB, TERA = 10**9, 10**12


@dataclass(frozen=True)
class Device:
    """A card: memory in bytes, memory's bytes a second, and operations a second by number type."""

    name: str
    memory: int
    bandwidth: float
    peak_flops: dict[str, float] = field(hash=False)

    def peak(self, dtype: str) -> float:
        """Operations a second in a type; ConfigError where the card does not have it."""
        one_of("dtype", dtype, DTYPES)
        if dtype not in self.peak_flops:
            raise ConfigError(f"{self.name} has no {dtype}; it has {', '.join(self.peak_flops)}")
        return self.peak_flops[dtype]


def _device(name: str, memory: float, bandwidth: float, float32: float, **narrow: float) -> Device:
    rates = {"float32": float32, **narrow}
    return Device(name, round(memory * GB), bandwidth * GB, {dtype: rate * TERA for dtype, rate in rates.items()})


DEVICES = {
    device.name: device
    for device in (
        _device("v100-16gb", 16, 900, 15.7, float16=125),
        _device("v100", 32, 900, 15.7, float16=125),
        _device("t4", 16, 320, 8.1, float16=65),
        _device("rtx3090", 24, 936, 35.6, tf32=35.6, bfloat16=71, float16=71),
        _device("rtx4090", 24, 1008, 82.6, tf32=82.6, bfloat16=165.2, float16=165.2),
        _device("a10", 24, 600, 31.2, tf32=62.5, bfloat16=125, float16=125),
        _device("l4", 24, 300, 30.3, tf32=60, bfloat16=121, float16=121),
        _device("l40s", 48, 864, 91.6, tf32=183, bfloat16=362, float16=362),
        _device("a100-40gb", 40, 1555, 19.5, tf32=156, bfloat16=312, float16=312),
        _device("a100", 80, 2039, 19.5, tf32=156, bfloat16=312, float16=312),
        _device("h100-pcie", 80, 2000, 51, tf32=378, bfloat16=756, float16=756),
        _device("h100", 80, 3350, 67, tf32=494.5, bfloat16=989.4, float16=989.4),
        _device("h200", 141, 4800, 67, tf32=494.5, bfloat16=989.4, float16=989.4),
        _device("b200", 180, 8000, 80, tf32=1100, bfloat16=2250, float16=2250),
    )
}
"""Known cards by name. A name without more is the SXM model with the larger memory."""


def find_device(name: str) -> Device:
    """The card of a name from DEVICES, or of a name that CUDA gives: `NVIDIA A100-SXM4-80GB`.

    An unknown name raises ConfigError with the nearest known one.
    """
    plain = re.sub(r"nvidia|tesla|geforce", " ", str(name).lower()).replace("rtx ", "rtx")
    words = re.findall(r"[a-z0-9]+", plain)
    # Those with a variant in the name first. What else follows must be a form or a size: an "RTX 3090 Ti" or an
    # "H100 NVL" is another card.
    for known in sorted(DEVICES, key=lambda known: known.count("-"), reverse=True):
        model, *variant = known.split("-")
        rest = [word for word in words[1:] if not re.fullmatch(r"sxm\d?|pcie?|hbm\d\w?|\d+gb", word)]
        if words[:1] == [model] and not rest and set(variant) <= set(words):
            return DEVICES[known]
    return DEVICES[one_of("device", name, DEVICES)]
