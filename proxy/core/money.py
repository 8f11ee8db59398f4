"""The cost of an answer in whole nano-dollars, so that every store can add it up; floats appear only in output.

`cost_nusd` is what an answer has cost, `worst_case_nusd` the most that the answer to a request can cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from proxy.core.model import Deployment, Price
from proxy.core.usage import Usage, service_of

_TOKENS = 1_000_000  # prices are per million tokens
NUSD = 1_000_000_000  # nano-dollars in a dollar

LONGEST_BY_DEFAULT = 16_384  # tokens of an answer whose request sets no limit
_UNKNOWN_OUTPUT = 4_096  # the same, for a model whose longest answer is unknown
CEILINGS = ("max_completion_tokens", "max_tokens")  # of a chat; a text completion has only `max_tokens`
_CEILINGS = frozenset(CEILINGS)
COMPLETION_TOKENS = 16  # of a text completion whose request sets no limit, in OpenAI's API
_SET_UP = 64  # tokens that providers add to a prompt
_TOOLS_SET_UP = 1_024  # tokens that providers add to a prompt with tools
_EDGE_US = 60_000_000  # a price that begins this soon may hold when the request is sent
_UNBOUNDED = frozenset(  # each search costs extra, and adds its results to the prompt; other models have other prices
    ("web_search_options", "search_parameters", "plugins", "models", "fallbacks")
)
_CHEAPER = (None, "flex", "batch", "scale")  # service tiers that cost at most what the standard one does
_BOUNDING = _UNBOUNDED | {  # members that change the bounds of a chat, beside its messages and `CEILINGS`
    "tools", "functions", "response_format", "n", "best_of", "prediction", "prompt", "input", "service_tier"
}  # fmt: skip
_OWN_TOOLS = ("function", "custom")  # types of tools that the client runs
_TEXT_PARTS = ("text", "refusal", "thinking")
_REPLAYED = ("images", "google_parts")  # parts of earlier answers that are sent back to their provider


def cost_nusd(usage: Usage, price: Price, at: int = 0) -> int:
    """Return the cost of one answer to a request sent at `at` (microseconds since 1970), rounded half up once.

    `cached` and `cache_write` are parts of `input`, and `reasoning` of `output`. Parts larger than the whole and
    counts below zero are read as the nearest possible count.
    """
    whole = max(0, usage.input)
    if not price.is_flat or usage.service is not None:
        price = price.at(at).of(whole, usage.service)
    total = whole * price.input + max(0, usage.output) * price.output
    cached = written = 0
    if usage.cached > 0 or usage.cache_write > 0:
        cached = min(max(0, usage.cached), whole)
        written = min(max(0, usage.cache_write), whole - cached)
        total += cached * (price.cached_input - price.input) + written * (price.cache_write - price.input)
        if usage.cache_write_1h > 0 and price.cache_write_1h is not None:
            total += min(usage.cache_write_1h, written) * (price.cache_write_1h - price.cache_write)
    if not price.is_flat:
        total += _special_tokens(usage, price, cached, whole - cached - written)
        return (total + _TOKENS // 2) // _TOKENS + price.request
    return (total + _TOKENS // 2) // _TOKENS


def _special_tokens(usage: Usage, price: Price, cached: int, rest: int) -> int:
    """Return what audio, images and reasoning cost beyond the same number of tokens of text.

    `rest` is the input that was neither read from the cache nor written to it. A token has one price only: of parts
    that must overlap, each token counts in the first.
    """
    total, output = 0, max(0, usage.output)
    media, rates = usage.media, price.media
    if media is not None and rates is not None:
        cached_audio = _within(max(media.cached_audio, media.input_audio + cached - usage.input), cached)
        cached_image = _within(media.cached_image, cached - cached_audio)
        audio = _within(media.input_audio - cached_audio, rest)
        image = _within(media.input_image - cached_image, rest - audio)
        output_audio = _within(media.output_audio, output)
        output_image = _within(media.output_image, output - output_audio)
        output -= output_audio + output_image
        total = (
            audio * (rates.input_audio - price.input)
            + image * (rates.input_image - price.input)
            + cached_audio * (rates.cached_audio - price.cached_input)
            + cached_image * (rates.cached_image - price.cached_input)
            + output_audio * (rates.output_audio - price.output)
            + output_image * (rates.output_image - price.output)
        )
    if price.reasoning is not None:
        total += _within(usage.reasoning, output) * (price.reasoning - price.output)
    return total


def _within(number: int, most: int) -> int:
    return min(max(0, number), most)


def highest_cost_nusd(usage: Usage, price: Price) -> int:
    """Return the cost of one answer at the time when it costs most."""
    if not price.times:
        return cost_nusd(usage, price)
    return max(cost_nusd(usage, rates) for rates in (replace(price, times=()), *(time.price for time in price.times)))


def output_ceiling(deployment: Deployment) -> int:
    """Return the limit of tokens for an answer whose request sets none, if its cost must be bounded."""
    return min(deployment.max_output or _UNKNOWN_OUTPUT, LONGEST_BY_DEFAULT)


def requested_ceiling(body: Mapping[str, Any]) -> int | None:
    """Return the limit of tokens that a request sets for each answer; `None` if it sets none."""
    most = 0
    for name in _CEILINGS.intersection(body):
        limit = body[name]
        if type(limit) is int and limit > most:
            most = limit
    return most or None


def worst_case_nusd(
    deployment: Deployment, body: Mapping[str, Any], size: int, *, parts: bool = True, at: int | None = None
) -> int | None:
    """Return the most that the answer to a request can cost; `None` if its price or a bound of its tokens is unknown.

    `body` is the request in OpenAI's form, `size` its bytes. `parts`: a message may have content other than text.
    `at`: when the request is sent, in microseconds since 1970; without it, the highest price of all times counts.

    Every byte of text counts as a token. An image counts as the most tokens that one has, any other attachment as
    the context window. Answers are as long as the request allows, else as `output_ceiling`. The mock costs nothing.
    """
    price = deployment.billed_price
    if deployment.provider.stand_in or (price is None and deployment.provider.mock is not None):
        return 0
    if price is None:
        return None
    if not parts and price.is_flat and deployment.kind == "chat" and _BOUNDING.isdisjoint(body):  # the usual case
        longest = _longest(deployment, body)
        if longest is None:
            return None
        return -(-((size + _SET_UP) * _highest_input(price) + longest * price.output) // _TOKENS)
    read = _most_input(deployment, body, size, parts)
    written = None if read is None else _most_output(deployment, body, size)
    if read is None or written is None:
        return None
    tier = body.get("service_tier")
    if tier is not None and not _has_bound(deployment, price, service_of(tier)):
        return None
    most = 0
    for rates in _possible(price, read, at, any_service=tier is not None):
        total = read * _highest_input(rates) + written * _highest_output(rates)
        most = max(most, -(-total // _TOKENS) + rates.request)
    return most


def _has_bound(deployment: Deployment, price: Price, service: str | None) -> bool:
    """Return whether an answer of a service tier costs at most what the price says; other dialects drop the tier."""
    if service in _CHEAPER or deployment.provider.dialect != "openai" or "service_tier" in deployment.unsupported:
        return True
    return all(service in dict(each.services) for each in (price, *(time.price for time in price.times)))


def _possible(price: Price, input_tokens: int, at: int | None, *, any_service: bool) -> Iterator[Price]:
    """Yield the prices that may apply to an answer with at most so many input tokens."""
    if not price.times:
        timed = [price]
    elif at is None:
        timed = [price, *(time.price for time in price.times)]
    else:
        timed = [price.at(at), price.at(at + _EDGE_US)]
    for now in timed:
        for rates in (now, *(rates for _, rates in now.services)) if any_service else (now,):
            yield rates
            yield from (tier.price for tier in rates.tiers if tier.above < input_tokens)


def _highest_input(price: Price) -> int:
    most = max(price.input, price.cached_input, price.cache_write, price.cache_write_1h or 0)
    media = price.media
    if media is None:
        return most
    return max(most, media.input_audio, media.input_image, media.cached_audio, media.cached_image)


def _highest_output(price: Price) -> int:
    media = price.media
    most = max(price.output, price.reasoning or 0)
    return most if media is None else max(most, media.output_audio, media.output_image)


def _most_input(deployment: Deployment, body: Mapping[str, Any], size: int, parts: bool) -> int | None:
    """Return the most tokens of the prompt."""
    if deployment.kind in ("image", "audio"):
        return None
    if not _UNBOUNDED.isdisjoint(body) and any(body.get(name) for name in _UNBOUNDED):
        return None
    tokens = size + _SET_UP
    if tools := body.get("tools") or body.get("functions"):
        if any(isinstance(tool, dict) and tool.get("type", "function") not in _OWN_TOOLS for tool in tools):
            return None  # the provider runs it, and adds its results to the prompt
        tokens += _TOOLS_SET_UP
    if body.get("response_format"):
        tokens += _TOOLS_SET_UP  # for some providers it becomes a tool
    for part in _parts(body) if parts else ():
        inline, most = _attachment(part, deployment.image_tokens)
        tokens -= inline
        if most is None:
            most = deployment.context_window
        if most is None:
            return None
        tokens += most
    return tokens


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of messages and inputs that are not text."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and part.get("type") not in _TEXT_PARTS:
                    yield part
            for name in _REPLAYED:
                if message.get(name):
                    yield {"type": name}
    inputs = body.get("input")
    for item in inputs if isinstance(inputs, list) else ():
        if isinstance(item, dict):
            yield item


def _attachment(part: Mapping[str, Any], image_tokens: int | None) -> tuple[int, int | None]:
    """Return how many bytes of the request are its data, and the most tokens that it has; `None`: unknown."""
    kind = part.get("type")
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        return (len(url) if isinstance(url, str) and url.startswith("data:") else 0), image_tokens
    if kind == "input_audio":
        return _length(part.get("input_audio"), "data"), None
    if kind == "file":
        return _length(part.get("file"), "file_data"), None
    return 0, None


def _length(holder: Any, name: str) -> int:
    data = holder.get(name) if isinstance(holder, dict) else None
    return len(data) if isinstance(data, str) else 0


def _most_output(deployment: Deployment, body: Mapping[str, Any], size: int) -> int | None:
    """Return the most tokens of all answers."""
    if deployment.kind in ("embedding", "moderation"):
        return 0
    is_chat = "messages" in body or "prompt" not in body or deployment.unsupported.issuperset(CEILINGS)
    each = _longest(deployment, body) if is_chat else completion_ceiling(body)
    n, best_of = _answers(body.get("n")), _answers(body.get("best_of"))
    if each is None or n is None or best_of is None:
        return None
    if body.get("prediction"):
        each += size  # tokens of a prediction that the answer does not use cost as much as those of the answer
    return each * max(n, best_of) * _prompts(body.get("prompt"))


def _longest(deployment: Deployment, body: Mapping[str, Any]) -> int | None:
    """Return the most tokens of each answer to a chat."""
    if deployment.unsupported and deployment.unsupported.issuperset(CEILINGS):
        return deployment.max_output  # no limit is sent
    return requested_ceiling(body) or output_ceiling(deployment)


def completion_ceiling(body: Mapping[str, Any]) -> int:
    """Return the limit of tokens for each answer of a text completion; 0 only reads the prompt."""
    limit = body.get("max_tokens")
    return limit if type(limit) is int and limit >= 0 else COMPLETION_TOKENS


def _answers(value: Any) -> int | None:
    """Return the number of answers for each prompt; `None` for a value that servers may understand differently."""
    if value is None:
        return 1
    return max(value, 1) if type(value) is int else None


def _prompts(value: Any) -> int:
    """Return the number of prompts; a list of token numbers is one."""
    if not isinstance(value, list) or all(type(item) is int for item in value):
        return 1
    return len(value)


def nano_dollars(usd: Decimal | float) -> int:
    """Return dollars as whole nano-dollars; a float counts as the decimal number that it is written as."""
    return int((Decimal(str(usd)) * NUSD).to_integral_value())


def usd(nusd: int) -> float:
    """Return nano-dollars as dollars, for output."""
    return nusd / NUSD
