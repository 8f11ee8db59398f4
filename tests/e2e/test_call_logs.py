"""The request log and the daily sums of a real server with two workers."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers import signalbox_process
from tests.support.upstreams import Upstream, refuse
from tests.support.waiting import PATIENCE

CALLS = 8


def test_calls_of_all_workers_are_in_the_files(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("bad", refuse(400, "the prompt canary is wrong"))
    config: dict[str, Any] = {
        "server": {"workers": 2},
        "providers": {"up": {"base_url": upstream.url}},
        "models": [{"id": "up/good", "tier": "low", "price": {"input": 1, "output": 2}}, {"id": "up/bad"}],
        "logs": {"access": False, "requests": "csv", "daily": True},
    }

    with signalbox_process(config, tmp_path) as process:
        for number in range(CALLS):
            body = {
                "model": "up/bad" if number == 0 else "tier/low",
                "messages": [{"role": "user", "content": "canary"}],
            }
            httpx.post(f"{process.url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False)
        process.popen.send_signal(signal.SIGTERM)
        process.popen.wait(PATIENCE)
    [requests] = (tmp_path / "data" / "logs").glob("requests-*.csv")
    [daily] = (tmp_path / "data" / "logs").glob("daily-*.json")
    rows = list(csv.DictReader(requests.read_text().splitlines()))
    sums = json.loads(daily.read_bytes())

    assert len(rows) == CALLS
    assert [row["error_message"] for row in rows if row["success"] == "False"] == ["up: bad_request (status 400)"]
    assert {row["finish_reason"] for row in rows if row["success"] == "True"} == {"stop"}
    assert (sums["total"], sums["successful"]) == (CALLS, CALLS - 1)
    assert sums["by_model"] == {"up/good": CALLS - 1, "up/bad": 1}
    assert sums["errors"] == {"invalid_request_error": 1}
    assert b"canary" not in requests.read_bytes() + daily.read_bytes()
