"""The public names: what they are, what they import, and what they say where torch is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cs336


def python(code: str) -> str:
    """Runs code in a fresh interpreter, because what is imported here already would hide what it imports."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there_at_every_time():
    """A module of the same name would take the place of a function on its first import."""
    python(
        "import importlib, pkgutil, types, cs336\n"
        "def check():\n"
        "    for name in cs336.__all__:\n"
        "        assert not isinstance(getattr(cs336, name), types.ModuleType), name\n"
        "check(); check()\n"
        "for module in pkgutil.walk_packages(cs336.__path__, 'cs336.'):\n"
        "    if module.name != 'cs336.__main__': importlib.import_module(module.name)\n"
        "check()\n"
    )


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'cs336' has no attribute 'tokeniser'"):
        cs336.tokeniser  # noqa: B018
    assert set(cs336.__all__) <= set(dir(cs336))


HEAVY = {"torch", "numpy", "rich", "click", "pydantic", "matplotlib"}
# numpy: an array of ids is one of the tokenizer's results; all else it does without.
TOKENIZER = (
    "tokenizer = cs336.train_bpe_from_iterator(['the cat, the hat'], 258); "
    "assert tokenizer.decode(tokenizer.encode('the bat')) == 'the bat'"
)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("", set()),
        ("cs336.ModelConfig", set()),
        (TOKENIZER, {"numpy"}),
        ("import cs336.data; cs336.data.stories", set()),
        ("import cs336.experiments.unicode", set()),
        ("import cs336.accounting, cs336.accounting.tables, cs336.accounting.chart", set()),
    ],
)
def test_what_an_import_costs(code, allowed):
    loaded = python(f"import sys, cs336; {code}\nprint(*sys.modules)").split()
    assert HEAVY & set(loaded) <= allowed


@pytest.mark.parametrize(
    ("package", "code", "what"),
    [
        ("torch", "cs336.TransformerLM", "cs336.TransformerLM"),
        ("torch", "cs336.generate", "cs336.generate"),
        ("torch", "from cs336 import train", "cs336.train"),
        ("torch", "import cs336.nn", "cs336.nn"),
        ("torch", "import cs336.optim", "cs336.optim"),
        ("torch", "import cs336.training", "cs336.training"),
        ("torch", "from cs336.data import get_batch", "cs336.data.get_batch"),
        ("pydantic", "from cs336.training.config import make_config; make_config({})", "a configuration"),
    ],
)
def test_a_missing_package_is_named_with_the_command_to_get_it(package, code, what):
    message = python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "import cs336\n"
        f"try:\n    {code}\nexcept cs336.Cs336Error as error:\n    print(error, isinstance(error, ImportError))\n"
    )
    assert message == f"{what} needs {package}, which is not installed; get it with: pip install 'cs336[torch]' True\n"


def test_there_is_one_version():
    root = Path(__file__).parents[1]
    cargo = tomllib.loads((root / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["version"]
    assert cs336.__version__ == cargo
    assert f"\nversion: {cargo}\n" in (root / "CITATION.cff").read_text("utf-8")
