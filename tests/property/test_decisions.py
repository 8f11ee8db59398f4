"""The same request, configuration and state give the same decision record, byte for byte, in every process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.plan import CostSample, HealthView, Warm
from proxy.core.policies import CostTarget
from proxy.routing.classify.strongest import with_words
from proxy.routing.router import Router
from tests.property.test_plan import HEALTH, calls
from tests.unit.routing.build import FixedHealth, call, snapshot

ROOT = Path(__file__).parents[2]
SHARE = CostTarget(0.5)
TEXT = "Prove that this Python function is correct, translate the summary into French, and extract the dates. "
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PICTURE = [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": "data:,"}}]


def recorded(asked: Call, health: HealthView, seen: list[CostSample], warm: Warm | None, explored: float) -> bytes:
    """The record of a call as a new process decides it, in the state that the other arguments describe."""
    router = Router(FixedHealth(health), warm=lambda conversation: warm)
    router.explore = lambda call: explored
    router.calibration.follow([(SHARE, kind, sample) for sample in seen for kind in ("rules", "model")])
    try:
        plan = asyncio.run(router.route(asked))
    except ProxyError as error:
        return f"{error.http_status} {error.error_code} {error}".encode()
    return msgspec.json.encode([with_words(plan.decision, asked), plan.features()])


@settings(max_examples=60, deadline=None)
@given(
    asked=calls(),
    health=HEALTH,
    kind=st.sampled_from(["rules", "model"]),
    cost=st.sampled_from([None, SHARE]),
    seen=st.lists(st.builds(CostSample, st.floats(0, 1), st.booleans()), max_size=30),
    warm=st.sampled_from([None, Warm("openai/mini", 2_000), Warm("anthropic/opus", 0)]),
    explored=st.sampled_from([0.0, 0.5]),
)
def test_the_same_request_and_state_give_the_same_record(
    asked: Call,
    health: HealthView,
    kind: str,
    cost: CostTarget | None,
    seen: list[CostSample],
    warm: Warm | None,
    explored: float,
) -> None:
    asked = replace(asked, snapshot=replace(asked.snapshot, classifier=kind, cost=cost))

    first = recorded(asked, health, seen, warm, explored)

    assert recorded(asked, dict(reversed(health.items())), seen, warm, explored) == first


def print_records() -> None:
    """Write the records of some calls to the standard output."""
    for kind in ("rules", "model"):
        on = replace(snapshot(), classifier=kind, cost=SHARE)
        for asked in (
            call("auto", TEXT * 3, on=on),
            call("auto", PICTURE, on=on, body={"tools": [TOOL], "response_format": {"type": "json_schema"}}),
            call("tier/low", PICTURE, on=on, require=("vision", "tools"), exclude=("anthropic", "local")),
            call("auto", TEXT, on=on, providers=("anthropic", "openai", "local"), fallbacks=("tier/high",)),
        ):
            record = recorded(asked, {}, [CostSample(0.4, strong=True)] * 30, Warm("openai/mini", 2_000), 0.5)
            sys.stdout.write(f"{record!r}\n")


def test_records_do_not_depend_on_the_order_of_sets() -> None:
    command = [sys.executable, "-c", "from tests.property.test_decisions import print_records; print_records()"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE)
        for seed in ("1", "2", "3")
    ]

    outputs = {process.communicate()[0] for process in processes}

    [output] = outputs
    assert output.count(b'"candidates"') == 8
