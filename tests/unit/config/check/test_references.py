"""References between names: errors and warnings."""

from pathlib import Path

import pytest

from tests.unit.config.files import loaded, problems

MODEL = "providers: {p: {base_url: http://x/v1}}\nmodels:\n  - {id: p/m, %s}\n"
MODELS = """
providers:
  openai: {base_url: https://api.openai.com/v1, keys: [{value: sk-x}]}
  open: {base_url: https://open.example/v1, any_model: true}
models:
  - id: openai/gpt-4o
  - id: openai/gpt-4o-mini
"""  # 7 lines


def routing(text: str) -> str:
    """A file with two models, and routing from line 9 on."""
    return f"{MODELS}routing:\n{text}\n"


WRONG = [
    (
        routing("  scenarios: {support: [openai/gpt-4o]}\n  content_fallback: [suport]"),
        "10: routing.content_fallback[0]: unknown scenario `suport`; did you mean `support`?",
    ),
    # models
    ("models: [{id: gpt-4o}]", "1: models[0].id: must be `provider/model`, such as `openai/gpt-4o`"),
    ("models: [{id: 'p/a b'}]\nproviders: {p: {dialect: mock}}", "1: models[0].id: must be `provider/model`"),
    (
        "models:\n  - {id: opnai/x}\nproviders: {openai: {base_url: http://x/v1}}",
        "2: models[0].id: unknown provider `opnai`",
    ),
    ("models: [{id: new/x}]", "1: models[0].id: unknown provider `new`; add it under `providers.new`"),
    (MODEL % "tier: low}\n  - {id: p/m", "4: models[1].id: `p/m` is listed twice; remove one"),
    # routing
    (
        routing("  default: gpt-4o"),
        "9: routing.default: unknown model or route `gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    (routing("  default: tier/lo"), "9: routing.default: unknown tier `tier/lo`; did you mean `tier/low`?"),
    (routing("  default: mode/fats"), "9: routing.default: unknown mode `mode/fats`; did you mean `mode/fast`?"),
    (routing("  default: scenario/x"), "9: routing.default: unknown scenario `scenario/x`; known: none"),
    (routing("  default: agent/x"), "9: routing.default: `agent/x`: the default route cannot be an agent"),
    (routing("  aliases: {a: agent/}"), "9: routing.aliases.a: unknown model or route `agent/`"),
    (
        routing("  nudges: {code: {open: 0.1, open/any: 0.1, opena: 0.1}}"),
        "9: routing.nudges.code.opena: unknown model or provider `opena`; did you mean `openai`?",
    ),
    (
        routing("  nudges: {code: {gpt-4o: 0.1}}"),
        "9: routing.nudges.code.gpt-4o: unknown model or provider `gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    # the model that classifies prompts
    (
        routing("  classifier: {kind: llm}"),
        "9: routing.classifier.model: is missing; with `kind: llm`, name the model, tier or scenario",
    ),
    (
        routing("  classifier: {kind: llm, model: gpt-4o}"),
        "9: routing.classifier.model: unknown model or route `gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    (
        routing("  classifier: {kind: llm, model: a}\n  aliases: {a: auto}"),
        "9: routing.classifier.model: `a` cannot classify prompts; use a model, a tier or a scenario",
    ),
    (
        routing("  classifier: {kind: llm, model: mode/fast}"),
        "9: routing.classifier.model: `mode/fast` cannot classify",
    ),
    (routing("  classifier: {kind: llm, model: agent/x}"), "9: routing.classifier.model: `agent/x` cannot classify"),
    # learning
    (
        routing("  mode: fast") + "learning: {enabled: true}\n",
        "10: learning.enabled: needs the features that `routing.classifier.kind",
    ),
    (
        routing("  classifier: {kind: model}") + "learning: {enabled: true, judge: {model: gpt-9}}\n",
        "10: learning.judge.model: unknown model or route `gpt-9`",
    ),
    (
        routing("  classifier: {kind: model}") + "learning: {enabled: true, judge: {model: auto}}\n",
        "10: learning.judge.model: `auto` cannot judge answers; use a model, a tier or a scenario",
    ),
    (
        routing("  classifier: {kind: model}") + "learning: {enabled: true, shadow: {share: 0.1}}\n",
        "10: learning.shadow.share: needs `learning.judge.model`, which judges the answers",
    ),
    # agents
    (MODELS + "agents: {x: {model: gpt-9}}", "8: agents.x.model: unknown model or route `gpt-9`"),
    (
        MODELS + "agents: {x: {model: agent/y}}",
        "8: agents.x.model: `agent/y`: the model of an agent cannot be an agent",
    ),
    (
        MODELS + "routing: {aliases: {a: agent/x}}\nagents: {x: {model: a}}",
        "9: agents.x.model: `a`: the model of an agent cannot be an agent",
    ),
    (MODELS + "agents: {'a/b': {model: openai/gpt-4o}}", "8: agents.a/b: must start with a letter or digit"),
    (
        MODELS + "agents: {x: {model: openai/gpt-4o, prams: {}}}",
        "8: agents.x.prams: unknown setting `prams`; did you mean",
    ),
    (
        MODELS + "agents: {x: {model: openai/gpt-4o, params: {stream: true}}}",
        "8: agents.x.params: must not set `stream`; a request decides it",
    ),
    (
        MODELS + "agents: {x: {model: openai/gpt-4o, tools: [{name: f}]}}",
        "8: agents.x.tools: has an item 0 that is not a tool",
    ),
    (
        MODELS + "agents: {x: {model: openai/gpt-4o, tools: [{type: function}]}}",
        "8: agents.x.tools: has an item 0 without the `name` of its function",
    ),
    (routing("  mode: quick"), "9: routing.mode: must be `fast`, `balanced` or `accurate`"),
    (
        routing("  aliases: {a: openai/gpt-40}"),
        "9: routing.aliases.a: unknown model or route `openai/gpt-40`; did you mean",
    ),
    (routing("  aliases: {a: a}"), "9: routing.aliases.a: is a loop: `a` -> `a`"),
    (routing("  aliases: {mode: openai/gpt-4o}"), "9: routing.aliases.mode: `mode` is reserved for routes"),
    (routing("  aliases: {tier/x: openai/gpt-4o}"), "9: routing.aliases.tier/x: `tier` is reserved for routes"),
    (routing("  aliases: {'': openai/gpt-4o}"), "9: routing.aliases.: must have a name"),
    (
        routing("  aliases: {openai/x: openai/gpt-4o}"),
        "9: routing.aliases.openai/x: would hide models of the provider `openai`",
    ),
    (routing("  tiers: {low: []}"), "9: routing.tiers.low: is empty; add at least one model, or remove it"),
    (routing("  tiers:\n    low:"), "10: routing.tiers.low: is empty; add at least one model, or remove it"),
    (routing("  tiers: {lo: [openai/gpt-4o]}"), "9: routing.tiers.lo: unknown setting `lo`; did you mean `low`?"),
    (routing("  tiers:\n    low:\n      - openai/gpt-5"), "11: routing.tiers.low[0]: unknown model `openai/gpt-5`"),
    (routing("  tiers: {low: [tier/high]}"), "9: routing.tiers.low[0]: a tier lists models, not `tier/high`"),
    (routing("  scenarios:\n    s: []"), "10: routing.scenarios.s: is empty; add at least one model, or remove it"),
    (routing("  scenarios:\n    s:"), "10: routing.scenarios.s: is empty; add at least one model, or remove it"),
    (routing("  scenarios: {a/b: [openai/gpt-4o]}"), "9: routing.scenarios.a/b: must have a name without `/`"),
    (routing("  scenarios: {s: openai/gpt-5}"), "9: routing.scenarios.s[0]: unknown model `openai/gpt-5`"),
    (routing("  scenarios: {s: [auto]}"), "9: routing.scenarios.s[0]: a scenario lists models and tiers, not `auto`"),
    (
        routing("  scenarios: {s: [tier/lo]}"),
        "9: routing.scenarios.s[0]: unknown tier `tier/lo`; did you mean `tier/low`?",
    ),
    (routing("  scenarios: {s: [3]}"), "9: routing.scenarios.s[0]: unknown model `3`"),
    (routing("  scenarios: {s: [null]}"), "9: routing.scenarios.s[0]: must be a mapping of settings"),
    (
        routing("  scenarios:\n    support:\n      - opnai/gpt-4o"),
        "11: routing.scenarios.support[0]: unknown model `opnai/gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    (
        routing("  scenarios:\n    s:\n      - {model: gpt-4o-mini}"),
        "11: routing.scenarios.s[0]: unknown model `gpt-4o-mini`; did you mean `openai/gpt-4o-mini`?",
    ),
    (
        routing("  aliases: {any: auto}\n  scenarios: {s: [any]}"),
        "10: routing.scenarios.s[0]: a scenario lists models and tiers, not the alias `any`, which stands for `auto`",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {stream: true}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {model: x}}]}"),
        "9: routing.scenarios.s[0].set: must not set",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {messages: x}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {router: x}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {a: [.inf]}}]}"),
        "9: routing.scenarios.s[0].set: has a value",
    ),
    (routing("  scenarios: {s: [{model: openai/gpt-4o, prio: 1}]}"), "9: routing.scenarios.s[0].prio: unknown setting"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected.split(":")[1].strip() for _, expected in WRONG])
