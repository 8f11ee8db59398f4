"""Named sets of values for `resilience`, as a file would give them. `standard` is the defaults themselves.

`bkvy`: the numbers of the router of that name (github.com/NitroxHead/bkvy, `core/failure_classifier.py` and
`core/circuit_breaker.py`): patient with errors and timeouts, a breaker that opens for 30 seconds after errors and for
10 after timeouts, rejected keys that rest for a day, and rate limits that count against the breaker.

`simple`: three failures in a row rest a target for 60 seconds, every time the same.
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
