"""Which of a call's parameters a model refuses, as its `unsupported` says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def refused(unsupported: Collection[str], given: Mapping[str, Any]) -> list[str]:
    """The parameters to leave out of `given`, which holds no nulls.

    `a+b` stands for two that cannot be there together: `b` is left out, or `a` where it asks for nothing (1, the
    default of `temperature` and `top_p`).
    """
    found = [name for name in given if name in unsupported]
    for first, plus, second in (rule.partition("+") for rule in sorted(unsupported)):
        if plus and first in given and second in given and not {first, second} & set(found):
            found.append(first if given[first] == 1 else second)
    return found
