"""Instances of a schema, made by `hypothesis-jsonschema`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import hypothesis_jsonschema._from_schema as maker
from hypothesis import strategies as st
from hypothesis.internal.conjecture import utils


class _Many(utils.many):
    """Hypothesis's `many` with `more`, which `hypothesis-jsonschema` 0.23 calls and Hypothesis 6.170 does not have."""

    _loop: Iterator[None] | None = None

    def more(self) -> bool:
        """Whether there is another element."""
        if self._loop is None:
            self._loop = iter(self.__enter__())
        try:
            next(self._loop)
        except StopIteration:
            self.__exit__(None)
            return False
        return True


_UTILS = SimpleNamespace(**{**vars(utils), "many": utils.many if hasattr(utils.many, "more") else _Many})


@st.composite
def instances(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """An instance of a schema of draft 4 to 7; the schema stays as it is."""
    with mock.patch.object(maker, "cu", _UTILS):
        return draw(maker.from_schema(copy.deepcopy(schema)))
