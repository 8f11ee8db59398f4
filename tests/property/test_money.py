"""No answer within the bounds of its request costs more than the bound of the cost, whatever its tokens are."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.json_text import compact
from proxy.core.model import DAY, MediaPrice, Price, PriceTier, PriceTime
from proxy.core.money import cost_nusd, worst_case_nusd
from proxy.core.usage import Media, Usage, UsageBounds, bounded
from tests.support.calls import deployment

RATE = st.integers(0, 100 * 10**9)
COUNT = st.integers(0, 3_000)
NOW = 1_800_000_000 * 10**6


@st.composite
def rates(draw: st.DrawFn, **fields: Any) -> Price:
    media = st.builds(MediaPrice, RATE, RATE, RATE, RATE, RATE, RATE)
    return Price(
        draw(RATE),
        draw(RATE),
        draw(RATE),
        draw(RATE),
        cache_write_1h=draw(st.none() | RATE),
        reasoning=draw(st.none() | RATE),
        request=draw(st.integers(0, 10**7)),
        media=draw(st.none() | media),
        **fields,
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    tiers = draw(st.lists(st.builds(PriceTier, st.integers(0, 2_000), rates()), max_size=2))
    second = st.integers(0, 24).map(lambda hour: hour * DAY // 24)
    time = st.builds(PriceTime, rates(), st.sampled_from([0, NOW - 1, NOW + 1]), second, second)
    return draw(
        rates(
            tiers=tuple(sorted(tiers, key=lambda tier: tier.above)),
            times=tuple(draw(st.lists(time, max_size=2))),
            services=(("priority", draw(rates())),),
        )
    )


@st.composite
def usages(draw: st.DrawFn, longest: UsageBounds) -> Usage:
    media = Media(*(draw(COUNT) for _ in Media.__struct_fields__))
    counts = [draw(COUNT) for _ in range(6)]
    usage = Usage(*counts, media if draw(st.booleans()) else None, draw(st.sampled_from([None, "priority"])))
    return bounded(usage, longest)


@given(prices(), st.data(), st.integers(1, 4), st.integers(1, 500), st.integers(0, 1_500), st.integers(0, 60 * 10**6))
def test_no_answer_costs_more_than_its_bound(
    price: Price, data: st.DataObject, answers: int, ceiling: int, length: int, later: int
) -> None:
    body = {
        "messages": [{"role": "user", "content": "x" * length}],
        "n": answers,
        "max_tokens": ceiling,
        "service_tier": "auto",
    }
    size = len(compact(body))
    usage = data.draw(usages(UsageBounds(size, answers * ceiling)))

    bound = worst_case_nusd(deployment(price=price), body, size, at=NOW)

    assert bound is not None
    assert cost_nusd(usage, price, NOW + later) <= bound


@given(prices(), st.data(), st.integers(0, 2 * 10**15))
def test_a_cost_is_never_negative(price: Price, data: st.DataObject, at: int) -> None:
    assert cost_nusd(data.draw(usages(UsageBounds(2_000, 2_000))), price, at) >= 0
