"""YAML text to nodes."""

from typing import Any

import pytest

from proxy.config.yaml.document import MAX_DEPTH, MAX_NODES, Mapping, Scalar, Sequence, YamlError, parse, value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-7", -7),
        ("128_000", 128000),
        ("0x1f", 31),
        ("0o17", 15),
        ("007", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("on", "on"),
        ("yes", "yes"),
        ("2024-10-21", "2024-10-21"),
        ("12:30", "12:30"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 5", "5"),
    ],
)
def test_a_scalar_means_what_it_looks_like(text: str, expected: Any) -> None:
    node = parse(f"a: {text}")

    assert isinstance(node, Mapping)
    scalar = node.pairs[0][1]
    assert isinstance(scalar, Scalar)
    assert value(scalar) == expected
    assert type(value(scalar)) is type(expected)


def test_infinity_and_nan_are_numbers() -> None:
    assert value(Scalar(".inf", 1)) == float("inf")
    assert value(Scalar("-.Inf", 1)) == float("-inf")
    assert value(Scalar(".nan", 1)) != value(Scalar(".nan", 1))


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "~", "null\n"])
def test_an_empty_text_has_no_document(text: str) -> None:
    assert parse(text) is None


def test_nodes_know_their_line() -> None:
    node = parse("a: 1\nb:\n  - x\n  - {c: 2}\n")

    assert isinstance(node, Mapping)
    assert [(key.line, item.line) for key, item in node.pairs] == [(1, 1), (2, 3)]
    sequence = node.pairs[1][1]
    assert isinstance(sequence, Sequence)
    assert [item.line for item in sequence.items] == [3, 4]


def test_a_given_line_holds_for_every_node() -> None:
    node = parse("[a,\n b]", line=12)

    assert isinstance(node, Sequence)
    assert [item.line for item in node.items] == [12, 12]


def test_an_alias_shares_the_node_of_its_anchor() -> None:
    node = parse("a: &x {k: 1}\nb: *x\n")

    assert isinstance(node, Mapping)
    assert node.pairs[0][1] is node.pairs[1][1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\n b: 2\n", 2, "not valid YAML"),
        ('a: "x\n', 2, "not valid YAML"),
        ("\ta: 1\n", 1, "not valid YAML"),
        ("a: 1\nb: @x\n", 2, "not valid YAML"),
        ("a: 1\nb: *nowhere\n", 2, "in quotes"),
        ("a: 1\nb: &x [*x]\n", 2, "alias of itself"),
        ("a: 1\nb: !thing x\n", 2, "in quotes"),
        ("a: !!python/object:os.system x\n", 1, "has a tag, which is not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: \x01\n", 1, "control character"),
        ("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), 1, "nested more than"),
        ("a: [" + "1," * MAX_NODES + "]", 1, "more than"),
    ],
)
def test_invalid_yaml_is_rejected_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(YamlError, match=words) as caught:
        parse(text)

    assert caught.value.line == line


@pytest.mark.parametrize(
    "text", ["a: *sk-secret-1\n", "a: !sk-secret-1 x\n", "a: !sk-secret!1 x\n", "a: [sk-secret: 1\n"]
)
def test_a_syntax_error_quotes_nothing_of_the_file(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)

    assert "sk-secret" not in str(caught.value)


def test_a_hundred_thousand_brackets_do_not_exhaust_the_stack() -> None:
    with pytest.raises(YamlError):
        parse("[" * 100_000)
