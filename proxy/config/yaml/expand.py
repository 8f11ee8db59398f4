"""Expands `${VAR}` and `${VAR:-default}` in a text, once; `$${` is a literal `${`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_EXPANSION = re.compile(rf"\$\$\{{|\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}|\$\{{", re.ASCII)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its variables filled in."""

    text: str = field(repr=False)
    whole: bool  # the text consists of one expansion
    variables: tuple[str, ...]
    unset: tuple[str, ...]  # variables that are not set and have no default
    empty: tuple[str, ...]  # `unset`, and variables that are set but empty and have no default
    malformed: bool


@dataclass(frozen=True, slots=True)
class Unset:
    """The missing value of a key, with the names of the unset variables."""

    variables: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Expand variables. An unset or empty one takes its default, as in a shell; without a default it is empty."""
    variables: list[str] = []
    unset: list[str] = []
    empty: list[str] = []
    malformed = False

    def filled(match: re.Match[str]) -> str:
        nonlocal malformed
        if match[0] == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None or (default is not None and "${" in default):
            malformed = True
            return ""
        variables.append(name)
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            unset.append(name)
        if not environ.get(name):
            empty.append(name)
        return environ.get(name, "")

    first = _EXPANSION.match(text)
    whole = first is not None and first.end() == len(text) and first["name"] is not None
    filled_in = _EXPANSION.sub(filled, text)
    return Expansion(filled_in, whole, tuple(variables), tuple(unset), tuple(empty), malformed)