def test_a_mistake_is_reported_with_path_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    [found] = problems(tmp_path, text)

    assert found.startswith(f"signalbox.yaml:{expected}")


def test_a_loop_of_aliases_is_reported_at_each_of_them(tmp_path: Path) -> None:
    text = "  aliases:\n    a: b\n    b: c\n    c: a\n    d: a\n  scenarios: {s: [a, d]}"
    found = problems(tmp_path, routing(text))

    assert found == [
        "signalbox.yaml:10: routing.aliases.a: is a loop: `a` -> `b` -> `c` -> `a`",
        "signalbox.yaml:11: routing.aliases.b: is a loop: `b` -> `c` -> `a` -> `b`",
        "signalbox.yaml:12: routing.aliases.c: is a loop: `c` -> `a` -> `b` -> `c`",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "  default: open/anything\n  scenarios: {s: [open/a/b:c]}\n  aliases: {x: open/y}\n  tiers: {low: [open/z, x]}",
        "  default: auto",
        "  default: tier/high",
        "  default: mode/fast",
        "  default: scenario/s\n  scenarios: {s: [{model: a, priority: 3, set: {temperature: 0, stop: [a]}}]}\n"
        "  aliases: {a: b, b: openai/gpt-4o, c: tier/low, d: c, e: auto, vendor/f: scenario/s}",
        "  default: a\n  aliases: {a: openai/gpt-4o}",
        "  classifier: {kind: llm, model: tier/low}",
        "  classifier: {kind: llm, model: s}\n  aliases: {s: scenario/s}\n  scenarios: {s: [openai/gpt-4o]}",
        "  default: reject\n  tiers: {low: [openai/gpt-4o], high: [openai/gpt-4o-mini, openai/gpt-4o]}",
    ],
)
def test_valid_references_are_accepted(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, routing(text)).warnings == ()


