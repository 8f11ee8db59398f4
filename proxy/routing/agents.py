"""Whether a caller may use the agent of a call: by the agent's name, or by the models that it leads to."""

from __future__ import annotations

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, NotAllowed
from proxy.routing.names import Rule, shown
from proxy.routing.permitted import may_use


def check_agent(call: Call, rule: Rule) -> None:
    """Check the agent of a call whose route, `rule`, is permitted.

    Raises `NotAllowed` if the caller may not use an agent whose model the request replaces, and `InvalidRequest` if
    the values of its variables are invalid, or the call is one to which agents are not applied.
    """
    use = call.agent
    if use is None:
        if rule.agent:
            raise InvalidRequest(f"`model`: {shown(rule.agent)} is an agent, which answers chats only.", param="model")
        return
    name = use.agent.name
    if use.own_model and call.principal.models and not may_use(call.snapshot, name, call.principal):
        raise NotAllowed(f"The agent {shown(name)} is not allowed.", param="prompt.id", code="model_not_allowed")
    if use.problem is not None:
        raise use.problem


def check_fallback(rule: Rule, param: str) -> None:
    """Raise `InvalidRequest` if a fallback is an agent: its instructions would not be applied."""
    if rule.agent:
        raise InvalidRequest(f"`{param}`: `{rule.agent}` is an agent, which cannot be a fallback.", param=param)
