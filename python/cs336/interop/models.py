"""Models in and out: folders as ``transformers`` reads and writes them, of the architectures GPT-2 and Llama.

The logits are the same on both sides up to rounding. What has no counterpart on the other side is refused by its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.data import END_OF_TEXT
from cs336.errors import CheckpointError, ConfigError, FormatError, UnrepresentableError
from cs336.extra import needs_extra
from cs336.files import explained, new_folder, whole_folder

with needs_extra("cs336.interop.models"):
    from torch import Tensor

    from cs336.config import ModelConfig
    from cs336.interop.architecture import Architecture
    from cs336.interop.gpt2 import GPT2
    from cs336.interop.llama import LLAMA
    from cs336.nn import TransformerLM
    from cs336.training.checkpoint import misfits, read_tensors, write_tensors

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer

__all__ = ["ARCHITECTURES", "architecture_of", "export_model", "import_model"]

ARCHITECTURES = {"GPT-2": GPT2, "Llama": LLAMA}
"""What can be read and written, by the names people use."""

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_GENERATION = "generation_config.json"


def export_model(model: TransformerLM, tokenizer: Tokenizer | None, folder: str | Path) -> str:
    """Write a folder that ``AutoModelForCausalLM.from_pretrained`` loads; returns the name of its architecture.

    It appears whole or not at all, with the weights in float32, and with the tokenizer's files if there is one.
    UnrepresentableError where configuration or tokenizer have no counterpart there. Dropout of a Llama's residual
    stream, for which there is no key, is left out: it would matter only for training on.
    """
    name, architecture = architecture_of(model.config)
    weights = {key: tensor.detach().float().cpu() for key, tensor in model.state_dict().items()}
    theirs = architecture.weights_to_theirs(weights, model.config)
    end = None if tokenizer is None else tokenizer.special_tokens.get(END_OF_TEXT)
    # Said even where there is none: an architecture has ids of its own, which would end texts at some other token.
    ends = {"bos_token_id": end, "eos_token_id": end}
    with whole_folder(new_folder(Path(folder))) as aside:
        write_tensors(aside / _WEIGHTS, theirs, {"format": "pt"})
        _write_json(aside / _CONFIG, architecture.config_to_theirs(model.config) | ends)
        _write_json(aside / _GENERATION, ends | {"pad_token_id": end})
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
    return name


def architecture_of(config: ModelConfig) -> tuple[str, Architecture]:
    """The architecture that a configuration is one of; UnrepresentableError with the reasons, key by key."""
    reasons = {name: architecture.unmet(config) for name, architecture in ARCHITECTURES.items()}
    for name, unmet in reasons.items():
        if not unmet:
            return name, ARCHITECTURES[name]
    listed = "; ".join(f"for {name}, {', '.join(unmet)}" for name, unmet in reasons.items())
    raise UnrepresentableError(f"this model has no counterpart in transformers: {listed}; train one of that shape")


def import_model(folder: str | Path) -> tuple[TransformerLM, Tokenizer | None]:
    """Read a folder that ``save_pretrained`` of transformers, or `export_model`, has written; on the CPU, in float32.

    Raises UnrepresentableError where the model asks for what there is not here, FormatError where a file is not what
    its name says, CheckpointError where the weights do not fit. Executes no code from the folder.
    """
    folder = Path(folder)
    with explained(folder):
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {folder}; name one that save_pretrained has written")
    config, architecture = _read_config(folder / _CONFIG)
    weights = architecture.weights_to_ours(_read_weights(folder), config, folder)
    model = TransformerLM(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # shapes
        why = misfits(weights, model.state_dict()) or error
        raise CheckpointError(
            f"{folder} does not hold the weights of its {_CONFIG}: {why}; copy or download it again"
        ) from error
    return model.eval(), _read_tokenizer(folder)


def _read_config(path: Path) -> tuple[ModelConfig, Architecture]:
    raw = _read_json(path)
    known = {architecture.model_type: architecture for architecture in ARCHITECTURES.values()}
    architecture = known.get(str(raw.get("model_type")))
    if architecture is None:
        listed = ", ".join(known)
        raise UnrepresentableError(
            f"{path}: model_type is {raw.get('model_type')!r}, and what can be read is: {listed}"
        )
    try:
        return architecture.config_to_ours(raw), architecture
    except UnrepresentableError as error:
        raise UnrepresentableError(f"{path}: {error}") from error
    except ConfigError as error:
        raise FormatError(
            f"{path} describes no {architecture.model_type}: {error}; copy or download it again"
        ) from error


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of several that an index names."""
    if (folder / _WEIGHTS).exists():
        files = [_WEIGHTS]
    elif (folder / _INDEX).exists():
        files = sorted(set(map(str, _read_json(folder / _INDEX).get("weight_map", {}).values())))
    else:
        raise CheckpointError(
            f"{folder} has no {_WEIGHTS}; where it has weights in another format, load them with transformers and "
            "write them again: model.save_pretrained(folder)"
        )
    advice = "copy or download it again"
    return {name: tensor for file in files for name, tensor in read_tensors(folder / file, advice).items()}


def _read_tokenizer(folder: Path) -> Tokenizer | None:
    from cs336.tokenizer import Tokenizer

    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_huggingface(folder / "tokenizer.json")
    pair = folder / "vocab.json", folder / "merges.txt"
    if not all(path.exists() for path in pair):
        return None
    special = [END_OF_TEXT] if END_OF_TEXT in _read_json(pair[0]) else []
    return Tokenizer.from_files(*pair, special)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with explained(path):
            raw = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} is not valid JSON: {error}; copy or download it again") from error
    if not isinstance(raw, dict):
        raise FormatError(f"{path} must hold a JSON object, not {type(raw).__name__}; copy or download it again")
    return raw


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