@pytest.mark.parametrize("word", ["true", "'yes'", "on", "'${OPEN:-true}'"])
def test_any_model_accepts_every_spelling_of_true(tmp_path: Path, word: str) -> None:
    text = f"providers: {{p: {{base_url: http://x/v1, any_model: {word}}}}}\nrouting: {{default: p/anything}}\n"

    assert loaded(tmp_path, text).warnings == ()


def test_a_probable_misspelling_is_a_warning(tmp_path: Path) -> None:
    text = MODEL % "capabilities: [tools, vison, eu_hosted], specialties: [codes, poetry]"

    where = f"{tmp_path}/signalbox.yaml:3: models[0]"
    assert loaded(tmp_path, text).warnings == (
        f"{where}.capabilities[1]: `vison` is not a known value; did you mean `vision`?",
        f"{where}.specialties[0]: `codes` is not a known value; did you mean `code`?",
    )


def test_suggestions_for_many_wrong_names_are_bounded(tmp_path: Path) -> None:
    listed = "\n".join(f"  - id: p/model-{number}" for number in range(300))
    wrong = "\n".join(f"      - q/other-{number}" for number in range(300))
    text = f"providers: {{p: {{base_url: http://x/v1}}}}\nmodels:\n{listed}\nrouting:\n  scenarios:\n    s:\n{wrong}\n"

    assert len(problems(tmp_path, text)) == 100
