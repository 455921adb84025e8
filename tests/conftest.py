import os
from pathlib import Path

import pytest

# Before torch is imported: the models of the tests are so small that a second thread only waits for the first, and a
# busy machine makes it wait for long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared corpora and rank files, where a checkout has them."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "shared" / "data", here / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("needs the folder shared/data beside the checkout")
