"""Tools that Anthropic defines and the client runs, as functions: their schemas are known to Anthropic's models only.

Sources: Anthropic's documentation, "Bash tool", "Text editor tool", "Memory tool".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_RANGE = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2, "description": "First and last line."}
_EDITS = {
    "path": {"type": "string", "description": "Absolute path of a file or directory."},
    "file_text": {"type": "string", "description": "Content of the new file, for `create`."},
    "old_str": {"type": "string", "description": "Text to replace, which occurs once, for `str_replace`."},
    "new_str": {"type": "string", "description": "Text to put in its place, for `str_replace`."},
    "insert_line": {"type": "integer", "description": "Line after which text is inserted, for `insert`."},
    "insert_text": {"type": "string", "description": "Text to insert, for `insert`."},
    "view_range": _RANGE,
}
_EDITOR = ("view", "create", "str_replace", "insert")


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _commands(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


_DEFINED: Mapping[str, tuple[str, dict[str, Any]]] = {  # by the start of the type: description and schema
    "bash_": (
        "Runs a command in a persistent bash session. `restart` restarts the session.",
        _object({"command": _TEXT, "restart": {"type": "boolean"}}),
    ),
    "text_editor_": (
        "Views, creates and edits text files.",
        _object({"command": _commands(*_EDITOR), **_EDITS}, "command", "path"),
    ),
    "memory_": (
        "Stores and reads files in the directory /memories, which stays from one conversation to the next. "
        "View the directory before you start a task.",
        _object(
            {
                "command": _commands(*_EDITOR, "delete", "rename"),
                **_EDITS,
                "old_path": {"type": "string", "description": "For `rename`."},
                "new_path": {"type": "string", "description": "For `rename`."},
            },
            "command",
        ),
    ),
}


def defined_function(tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the function of a chat for a tool that Anthropic defines and the client runs; `None` for others."""
    kind, name = tool.get("type"), tool.get("name")
    for start, (description, schema) in _DEFINED.items():
        if isinstance(kind, str) and kind.startswith(start) and isinstance(name, str) and name:
            return {"name": name, "description": description, "parameters": schema}
    return None
