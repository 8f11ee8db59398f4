"""That the benchmarks measure what they say; how fast anything is, no test asks."""

from __future__ import annotations

import argparse
import asyncio
import os
from urllib.request import Request, urlopen

import pytest

from tests.bench import client, path
from tests.bench.meter import cpu_seconds, resident_bytes, tree
from tests.bench.upstream import upstream


def drive(url: str, model: str, *, events: int, requests: int) -> dict[str, object]:
    options = argparse.Namespace(
        url=url, model=model, body="small", stream=events, connections=4, requests=requests, seconds=0.0, ramp=0.0
    )
    return asyncio.run(client.drive(options))


def test_the_client_counts_whole_answers() -> None:
    with upstream() as url:
        plain = drive(url, "bench", events=0, requests=40)
        streamed = drive(url, "bench-16-1", events=16, requests=8)

    assert (plain["ok"], plain["bad"], plain["events"]) == (40, 0, 0)
    assert (streamed["ok"], streamed["bad"], streamed["events"]) == (8, 0, 128)


def test_a_stream_with_too_few_events_is_bad() -> None:
    with upstream() as url:
        found = drive(url, "bench-15-0", events=16, requests=3)

    assert (found["ok"], found["bad"]) == (0, 3)


@pytest.mark.parametrize(
    ("path_of_call", "end"),
    [("/v1/messages", b'"message_stop"}'), ("/v1beta/models/bench-5-0:streamGenerateContent", b'"bench0123456789"}')],
)
def test_the_upstream_streams_in_the_formats_of_other_dialects(path_of_call: str, end: bytes) -> None:
    with upstream() as url:
        body = client.body_of("small", "bench-5-0", stream=True)
        with urlopen(Request(url + path_of_call, body)) as response:
            events = response.read()

    assert events.count(b'" word"') == 5
    assert events.rstrip().endswith(end)


def test_the_path_of_every_scenario_is_counted() -> None:
    found = path.run()

    assert list(found) == [*path.SCENARIOS, *path.RECORDED]
    assert all("pipeline.py" in each.modules for each in found.values())
    assert all(each.calls >= each.changes >= len(each.modules) for each in found.values())


def test_the_meter_reads_this_process() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(3_000_000))

    assert os.getpid() in tree(os.getpid())
    assert cpu_seconds(os.getpid()) > before
    assert resident_bytes(os.getpid()) > 2**20
