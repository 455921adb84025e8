"""Typed exceptions. Every message says what is wrong, where, and what to do.

Files that the operating system refuses raise Python's own ``OSError`` subclasses, with the path in the message.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ChecksumError",
    "ClusterError",
    "ConfigError",
    "CorpusError",
    "CountOverflowError",
    "CountsMismatchError",
    "Cs336Error",
    "DataError",
    "DisallowedSpecialTokenError",
    "DownloadError",
    "FormatError",
    "MemoryLimitError",
    "MissingDependencyError",
    "NetworkError",
    "NonFiniteLossError",
    "OfflineError",
    "PatternError",
    "SpecialTokenError",
    "TextEncodingError",
    "TokenIdError",
    "UnrepresentableError",
    "VocabularyError",
    "WorkerError",
]


class Cs336Error(Exception):
    """Base of everything this package raises on purpose."""


class PatternError(Cs336Error, ValueError):
    """A pre-tokenization pattern that cannot be honoured."""


class SpecialTokenError(Cs336Error, ValueError):
    """A special token that is empty, given twice, or clashes."""


class DisallowedSpecialTokenError(Cs336Error, ValueError):
    """A text contains a special token where none is allowed."""


class VocabularyError(Cs336Error, ValueError):
    """A vocabulary, its size or its merges do not make a tokenizer."""


class FormatError(Cs336Error, ValueError):
    """A file is not what its format says."""


class UnrepresentableError(Cs336Error, ValueError):
    """A file format cannot hold a tokenizer exactly, or asks for what this package can't do exactly."""


class TextEncodingError(Cs336Error, ValueError):
    """A text is not valid UTF-8."""


class CorpusError(Cs336Error, ValueError):
    """A corpus holds no text, or is not to be had as it is named."""


class ClusterError(Cs336Error, RuntimeError):
    """A cluster is not to be had, or gave up."""


class CountOverflowError(Cs336Error, OverflowError):
    """A count does not fit 64 bits."""


class CountsMismatchError(Cs336Error, ValueError):
    """Counts files that were not counted alike, and so can't be added up."""


class TokenIdError(Cs336Error, ValueError):
    """A token id is not in the vocabulary."""


class MemoryLimitError(Cs336Error, MemoryError):
    """Memory ran out, or a stated limit would be passed."""


class ConfigError(Cs336Error, ValueError):
    """A configuration that is not valid."""


class DataError(Cs336Error, ValueError):
    """A token file that cannot be trained on."""


class CheckpointError(Cs336Error, ValueError):
    """A checkpoint that is missing, damaged, or of another run."""


class NonFiniteLossError(Cs336Error, ArithmeticError):
    """The loss became NaN or infinite."""


class WorkerError(Cs336Error, RuntimeError):
    """Another process of the same run has failed."""


class DownloadError(Cs336Error, RuntimeError):
    """A file that is not to be had from where it should come."""


class NetworkError(DownloadError):
    """A server that can't be reached, or a connection that broke."""


class OfflineError(DownloadError):
    """A file that is not here, where the network may not be used."""


class ChecksumError(DownloadError):
    """A file that is not what its source says that it is."""


class MissingDependencyError(Cs336Error, ImportError):
    """A part of the package needs an extra that is not installed."""
