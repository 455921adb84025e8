from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import REPO, TEXT, TRAIN, VALID, Hub, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with TinyStories in small, and the library with an empty cache and in small steps."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    huggingface_hub.close_session()  # so that it looks at the environment again
    with serving(Hub({f"{REPO}/{TRAIN}": TEXT, f"{REPO}/{VALID}": b"The end.\n"})) as hub:
        yield hub
    huggingface_hub.close_session()
