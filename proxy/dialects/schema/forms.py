"""Cache of converted schemas, because successive calls of a conversation have the same schemas."""

from __future__ import annotations

import json
from dataclasses import dataclass

from proxy.dialects.names import Alphabet, Renaming, renaming_of
from proxy.dialects.schema.express import express
from proxy.dialects.schema.language import Language, NotExpressible, Schema
from proxy.dialects.schema.plain import is_plain

_MOST = 256
_LONGEST = 32_768  # characters of a schema that is cached


@dataclass(frozen=True, slots=True)
class Form:
    """A converted schema, its lost keywords, and its replaced member names."""

    schema: Schema
    lost: tuple[str, ...] = ()
    renaming: Renaming | None = None


class Forms:
    """Converts schemas. `members`: the member names that the target accepts; None: any."""

    def __init__(self, members: Alphabet | None = None) -> None:
        self._members = members
        self._kept: dict[tuple[Language, str], Form | NotExpressible] = {}

    def of(self, schema: Schema, language: Language) -> Form:
        """Return the converted schema, which must not be modified. Raises `NotExpressible`."""
        if is_plain(schema, language):
            return Form(schema)
        text = json.dumps(schema)
        key = (language, text)
        form = self._kept.get(key)
        if form is None:
            form = self._made(schema, language)
            if len(text) <= _LONGEST:
                if len(self._kept) >= _MOST:
                    self._kept.clear()
                self._kept[key] = form
        if isinstance(form, NotExpressible):
            raise NotExpressible(str(form))
        return form

    def _made(self, schema: Schema, language: Language) -> Form | NotExpressible:
        renaming = renaming_of(schema, self._members) if self._members else None
        try:
            found = express(schema, language, renaming.there if renaming else None)
        except NotExpressible as exc:
            return exc.with_traceback(None)
        return Form(found.schema, found.lost, renaming)
