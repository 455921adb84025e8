from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared corpora and rank files, where a checkout has them."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "shared" / "data", here / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("needs the folder shared/data beside the checkout")
