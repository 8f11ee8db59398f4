"""Requests that clients got wrong: one attempt each, no breaker counts them; too long ones go to a larger model."""

from __future__ import annotations

from tests.load.client import Answer, in_parallel
from tests.load.harness import Options, Upstreams, gateway, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

WIDTH = 8
BAD = [Behaviour(status=status, message="Your request is wrong.", code="wrong") for status in (400, 413, 422)]
FILTERED = Behaviour(status=400, code="content_filter", message="The prompt was refused.")
TOO_LONG = Behaviour(status=400, code="context_length_exceeded", message="Too many tokens.")
TENTHS = {"bad": 5, "filtered": 2, "long": 2, "longer": 1}  # of the calls, by scenario


def configuration(up: Upstreams) -> dict[str, object]:
    """Each scenario has a second target; that of `long` is larger than its first, that of `longer` is not."""
    windows = {"alpha": {"bad": None, "filtered": None, "long": 8_000, "longer": 8_000}}
    windows["beta"] = {"bad": None, "filtered": None, "long": 200_000, "longer": 4_000}
    return {
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [
            {"id": f"{name}/{model}", "context_window": window}
            for name, models in windows.items()
            for model, window in models.items()
        ],
        "routing": {"scenarios": {model: [f"alpha/{model}", f"beta/{model}"] for model in TENTHS}},
    }


async def check(report: Report, options: Options) -> None:
    """Make 1,000 such calls."""
    calls = options.calls or 1000
    async with upstreams("alpha", "beta") as up, gateway(configuration(up)) as box:
        await up.seed(options.seed)
        for model, mix in {"bad": BAD, "filtered": [FILTERED], "long": [TOO_LONG], "longer": [TOO_LONG]}.items():
            await up.behave("alpha", *mix, model=model)
        names = [name for name, tenths in TENTHS.items() for _ in range(tenths)]
        client, answers = box.client(), {name: list[Answer]() for name in TENTHS}

        async def call(number: int) -> None:
            name = names[number // 2 % len(names)]
            answers[name].append(await client.chat(f"scenario/{name}", f"{number}", stream=number % 2 == 0))

        await in_parallel(calls, WIDTH, call)
        await box.settled(calls)
        log = await up.log()
        client.close()
        for name in TENTHS:
            _judge(report, name, answers[name], [seen for seen in log if seen.model == name])
        rows = await box.breakers()
        report.equal("breakers with a failure", sum(row["failures"] > 0 or row["state"] != "closed" for row in rows), 0)
        report.equal("attempts recorded", sum(box.attempts().values()), len(log))


def _judge(report: Report, name: str, answers: list[Answer], log: list[Seen]) -> None:
    said = {seen.call: seen.status for seen in log if seen.provider == "alpha"}
    report.figure(f"{name}: calls", len(answers))
    if name == "long":
        report.equal(f"{name}: answered by the larger model", sum(answer.ok for answer in answers), len(answers))
        report.equal(f"{name}: requests upstream", len(log), 2 * len(answers))
        return
    relayed = sum(answer.status in said.values() and not answer.looks_whole for answer in answers)
    report.equal(f"{name}: refused with the provider's status", relayed, len(answers))
    report.equal(f"{name}: requests upstream", len(log), len(answers))
    report.equal(f"{name}: of them to the second target", sum(seen.provider == "beta" for seen in log), 0)
