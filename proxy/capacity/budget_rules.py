"""What budgets mean for one attempt: which ones apply, what they charge, and why they refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.capacity.budget_store import BudgetCharge, BudgetCounter, Refused
from proxy.core.accounts import BudgetScope
from proxy.core.body import overlaid
from proxy.core.budgets import BudgetPolicy, BudgetRule, Window, reset_text, rule_of
from proxy.core.call import Call
from proxy.core.errors import BudgetExceeded
from proxy.core.model import Deployment
from proxy.core.money import CEILINGS, completion_ceiling, output_ceiling, requested_ceiling, usd
from proxy.core.plan import Plan, Target
from proxy.core.principal import Principal

_MARGIN = 64  # tokens that the estimate of a short prompt may be wrong
_PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in total"}


def rules(principal: Principal, deployment: Deployment, policy: BudgetPolicy) -> list[BudgetRule]:
    """Return the budgets that an attempt counts in: those of the configuration, and those of the principal."""
    configured = policy.rules
    found = [rule_of(scope, id, budget) for scope, id, budget in principal.budgets]
    if configured:
        owners: tuple[tuple[BudgetScope, str | None], ...] = (
            ("total", ""),
            ("provider", deployment.provider.name),
            ("team", principal.team),
            ("user", principal.user),
            ("key", principal.key_id),
        )
        for scope, id in owners:
            if id is not None and (more := configured.get((scope, id))):
                found += more
    user = principal.user
    if policy.user is not None and user is not None and not any(rule.scope == "user" for rule in found):
        found.append(rule_of("user", user, policy.user))
    return found


def merged(pairs: Iterable[tuple[BudgetRule, Window]]) -> tuple[BudgetCharge, ...]:
    """Return one charge for each counter, with the lowest limit of each sort."""
    charges: dict[BudgetCounter, BudgetCharge] = {}
    for rule, window in pairs:
        counter = counter_of(rule, window)
        hard, soft = (rule.nusd, None) if rule.hard else (None, rule.nusd)
        if before := charges.get(counter):
            hard, soft = _lower(before.hard, hard), _lower(before.soft, soft)
        charges[counter] = BudgetCharge(counter, window.end, hard, soft)
    return tuple(charges.values())


def limited(target: Target, call: Call, plan: Plan, charges: Sequence[BudgetCharge]) -> Target:
    """Return the target with a limit of the answer's tokens, if a hard budget needs one and the request has none.

    The limit leaves space for the prompt in the context window, because providers reject requests that exceed it.
    """
    if call.endpoint not in ("chat", "completions") or all(each.hard is None for each in charges):
        return target
    body = overlaid(call.body, target.overrides) if target.overrides else call.body
    if call.endpoint == "completions":
        ceiling = completion_ceiling(body)
        if body.get("max_tokens") == ceiling:
            return target
        return Target(target.deployment, {**target.overrides, "max_tokens": ceiling})
    requested = requested_ceiling(body)
    unlimited = [name for name in CEILINGS if body.get(name) == -1 or target.overrides.get(name, 1) is None]
    if requested is not None and not unlimited:
        return target
    names = unlimited or ["max_completion_tokens" if body.get("max_tokens") is None else "max_tokens"]
    ceiling = requested or _ceiling(target.deployment, call, plan)
    return Target(target.deployment, {**target.overrides, **dict.fromkeys(names, ceiling)})


def _ceiling(deployment: Deployment, call: Call, plan: Plan) -> int:
    ceiling, window = output_ceiling(deployment), deployment.context_window
    if window is not None and window - len(call.raw) < ceiling:
        prompt = min(len(call.raw), plan.input_tokens + plan.input_tokens // 4 + _MARGIN)
        ceiling = max(1, min(ceiling, window - prompt))
    return ceiling


def counter_of(rule: BudgetRule, window: Window) -> BudgetCounter:
    """Return the counter of a budget in one window."""
    return BudgetCounter(rule.scope, rule.id, rule.period, window.start)


def name_of(counter: BudgetCounter) -> str:
    """Return the budget's name in messages: `user/alice`, `total`."""
    return f"{counter.scope}/{counter.id}" if counter.id else counter.scope


def exceeded_error(refused: Refused, nusd: int, now: float) -> BudgetExceeded:
    """Return the client's error if `nusd` do not fit; `now` is in seconds since 1970."""
    charge, spending = refused.charge, refused.spending
    counter = charge.counter
    limit = f"The budget `{name_of(counter)}` of {_usd(charge.hard or 0)} USD {_PERIODS[counter.period]}"
    if spending.closed:
        why = "is closed, because an attempt cost more than its bound"
    else:
        why = f"does not allow this call, which may cost {_usd(nusd)} USD"
    state = f"{_usd(spending.spent)} USD are spent and {_usd(spending.reserved)} USD are reserved by running calls"
    resets = reset_text(Window(counter.start, charge.end))
    when = f"It resets at {resets}." if resets else "It does not reset."
    seconds = None if charge.end is None else max(1.0, charge.end - now)
    return BudgetExceeded(f"{limit} {why}: {state}. {when}", retry_after=seconds)


def unbounded_error(counter: BudgetCounter, deployment: Deployment) -> BudgetExceeded:
    """Return the client's error if the cost of an attempt has no known bound."""
    model, name = deployment.name, name_of(counter)
    start = f"The budget `{name}` allows only calls whose cost has a bound, and"
    if deployment.billed_price is None:
        return BudgetExceeded(f"{start} `{model}` has no price; configure its `price` (0 if it is free).")
    if deployment.kind in ("image", "audio"):
        return BudgetExceeded(f"{start} the cost of `{model}` has none; only soft budgets allow images and audio.")
    return BudgetExceeded(
        f"{start} the most tokens of this call to `{model}` are unknown; configure `context_window` of the model, and "
        "use neither tools that the provider runs nor web search, nor a service tier without a price."
    )


def _lower(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _usd(nusd: int) -> str:
    """Return dollars for a message: at least cents, and no more digits than needed."""
    text = f"{usd(nusd):.9f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"
