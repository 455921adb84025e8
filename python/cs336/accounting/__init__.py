"""Parameters, operations, memory and time of a model, as formulas that can be read, printed and computed.

It knows configurations (`cs336.ModelConfig`) only, and needs neither torch nor anything else. In reading order:

    formula      polynomials in the sizes of a model, printed in letters, computed in whole numbers
    parameters   every learned tensor with its shape
    flops        every matrix product with its shape; forward, backward, a training step
    optimizers   what AdamW, Muon and SGD keep and compute
    activations  every tensor that waits for the backward pass, as the course and as PyTorch count
    memory       a * batch + b, and the largest batch
    devices      what graphics cards can do
    time         MFU, tokens a second, days
    inference    the key/value cache, and what a token costs
    writeup      a student's accounting, corrected term by term
    tables       all of this as tables: for people, CSV, Markdown, JSON
    chart        shares of operations by model size, as a picture
"""

from __future__ import annotations

from cs336.accounting.activations import Activation, activations
from cs336.accounting.devices import DEVICES, Device, find_device
from cs336.accounting.flops import (
    MatrixProduct,
    StepFlops,
    backward_flops,
    flops_by_component,
    forward_flops,
    matrix_products,
    step_flops,
)
from cs336.accounting.formula import Formula
from cs336.accounting.inference import Generation, generation, kv_cache_bytes
from cs336.accounting.memory import MemoryItem, TrainingMemory, training_memory
from cs336.accounting.optimizers import optimizer_flops
from cs336.accounting.parameters import Weight, num_parameters, parameter_formulas, parameters, weights
from cs336.accounting.time import TrainingTime, flops_per_token, mfu, training_time

__all__ = [
    "DEVICES",
    "Activation",
    "Device",
    "Formula",
    "Generation",
    "MatrixProduct",
    "MemoryItem",
    "StepFlops",
    "TrainingMemory",
    "TrainingTime",
    "Weight",
    "activations",
    "backward_flops",
    "find_device",
    "flops_by_component",
    "flops_per_token",
    "forward_flops",
    "generation",
    "kv_cache_bytes",
    "matrix_products",
    "mfu",
    "num_parameters",
    "optimizer_flops",
    "parameter_formulas",
    "parameters",
    "step_flops",
    "training_memory",
    "training_time",
    "weights",
]
