"""The numbers of a profile that are kept and learned from, in a compact form: no word of a prompt can be read from it.

    version   one byte
    inputs    half-precision numbers: the standardised features, the words' sum, the score, the tasks' probabilities
    hashed    for each hashed word or pair of words, 16 bits: the bucket, and its count less one in the two highest

A classifier rounds its inputs to half precision, so that a profile that is read again equals the one that was kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from proxy.core.model import TASKS
from proxy.routing.classify.features import BUCKETS, NAMES
from proxy.routing.classify.rules import Profile

WORDS = len(NAMES)  # positions in `Profile.inputs`: the contribution of the words,
SCORE = WORDS + 1  # the score,
FIRST_TASK = SCORE + 1  # and the probabilities of the tasks
LENGTH = FIRST_TASK + len(TASKS)
VERSION = 1
_INPUTS = struct.Struct(f"<{LENGTH}e")
_HEAD = bytes((VERSION,))
_BITS = BUCKETS.bit_length() - 1


def rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Return inputs in half precision."""
    return _INPUTS.unpack(_INPUTS.pack(*values))


def pack(profile: Profile) -> bytes | None:
    """Return the kept form of a profile; `None` if its classifier gives no inputs."""
    if len(profile.inputs) != LENGTH:
        return None
    hashed = [(times - 1) << _BITS | bucket for bucket, times in profile.hashed]
    return _HEAD + _INPUTS.pack(*profile.inputs) + struct.pack(f"<{len(hashed)}H", *hashed)


def unpack(packed: bytes) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    """Return the `inputs` and the `hashed` of a kept profile. Raises `ValueError` if it is of another version."""
    end = 1 + _INPUTS.size
    if packed[:1] != _HEAD or len(packed) < end or (len(packed) - end) % 2:
        raise ValueError("the features are of another version of the classifier")
    fields: Sequence[int] = struct.unpack(f"<{(len(packed) - end) // 2}H", packed[end:])
    return _INPUTS.unpack(packed[1:end]), tuple([(field & (BUCKETS - 1), (field >> _BITS) + 1) for field in fields])
