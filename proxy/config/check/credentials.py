"""Checks for implausible credentials: references that are not expanded, quotes, placeholders, repeated keys.

Messages contain variable names and ids, never values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.catalogue.lookup import vendor_of
from proxy.config.check.validate import Finding
from proxy.config.settings.keys import key_id
from proxy.config.yaml.read import Path
from proxy.core.dialects import DIALECTS

_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
_CAPITALS = r"[A-Z_][A-Z0-9_]{2,99}"  # upper case only: lower case could be a password
_REFERENCE = re.compile(
    rf"""os\.environ(?:\.get)?[/.\[(]+['"]?({_NAME})['"]?[\])]* | (?:os\.)?getenv\(['"]?({_NAME})['"]?\)
    | process\.env[.\[]['"]?({_NAME})['"]?\]? | (?:ENV|env)[:./\[(]+['"]?({_NAME})['"]?[\])]*
    | \$\(?({_CAPITALS})\)? | \$\(?([a-z][a-z0-9_]*_(?:key|token|secret))\)? | \$\{{({_NAME})\}} | %({_CAPITALS})%
    | \{{{{?\s*(?:env\.|secrets\.)?({_CAPITALS})\s*\}}}}? | <({_CAPITALS})> | secrets\.({_NAME})
    | ([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET))""",
    re.ASCII | re.VERBOSE,
)
_PLACEHOLDER = re.compile(
    r"(?i)(?:sk-|gsk_|xai-)?(?:x{4,}|\.{3,}|\*{3,}|your[-_ ].*|<.*>|\[.*\]|change[-_]?me.*|replace[-_]?me.*|todo|"
    r"placeholder|insert[-_].*|my[-_](?:api[-_])?key)"
)
# references to secret stores, from which Signalbox fetches nothing
_PLACE = re.compile(
    r"(?:file:|vault:|op://|arn:aws:|projects/[^/]+/secrets/|@Microsoft\.KeyVault|/(?:run|var|etc|mnt|vault|secrets)/).+"
)
_QUOTES = "\"'`"
# key prefixes that only one vendor uses
_PREFIXES = {
    "sk-ant-": "anthropic",
    "sk-proj-": "openai",
    "sk-svcacct-": "openai",
    "gsk_": "groq",
    "AIza": "gemini",
    "xai-": "xai",
    "sk-or-": "openrouter",
}
_SHORTEST_OF_SEVERAL = 8  # characters


def credential_warnings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Warnings about the credentials in the data of a file."""
    providers = _mapping(data.get("providers"))
    for name, provider in providers.items():
        yield from _keys(("providers", name), _mapping(provider))
        for header, value in _mapping(_mapping(provider).get("headers")).items():
            bare = re.sub(r"(?i)^(?:bearer|basic)\s+", "", value) if isinstance(value, str) else ""
            if problem := _reference(bare):
                yield Finding(("providers", name, "headers", header), problem)
    yield from _repeated(providers)
    for setting, value in _mapping(data.get("auth")).items():
        if isinstance(value, str) and (problem := _reference(value.strip()) or _quoted(value.strip())):
            yield Finding(("auth", setting), problem)


def _keys(path: Path, provider: Mapping[str, Any]) -> Iterator[Finding]:
    vendor = vendor_of(_address(provider))
    keys = provider.get("keys")
    for index, key in enumerate(keys if isinstance(keys, list) else []):
        value = key.get("value") if isinstance(key, Mapping) else key
        if isinstance(value, str) and (problem := _wrong(value, vendor.name if vendor else None)):
            yield Finding((*path, "keys", index), problem)
        elif value is None and (not isinstance(key, Mapping) or "value" in key):
            yield Finding((*path, "keys", index), "has an empty value; this key is not used")


def _wrong(value: str, vendor: str | None) -> str | None:
    text = value.strip()
    if not text:
        return "has an empty value; this key is not used"
    if problem := _reference(text) or _quoted(text):
        return problem
    if _PLACE.fullmatch(text):
        return "looks like a reference to a secret store, but is sent unchanged; write `${VARIABLE}` and set that"
    several = re.split("[,;]", text)
    if len(several) > 1 and all(len(each) >= _SHORTEST_OF_SEVERAL for each in several):
        return "looks like several keys in one value; give each its own entry of `keys`"
    if vendor is not None and _PLACEHOLDER.fullmatch(text):
        return "has a value that looks like a placeholder; replace it by the key"
    owner = next((owner for prefix, owner in _PREFIXES.items() if text.startswith(prefix)), vendor)
    if vendor is not None and owner != vendor:
        return f"looks like a key of {owner}, but the address is that of {vendor}; use a key of {vendor}"
    return "has white space around its value, which is removed" if text != value else None


def _reference(text: str) -> str | None:
    """Detect a reference to a variable in a notation that Signalbox does not expand."""
    match = _REFERENCE.fullmatch(text) if len(text) <= 200 else None
    if match is None:
        return None
    variable = next(group for group in match.groups() if group)
    return f"has a value that looks like a reference to a variable, but is sent unchanged; write `${{{variable}}}`"


def _quoted(text: str) -> str | None:
    if len(text) > 1 and (text[0] in _QUOTES or text[-1] in _QUOTES):
        return "has a quotation mark at the beginning or end of its value, which is sent too; remove it"
    return None


def _repeated(providers: Mapping[str, Any]) -> Iterator[Finding]:
    """Find one key under two ids of a provider, or of two providers with one address."""
    seen: dict[tuple[str, str], str] = {}
    for name, provider in providers.items():
        address = _address(_mapping(provider)) or name
        keys = _mapping(provider).get("keys")
        for index, key in enumerate(keys if isinstance(keys, list) else []):
            value = key.get("value") if isinstance(key, Mapping) else key
            if not isinstance(value, str) or not value.strip():
                continue
            first = seen.setdefault((address, value.strip()), f"{name}.keys.{key_id(key, index)}")
            if first != f"{name}.keys.{key_id(key, index)}":
                message = f"has the same value as `{first}`; a key has one set of limits, so keep only one"
                yield Finding(("providers", name, "keys", index), message)


def _address(provider: Mapping[str, Any]) -> str | None:
    url = provider.get("base_url")
    if isinstance(url, str) and url.strip():
        return url.strip().rstrip("/")
    return next((row.default_url for name, row in DIALECTS.items() if name == provider.get("dialect")), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
