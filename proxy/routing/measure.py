"""What a deployment would cost for this call and how fast it would be. `None` is unknown, and never a guess."""

from __future__ import annotations

from proxy.core.money import cost_nusd
from proxy.core.types import Deployment, Target, Usage
from proxy.routing.candidates import Candidate, Case
from proxy.routing.facts import Facts

USUAL_OUTPUT = 1_000  # tokens of an answer whose length nobody has limited
_LONG_OUTPUT = 4_096  # the worst case where neither client nor configuration says one


def measured(case: Case, target: Target) -> Candidate:
    """The candidate of a target, not yet judged."""
    deployment = target.deployment
    latency = case.health_of(target).latency
    return Candidate(
        target,
        cost=expected_cost(deployment, case.facts),
        latency=deployment.latency if latency is None else latency,
    )


def expected_output(deployment: Deployment, facts: Facts) -> int:
    """Output tokens to reckon with for one answer."""
    return min(facts.max_tokens or USUAL_OUTPUT, deployment.max_output or USUAL_OUTPUT, USUAL_OUTPUT)


def expected_cost(deployment: Deployment, facts: Facts) -> int | None:
    """Nano-dollars of a usual answer to this call."""
    if deployment.price is None:
        return None
    output = expected_output(deployment, facts) * facts.choices
    return cost_nusd(Usage(input=facts.input_tokens, output=output), deployment.price)


def worst_cost(deployment: Deployment, facts: Facts) -> int | None:
    """Nano-dollars if the answer is as long as it may be and the whole prompt is written to the provider's cache."""
    price = deployment.price
    if price is None:
        return None
    output = (facts.max_tokens or deployment.max_output or _LONG_OUTPUT) * facts.choices
    written = facts.input_tokens if price.cache_write > price.input else 0
    return cost_nusd(Usage(input=facts.input_tokens, output=output, cache_write=written), price)


def context_needed(deployment: Deployment, facts: Facts) -> int:
    """Tokens of context window that the call takes: its input and room for the answer."""
    return facts.input_tokens + (facts.max_tokens or expected_output(deployment, facts))
