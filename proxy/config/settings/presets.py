"""Presets: named sets of values for `resilience`, in the form of the file. `standard` is the defaults.

`bkvy`: the values of the router of that name (github.com/NitroxHead/bkvy, `core/failure_classifier.py` and
`core/circuit_breaker.py`): more retries after errors and timeouts, a breaker that opens for 30 seconds after errors
and for 10 after timeouts, a cooldown of a day for rejected keys, and rate limits that count against the breaker.

`simple`: three consecutive failures open the breaker for 60 seconds; the time does not grow.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Preset = Literal["standard", "bkvy", "simple"]

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "standard": {},
        "bkvy": {
            "breaker": {"consecutive": 3, "window": "10m", "window_failures": 5, "open": "60s", "max_open": "30m"},
            "retry": {"attempts": 8, "same_target": 3},
            "failures": {
                "rate_limit": {"retries": 0, "breaker": True, "open": "60s", "key": "model", "rest": "60s"},
                "server_error": {"retries": 3, "breaker": True, "open": "30s", "max_open": "30m"},
                "auth": {"retries": 0, "breaker": True, "key": "everywhere", "rest": "1d", "max_rest": "1d"},
                "timeout": {"retries": 5, "breaker": True, "open": "10s", "max_open": "5m"},
                "target": {"retries": 1, "backoff": "0s", "max_backoff": "0s", "breaker": True},
                "content": {"retries": 1, "backoff": "0s", "max_backoff": "0s", "breaker": False},
                "unknown": {"retries": 2, "breaker": False, "open": "10s", "max_open": "5m"},
            },
        },
        "simple": {
            "breaker": {"consecutive": 3, "window_failures": 1_000_000, "open": "60s", "max_open": "60s"},
        },
    }
)
