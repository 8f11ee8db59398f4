"""2,000 guessed keys a second: other traffic's p99 at most doubles, and at most 50 of them a second reach the store.

Half of the guesses are malformed, the other half have the right form and checksum. 100 requests a second with a real
key are measured without the guesses, during them, and again without; the baseline is the mean of the first and the last
p99. Each p99 is that of the best of several parts of the measurement: what other processes add comes by chance. Other
keys are used for the first time during the guesses, and all of them are accepted.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

from proxy.admission.keys import new_key
from tests.load.client import Answer, at_rate, chat_body, request_bytes
from tests.load.harness import ADMIN, Gateway, Options, gateway, lean_config, lean_upstream
from tests.load.report import Report, percentile

RATE = 100.0  # requests a second with a real key
GUESSES = 2_000.0  # requests a second with guessed ones
SECONDS = 15.0  # of each measurement
PARTS = 5  # of each measurement
OTHERS = 20  # keys that are first used while others are guessed
RATIO = 2.0
LOOK_UPS = 50  # a second
SHORT_FORM = Options(calls=100, seconds=0.5)


async def check(report: Report, options: Options) -> None:
    """Measure without, with, and without guesses."""
    seconds = options.seconds or SECONDS
    guesses = GUESSES if options.calls is None else options.calls / seconds
    rng = random.Random(options.seed)
    more = {"store": "sqlite", "auth": {"mode": "keys", "pepper": "${SIGNALBOX_PEPPER}"}}
    async with lean_upstream() as url, gateway(lean_config(url, **more), {"SIGNALBOX_PEPPER": "p" * 32}) as box:
        key, *others = [await _key(box) for _ in range(1 + OTHERS)]
        await _measure(box, key, min(seconds, 2.0))  # warm
        before = await _measure(box, key, seconds)
        looked_up = await box.metric(r"signalbox_key_lookups_total\b")
        rejected: Counter[int] = Counter()
        made = [_guess(number, rng) for number in range(round(guesses * seconds))]  # not while calls are measured
        async with asyncio.TaskGroup() as group:
            group.create_task(_send(box, made, guesses, seconds, rejected))
            uses = group.create_task(_first_uses(box, others, seconds))
            during = await _measure(box, key, seconds)
        looked_up = await box.metric(r"signalbox_key_lookups_total\b") - looked_up
        after = await _measure(box, key, seconds)
    answers = [*before, *during, *after]
    report.equal("answered with a real key", sum(answer.ok for answer in answers), len(answers))
    report.equal("guesses that were not answered 401 or 429", sum(rejected.values()) - rejected[401] - rejected[429], 0)
    report.equal("keys that were first used during the guesses", uses.result(), OTHERS)
    report.figure("guesses", sum(rejected.values()))
    report.at_most("look-ups in the store a second", looked_up / max(seconds, 1.0), LOOK_UPS)
    first, second, last = (_p99(answers) for answers in (before, during, after))
    report.figure("p99 before", first, "ms")
    report.figure("p99 during the guesses", second, "ms")
    report.figure("p99 after", last, "ms")
    report.at_most("p99 to the baseline", 2 * second / (first + last), RATIO, full_only=True)


async def _first_uses(box: Gateway, keys: list[str], seconds: float) -> int:
    """Use keys for the first time in the second half of some seconds, and return how many were accepted."""
    client, accepted = box.client(), 0
    await asyncio.sleep(seconds / 2)
    for key in keys:
        headers = {"authorization": f"Bearer {key}"}
        answer = await client.call(request_bytes("POST", "/v1/chat/completions", chat_body("lean/plain"), headers))
        accepted += answer.ok
        await asyncio.sleep(seconds / 2 / len(keys))
    client.close()
    return accepted


async def _key(box: Gateway) -> str:
    client = box.client()
    answer = await client.call(request_bytes("POST", "/admin/keys", {"name": "real"}, ADMIN))
    client.close()
    if answer.status != 201:
        raise RuntimeError(f"POST /admin/keys: {answer.status} {answer.body.decode()}")
    key: str = json.loads(answer.body)["key"]
    return key


async def _measure(box: Gateway, key: str, seconds: float) -> list[Answer]:
    client, answers = box.client(), list[Answer]()
    request = request_bytes("POST", "/v1/chat/completions", chat_body("lean/plain"), {"authorization": f"Bearer {key}"})

    async def call(number: int) -> None:
        answers.append(await client.call(request))

    await at_rate(RATE, seconds, call)
    client.close()
    return answers


def _guess(number: int, rng: random.Random) -> bytes:
    """Return a request with a key of the right form, or with another text."""
    key = new_key() if number % 2 else f"sb-{rng.getrandbits(256):064x}"
    headers = {"authorization": f"Bearer {key}"}
    return request_bytes("POST", "/v1/chat/completions", chat_body("lean/plain"), headers)


async def _send(box: Gateway, made: list[bytes], rate: float, seconds: float, rejected: Counter[int]) -> None:
    client = box.client()

    async def call(number: int) -> None:
        rejected[(await client.call(made[number])).status] += 1

    await at_rate(rate, seconds, call)
    client.close()


def _p99(answers: list[Answer]) -> float:
    """Return the lowest p99 of the parts of a measurement, in milliseconds."""
    size = max(1, len(answers) // PARTS)
    parts = [answers[start : start + size] for start in range(0, len(answers), size)]
    return min(percentile(sorted(answer.seconds * 1000 for answer in part), 99) for part in parts)
