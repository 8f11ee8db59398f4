"""Errors of keys, types and values: each has its line, path and remedy."""

from pathlib import Path

import pytest

from tests.unit.config.files import problems

PROVIDER = "providers:\n  p: {base_url: http://x, %s}\n"
MODEL = "providers: {p: {base_url: http://x}}\nmodels:\n  - {id: p/m, %s}\n"

WRONG = [
    # unknown settings
    ("sever: {}", "1: sever: unknown setting `sever`; did you mean `server`?"),
    ("server:\n  prot: 1", "2: server.prot: unknown setting `prot`; did you mean `port`?"),
    ("logs: {zzz: 1}", "1: logs.zzz: unknown setting `zzz`; known here: `access`, `retention`, `requests`"),
    (PROVIDER % "dialekt: x", "2: providers.p.dialekt: unknown setting `dialekt`; did you mean `dialect`?"),
    (MODEL % "teir: low", "3: models[0].teir: unknown setting `teir`; did you mean `tier`?"),
    # types
    ("server: 3", "1: server: must be a mapping of settings"),
    ("server: {port: x}", "1: server.port: must be a whole number"),
    ("server: {port: true}", "1: server.port: must be a number"),
    ("server: {port: 1.5}", "1: server.port: must be a whole number"),
    ("server: {host: [a]}", "1: server.host: must be a string"),
    ("server: {drain: soon}", "1: server.drain: must be a duration such as `500ms`, `30s`, `10m` or `1d`"),
    ("server: {max_body: big}", "1: server.max_body: must be a size such as `20MiB`, `1GB` or `65536`"),
    ("logs: {access: maybe}", "1: logs.access: must be `true` or `false`"),
    ("models: {}", "1: models: must be a list"),
    ("providers: []", "1: providers: must be a mapping of names to values"),
    ("providers: {p: x}", "1: providers.p: must be a mapping of settings"),
    (PROVIDER % "headers: [a]", "2: providers.p.headers: must be a mapping of names to values"),
    (
        PROVIDER % "dialect: opnai",
        "2: providers.p.dialect: must be `openai`, `anthropic`, `gemini` or `mock`; did you mean",
    ),
    (MODEL % "tier: hihg", "3: models[0].tier: must be `low`, `medium` or `high`; did you mean `high`?"),
    (MODEL % "price: {input: a, output: 1}", "3: models[0].price.input: must be an amount in USD such as `0.15`"),
    (MODEL % "price: {input: 1}", "3: models[0].price.output: is missing"),
    (MODEL % "capabilities: {tools: true}", "3: models[0].capabilities: must be a list"),
    ("models:\n  - tier: low", "2: models[0].id: is missing"),
    # bounds
    ("server: {port: 65536}", "1: server.port: must be at most 65535"),
    ("server: {port: -1}", "1: server.port: must be at least 0"),
    ("server: {drain: -1s}", "1: server.drain: must be a duration such as `500ms`, `30s`, `10m` or `1d`, not negative"),
    ("server: {max_in_flight: 0}", "1: server.max_in_flight: must be at least 1"),
    ("server: {host: ''}", "1: server.host: must not be empty"),
    ("resilience: {retry: {attempts: 0}}", "1: resilience.retry.attempts: must be at least 1"),
    ("resilience: {retry: {same_target: -1}}", "1: resilience.retry.same_target: must be at least 0"),
    ("resilience: {breaker: {consecutive: 0}}", "1: resilience.breaker.consecutive: must be at least 1"),
    ("resilience: {breaker: {window_failures: 0}}", "1: resilience.breaker.window_failures: must be at least 1"),
    ("resilience: {breaker: {half_open: 0}}", "1: resilience.breaker.half_open: must be at least 1"),
    ("resilience: {breaker: {open: 2h}}", "1: resilience.breaker: `max_open` must be at least as long as `open`"),
    ("resilience: {deadline: {hard: 0s}}", "1: resilience.deadline.hard: must be longer than 0"),
    ("routing: {weights: {cost: -1}}", "1: routing.weights.cost: must be at least 0"),
    ("routing: {weights: {cost: .inf}}", "1: routing.weights.cost: must be a finite number"),
    ("routing: {quality: 1.5}", "1: routing.quality: must be less than 1"),
    ("routing: {cost: 1.5}", "1: routing.cost: must be at most 1"),
    ("routing: {cost: {of: spend}}", "1: routing.cost.share: is missing"),
    ("routing: {nudges: {cooking: {}}}", "1: routing.nudges.cooking: must be `code`, `writing`, "),
    (
        "providers: {p: {dialect: mock}}\nrouting: {nudges: {code: {p: 2}}}",
        "2: routing.nudges.code.p: must be at most 1",
    ),
    ("routing: {weights: {price: 1}}", "1: routing.weights.price: unknown setting `price`"),
    (PROVIDER % "timeouts: {connect: 0s}", "2: providers.p.timeouts.connect: must be longer than 0"),
    (PROVIDER % "keys: [{value: x, weight: 0}]", "2: providers.p.keys[0].weight: must be more than 0"),
    (MODEL % "price: {input: -1, output: 1}", "3: models[0].price.input: must be at least 0"),
    (MODEL % "price: {input: .nan, output: 1}", "3: models[0].price.input: must be an amount in USD such as `0.15`"),
    (MODEL % "context_window: 0", "3: models[0].context_window: must be at least 1"),
    (MODEL % "quality: 1.1", "3: models[0].quality: must be at most 1"),
    (MODEL % "quality: -0.1", "3: models[0].quality: must be at least 0"),
    # providers
    ("providers: {p: {}}", "1: providers.p: needs a `base_url`, such as `https://api.openai.com/v1`"),
    ("providers: {p: {base_url: 'ftp://x'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: x.example}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://x:99999'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://x/a b'}}", "1: providers.p.base_url: must be an http or https URL"),
    (
        "providers: {p: {base_url: 'http://u:pw@x'}}",
        "1: providers.p.base_url: must not contain a user name or password",
    ),
    ("providers: {p: {base_url: 'http://x?v=1'}}", "1: providers.p.base_url: must not have a query or a fragment"),
    (
        "providers: {p: {base_url: 'http://x/{deployment}'}}",
        "1: providers.p.base_url: must not contain braces, except the placeholder `{model}`",
    ),
    (
        "providers: {p: {base_url: 'http://{model}/'}}",
        "1: providers.p.base_url: must not contain braces, except the placeholder `{model}`",
    ),
    ("providers: {a/b: {base_url: http://x}}", "1: providers.a/b: must start with a letter or digit and contain only"),
    ("providers: {-a: {base_url: http://x}}", "1: providers.-a: must start with a letter or digit and contain only"),
    (PROVIDER % "auth_header: 'a b'", "2: providers.p.auth_header: must be a header name"),
    (PROVIDER % "headers: {'a b': x}", "2: providers.p.headers: has a name that is not a valid header name"),
    (PROVIDER % 'headers: {a: "x\\ny"}', "2: providers.p.headers: has a value under `a` that is not valid in a header"),
    (PROVIDER % "headers: {Content-Length: 1}", "2: providers.p.headers: must not set `content-length`"),
    (PROVIDER % "headers: {a: x, A: y}", "2: providers.p.headers: contains one header twice"),
    (PROVIDER % "proxy: socks5://x", "2: providers.p.proxy: must be the URL of a proxy"),
    (PROVIDER % "seed: 1", "2: providers.p: `seed` is for `dialect: mock` only; remove it"),
    (PROVIDER % "keys: [[x]]", "2: providers.p.keys[0]: must be a mapping of settings"),
    (PROVIDER % "keys: [a b]", "2: providers.p.keys[0]: contains a space or a character that is not valid"),
    (PROVIDER % "keys: [Bearer x]", "2: providers.p.keys[0]: must be the key alone; remove `Bearer`"),
    (PROVIDER % "keys: [{id: 'a b', value: x}]", "2: providers.p.keys[0].id: must start with a letter or digit"),
    (PROVIDER % "keys: [{id: a}]", "2: providers.p.keys[0].value: is missing"),
    (PROVIDER % "keys: [{value: [x]}]", "2: providers.p.keys[0].value: must be a string, such as `${OPENAI_API_KEY}`"),
    (
        PROVIDER % "keys: [{value: a b}]",
        "2: providers.p.keys[0].value: contains a space or a character that is not valid",
    ),
    (
        PROVIDER % "keys: [{value: ключ}]",
        "2: providers.p.keys[0].value: contains a space or a character that is not valid",
    ),
    (
        PROVIDER % "keys: [{value: x}, {id: main, value: y}]",
        "2: providers.p.keys[1].id: the id `main` is already used by another key of this provider",
    ),
    (PROVIDER % "prompt_cache: auto", "2: providers.p: `prompt_cache` is for `dialect: anthropic` only; remove it"),
    (PROVIDER % "prompt_cache: on", "2: providers.p.prompt_cache: must be `off` or `auto`"),
    (PROVIDER % "vertex: true", "2: providers.p: `vertex` is for `dialect: gemini` only; remove it"),
    ("providers: {g: {dialect: gemini, vertex: true}}", "1: providers.g: `vertex` needs a `base_url`, such as"),
    (
        MODEL % "unsupported: [seed, model]",
        "3: models[0].unsupported: must not contain `model`, which every call needs",
    ),
    (MODEL % "thinking: {hihg: {a: 1}}", "3: models[0].thinking: has an unknown effort; must be one of `minimal`"),
    (MODEL % "thinking: {high: 1}", "3: models[0].thinking.high: must be a mapping of names to values"),
    (MODEL % "thinking: {high: {a: .nan}}", "3: models[0].thinking: has a value that JSON cannot represent"),
    (MODEL % "thinking_off: {a: .inf}", "3: models[0].thinking_off: has a value that JSON cannot represent"),
    ("providers: {m: {dialect: mock, failure_rate: 2}}", "1: providers.m.failure_rate: must be at most 1"),
    (
        "providers: {m: {dialect: mock, faults: [eror]}}",
        "1: providers.m.faults[0]: must be `error`, `timeout`, `slow`, `cut`",
    ),
    ("providers: {m: {dialect: mock, faults: []}}", "1: providers.m.faults: must not be empty"),
    (
        "providers: {tier: {dialect: mock}}",
        "1: providers.tier: `tier` is reserved for routes; rename the provider",
    ),
    ("providers: {auto: {dialect: mock}}", "1: providers.auto: `auto` is reserved for routes"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected.split(":")[1].strip() for _, expected in WRONG])
def test_a_mistake_is_reported_with_path_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    [found] = problems(tmp_path, text)

    assert found.startswith(f"signalbox.yaml:{expected}")
