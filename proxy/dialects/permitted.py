"""Members of a client's body that name further models, for a caller who may not use every model.

Anthropic's `fallbacks` name models that answer if the first one declines, as OpenRouter's `models` and LiteLLM's
`fallbacks` do for chats. Anthropic's advisor and OpenAI's generation of images are tools with a model. The provider
would use these models without a check of our own.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.core.call import NativeRequest
from proxy.core.model import Provider
from proxy.core.principal import Principal

FURTHER_MODELS = ("models", "fallbacks")  # of a chat, and of an entry of such a list
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_NAME = 60  # characters


def only_permitted(
    native: NativeRequest, provider: Provider, principal: Principal
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Return the changes after which a body names no further model that its caller may not use.

    These are members to write, members to remove, and the names of what is left out. What remains of a list is written
    anew, so that a repeated name inside it cannot hide a model.
    """
    if not principal.models:
        return {}, (), ()
    write: dict[str, Any] = {}
    dropped: list[str] = []
    if fallbacks := native.member("fallbacks"):
        write["fallbacks"] = permitted_entries(fallbacks, provider, principal)
        if write["fallbacks"] != fallbacks:
            dropped.append("fallbacks")
    tools = native.member("tools")
    if isinstance(tools, list) and any(map(_names_model, tools)):
        write["tools"] = []
        for tool in tools:
            if not _names_model(tool) or _may_use(tool, provider, principal):
                write["tools"].append(tool)
            else:
                dropped.append(f"tools.{_NOT_IN_NAMES.sub('', str(tool.get('type')))[:_LONGEST_NAME]}")
    kept = {name: items for name, items in write.items() if items}
    return kept, tuple(write.keys() - kept.keys()), tuple(dict.fromkeys(dropped))


def permitted_entries(models: Any, provider: Provider, principal: Principal) -> list[Any]:
    """Return the entries of a list of models, names or objects, that a caller may use.

    A value that is no list, such as Anthropic's `"default"`, lets the provider choose them: nothing of it is left.
    """
    entries = models if isinstance(models, list) else ()
    return [entry for entry in entries if _may_use(entry, provider, principal)]


def _names_model(tool: Any) -> bool:
    return isinstance(tool, dict) and "model" in tool


def _may_use(holder: Any, provider: Provider, principal: Principal) -> bool:
    if isinstance(holder, dict):
        inner = [models for name in FURTHER_MODELS if (models := holder.get(name))]
        if any(permitted_entries(models, provider, principal) != models for models in inner):
            return False
        holder = holder.get("model")
    return isinstance(holder, str) and principal.allows((f"{provider.name}/{holder}",))
