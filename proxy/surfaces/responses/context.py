"""What the answer of a Responses call needs of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.surfaces.responses.tools import ToolTable


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The `Turn.context` of a Responses call, from its reader to its encoder."""

    document: Mapping[str, Any]  # the members of the client's body, with those of its agent
    tools: ToolTable
    compacts: bool = False  # the answer is a summary of the conversation
