"""Token counting with tiktoken if the operator has provided its encoding, else by estimate.

tiktoken would download a missing or damaged encoding. It is therefore used only if the folder `TIKTOKEN_CACHE_DIR`
already contains the correct file, under tiktoken's name for it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from proxy.core.estimate import Count, estimate_tokens

_LOG = logging.getLogger(__name__)
ENCODING = "o200k_base"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"  # of the file, as tiktoken checks it
_SOURCE = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
LONGEST = 32_768  # characters; longer texts are estimated, because counting takes too long


def token_counter(folder: str | None) -> Count:
    """Return the best counter available offline. Loading an encoding takes about a second."""
    file = Path(folder or "") / cached_name()
    if not folder or not file.is_file():
        return estimate_tokens
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        _LOG.warning("tiktoken's encoding is damaged, tokens are estimated", extra={"fields": {"file": str(file)}})
        return estimate_tokens
    import tiktoken  # only here: it takes 2 MiB, and most services have no encoding

    return exact(tiktoken.get_encoding(ENCODING).encode_ordinary)


def cached_name() -> str:
    """Return tiktoken's name for the encoding's file in its cache."""
    return hashlib.sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()


def exact(encode: Callable[[str], list[int]]) -> Count:
    """Return a counter that uses `encode`, and the estimate for long texts."""

    def count(text: str) -> int:
        return len(encode(text)) if len(text) <= LONGEST else estimate_tokens(text)

    return count
