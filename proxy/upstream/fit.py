"""Fits a translated request to a target with shorter answers.

Clients of other formats than chat set a limit for every call, whatever the model: Claude Code asks for 32,000 or 64,000
tokens. Providers reject a limit that their model cannot reach, so such a call gets a smaller one.
"""

from __future__ import annotations

from proxy.core.call import Call
from proxy.core.model import Deployment
from proxy.core.plan import Target

_NAMES = ("max_completion_tokens", "max_tokens")
_BYTES_PER_TOKEN = 3  # of the input: rather too few, so that its tokens are not estimated too low
_LEAST = 4096  # tokens of an answer, if the input seems to fill the window, as images do


def fitted(target: Target, call: Call) -> Target:
    """Return the target with a limit that its model accepts, if that of the translated `call` is too large."""
    name = next((name for name in _NAMES if call.body.get(name) is not None), None)
    if name is None or any(name in target.overrides for name in _NAMES):
        return target
    limit, longest = call.body[name], longest_answer(target.deployment, len(call.raw))
    if type(limit) is not int or longest is None or limit <= longest:
        return target
    return Target(target.deployment, {**target.overrides, name: longest})


def longest_answer(deployment: Deployment, size: int) -> int | None:
    """Return the most tokens of an answer to a request of `size` bytes; `None` if nothing is known of the model."""
    window = deployment.context_window
    room = None if window is None else max(window - size // _BYTES_PER_TOKEN, min(window, _LEAST))
    return min([number for number in (deployment.max_output, room) if number is not None], default=None)
