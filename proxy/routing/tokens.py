"""Counting tokens with tiktoken, where an operator has put its encoding; without it, the estimate serves.

tiktoken would fetch a missing or damaged encoding from the network. So it is only used when the folder that
`TIKTOKEN_CACHE_DIR` names already holds the right file, under the name that tiktoken gives it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import tiktoken

from proxy.core.estimate import Count, estimate_tokens

_LOG = logging.getLogger(__name__)
ENCODING = "o200k_base"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"  # of the file, as tiktoken checks it
_SOURCE = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
LONGEST = 32_768  # characters; beyond it the exact count is not worth its time


def token_counter(folder: str | None) -> Count:
    """The best counter that there is without the network. Takes a second when it loads an encoding."""
    file = Path(folder or "") / cached_name()
    if not folder or not file.is_file():
        return estimate_tokens
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        _LOG.warning("tiktoken's encoding is damaged, tokens are estimated", extra={"fields": {"file": str(file)}})
        return estimate_tokens
    return exact(tiktoken.get_encoding(ENCODING).encode_ordinary)


def cached_name() -> str:
    """What tiktoken calls the file of the encoding in its cache."""
    return hashlib.sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()


def exact(encode: Callable[[str], list[int]]) -> Count:
    """A counter by `encode`, which leaves long texts to the estimate."""

    def count(text: str) -> int:
        return len(encode(text)) if len(text) <= LONGEST else estimate_tokens(text)

    return count
