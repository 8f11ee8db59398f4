"""Every target hangs: the client has its answer at the call's deadline, and the record has every attempt.

The deadline starts with the request and covers all of it: one target, several with timeouts of their own, errors and
retries, or the queue.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import anyio

from tests.load.client import Answer, in_parallel
from tests.load.harness import Options, Upstreams, gateway, until, upstreams
from tests.load.report import Report, percentile
from tests.load.scripted import Behaviour, Seen

DEADLINE = 3.0  # seconds
NEAR = 0.2  # seconds around it
GONE = 0.25  # seconds until the last target sees its connection closed
EACH = 0.4 * DEADLINE  # seconds that a target has, where it has less than the deadline
HELD = DEADLINE / 3  # seconds that another call has the only slot
APART = 0.01  # seconds between calls that are under way together
NAMES = ("alpha", "beta", "gamma")
OVER = "deadline_exceeded"
LATE = "first_token_timeout"
PARTS: dict[str, tuple[Behaviour, list[str]]] = {  # by model: what targets do, and how the attempts end
    "silent": (Behaviour(end="stall"), [f"alpha {OVER}"]),
    "begins": (Behaviour(end="stall", after=0), [f"alpha {OVER}"]),
    "each": (Behaviour(end="stall"), [f"alpha {LATE}", f"beta {LATE}", f"gamma {OVER}"]),
    "fails": (
        Behaviour(before=EACH, status=503),
        ["alpha overloaded", "beta overloaded", f"gamma {OVER}"],
    ),
    "queued": (Behaviour(end="stall"), [f"alpha {OVER}"]),
}


async def check(report: Report, options: Options) -> None:
    """Make ten calls of each kind at once, and one that waits for a slot."""
    async with upstreams(*NAMES) as up, gateway(configuration(up)) as box:
        for model, (behaviour, _) in PARTS.items():
            for name in NAMES:
                await up.behave(name, behaviour, model=model)
        client, answers = box.client(), dict[str, list[Answer]]()

        async def part(model: str, count: int) -> None:
            found = answers.setdefault(model, [])

            async def call(number: int) -> None:
                await anyio.sleep(number * APART)
                label = {"router": {"client_id": model}}
                found.append(await client.chat(f"scenario/{model}", model, stream=number % 2 == 0, **label))

            if model == "queued":
                await up.behave("alpha", Behaviour(before=HELD), model=model)
                group.start_soon(partial(client.chat, f"scenario/{model}", "holder"))
                await until(partial(up.arrived, "holder"))
                await up.behave("alpha", PARTS[model][0], model=model)
            await in_parallel(count, count, call)

        async with anyio.create_task_group() as group:
            for model in PARTS:
                group.start_soon(part, model, 1 if model == "queued" else options.calls or 10)
        total = sum(map(len, answers.values()))
        await box.settled(total + 1)
        await anyio.sleep(GONE)
        log = await up.log()
        client.close()
        for model, found in answers.items():
            lines = [line for line in box.calls if line["client_id"] == model]
            _judge(report, model, found, lines, [seen for seen in log if seen.call == model])


def configuration(up: Upstreams) -> dict[str, Any]:
    """A route for each part; breakers that never open and a budget that is never used up: the same targets for all."""
    timeouts = {"first_token": f"{EACH}s", "total": f"{EACH}s"}
    more: dict[str, Any] = {"each": {"timeouts": timeouts}, "queued": {"limits": {"concurrency": 1}}}
    return {
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [{"id": f"{name}/{model}", **more.get(model, {})} for name in up.names for model in PARTS],
        "routing": {
            "scenarios": {
                model: [f"{name}/{model}" for name in up.names[: 1 if model == "queued" else None]] for model in PARTS
            }
        },
        "resilience": {
            "deadline": {"soft": "1s", "hard": f"{DEADLINE}s"},
            "breaker": {"consecutive": 1_000_000, "window_failures": 1_000_000},
            "retry": {"budget": {"floor": 1000}},
        },
    }


def _judge(report: Report, model: str, answers: list[Answer], lines: list[dict[str, Any]], log: list[Seen]) -> None:
    taken = sorted(answer.seconds for answer in answers)
    near = sum(abs(seconds - DEADLINE) <= NEAR for seconds in taken)
    answered = sum((answer.status, answer.code) == (504, OVER) for answer in answers)
    attempts = Counter(
        ", ".join(f"{attempt['provider']} {attempt['outcome']}" for attempt in line["attempts"]) for line in lines
    )
    wanted = ", ".join(PARTS[model][1])
    report.figure(f"{model}: calls", len(answers))
    report.figure(f"{model}: answered after, first and last", f"{taken[0]:.3f}, {percentile(taken, 100):.3f}", "s")
    report.equal(f"{model}: answered within {NEAR} s of the deadline", near, len(answers))
    report.equal(f"{model}: with 504 deadline_exceeded", answered, len(answers))
    report.equal(f"{model}: attempts recorded as they were", attempts[wanted], len(answers))
    for found in attempts.keys() - {wanted}:
        report.note(f"{attempts[found]} times {found}, and not {wanted}")
    report.equal(f"{model}: requests upstream", len(log), sum(len(line["attempts"]) for line in lines))
    ends = [answer.ended for answer in answers]
    left = sum(seen.gone_at is None and seen.done_at is None for seen in log)
    late = sum(seen.gone_at is not None and seen.gone_at > max(ends) + GONE for seen in log)
    report.equal(f"{model}: connections still open", left + late, 0)
