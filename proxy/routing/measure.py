"""Expected cost and latency of a deployment for a call. Unknown values are `None`, never guessed."""

from __future__ import annotations

from proxy.core.model import Deployment
from proxy.core.money import cost_nusd, highest_cost_nusd
from proxy.core.plan import Target
from proxy.core.usage import Usage
from proxy.routing.candidates import Candidate, Query
from proxy.routing.facts import Facts

TYPICAL_OUTPUT = 1_000  # assumed tokens of an answer without a limit
_MAX_OUTPUT = 4_096  # worst case if neither client nor configuration sets a limit


def measured(query: Query, target: Target) -> Candidate:
    """Return the candidate for a target, before any filter."""
    deployment, warm = target.deployment, query.conditions.warm
    latency = query.health_of(target).latency
    cached = warm.tokens if warm is not None and warm.model == deployment.name else 0
    return Candidate(
        target,
        cost=expected_cost(deployment, query.facts, cached),
        latency=deployment.latency if latency is None else latency,
    )


def expected_output(deployment: Deployment, facts: Facts) -> int:
    """Return the expected output tokens of one answer."""
    return min(facts.max_tokens or TYPICAL_OUTPUT, deployment.max_output or TYPICAL_OUTPUT, TYPICAL_OUTPUT)


def expected_cost(deployment: Deployment, facts: Facts, cached: int = 0) -> int | None:
    """Return the nano-dollars of a typical answer; `cached` tokens of the input cost what cached ones do."""
    if deployment.price is None:
        return None
    output = expected_output(deployment, facts) * facts.choices
    tokens = facts.input_tokens
    return cost_nusd(Usage(input=tokens, output=output, cached=min(cached, tokens)), deployment.price)


def worst_cost(deployment: Deployment, facts: Facts) -> int | None:
    """Return the nano-dollars of the longest answer, with the whole prompt written to the provider's cache.

    Of prices that depend on the time, the highest one counts.
    """
    price = deployment.price
    if price is None:
        return None
    output = (facts.max_tokens or deployment.max_output or _MAX_OUTPUT) * facts.choices
    read = Usage(input=facts.input_tokens, output=output)
    written = Usage(input=facts.input_tokens, output=output, cache_write=facts.input_tokens)
    return max(highest_cost_nusd(read, price), highest_cost_nusd(written, price))


def context_needed(deployment: Deployment, facts: Facts) -> int:
    """Return the context tokens that the call needs: its input and its answer."""
    limit = None if facts.soft_limit else facts.max_tokens
    return facts.input_tokens + (limit or expected_output(deployment, facts))
