"""The Hugging Face hub through its own library: what it states of a file, and the file's bytes. Needs `cs336[hub]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported, though not marked so
    build_hf_headers,
    disable_progress_bars,
)

from cs336.errors import ChecksumError, DownloadError, NetworkError, OfflineError

# Else requests tell which torch is installed and what tool runs them, and a list of tools is fetched for it.
constants.HF_HUB_DISABLE_TELEMETRY = True
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]  # httpx's, or httpx2's in later versions of the library
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file as the hub states it."""

    url: str
    size: int
    sha256: str


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    return constants.HF_HUB_OFFLINE


def look_up(repo: str, name: str, revision: str, endpoint: str | None = None) -> HubFile:
    """Asks the hub for a file of a dataset. The endpoint is that of ``HF_ENDPOINT``, unless given."""
    url = hf_hub_url(repo, name, repo_type="dataset", revision=revision, endpoint=endpoint)
    with _explained(url):
        stated = get_hf_file_metadata(url, token=None, endpoint=endpoint)
    if stated.size is None or not _SHA256.fullmatch(stated.etag or ""):
        raise ChecksumError(
            f"{url}: its size and SHA-256 are not stated there, so that it could not be checked; name another endpoint "
            "(HF_ENDPOINT)"
        )
    return HubFile(url, stated.size, str(stated.etag))


def fetch(file: HubFile, target: BinaryIO, done: int) -> None:
    """Appends what follows the first ``done`` bytes of a file; broken connections are taken up again a few times.

    By plain HTTP, because what the hub's faster protocol (Xet) leaves when it is stopped can't be gone on with.
    """
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}  # a range of compressed bytes would be of no use
    disable_progress_bars("huggingface_hub.http_get")
    with _explained(file.url):
        http_get(file.url, target, resume_size=done, headers=headers, expected_size=file.size)


def find_cached(repo: str, name: str, revision: str) -> tuple[Path, str] | None:
    """A file in the cache of the hub's library, and the SHA-256 under which it stands there."""
    path = try_to_load_from_cache(repo, name, repo_type="dataset", revision=revision)
    if not isinstance(path, str) or not Path(path).is_symlink():
        return None
    sha256 = Path(path).readlink().name  # the link leads to blobs/SHA256
    return (Path(path), sha256) if _SHA256.fullmatch(sha256) else None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Raises what the library raises as this package's errors, with what to do."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise OfflineError(f"{url} is not to be had while HF_HUB_OFFLINE is set; unset it") from error
    except HfHubHTTPError as error:
        raise _refusal(url, error.response.status_code) from error
    except _HTTP_ERROR as error:
        raise _broken(url, error) from error
    except OSError as error:
        if error.errno is not None:  # the disk's
            raise
        raise _broken(url, error) from error


def _refusal(url: str, status: int) -> DownloadError:
    if status in (401, 403):
        return DownloadError(
            f"{url}: the hub refuses it (status {status}); accept the dataset's conditions on its page, and set "
            "HF_TOKEN to a token of yours"
        )
    if status in (404, 410):
        return DownloadError(f"{url}: there is no such file (status {status}); check --revision and HF_ENDPOINT")
    return NetworkError(f"{url}: the hub answers with status {status}; try again later, what is here already is kept")


def _broken(url: str, error: Exception) -> NetworkError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return NetworkError(
        f"{url}: the connection failed: {reason}; check the network and HF_ENDPOINT, and start again: what is here "
        "already is kept"
    )
