"""Embeddings, there and back."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.gemini.embeddings import embeddings_answer, embeddings_request


def test_one_text_is_embedded_alone() -> None:
    method, native, dropped = embeddings_request({"model": "x", "input": "Hi", "user": "u"}, "gemini-embedding-001")

    assert method == "embedContent"
    assert native == [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "Hi"}]}}]
    assert dropped == ("user",)


def test_several_texts_are_embedded_in_a_batch() -> None:
    method, native, dropped = embeddings_request({"input": ["a", "b"], "dimensions": 8, "user": None}, "tunedModels/e")

    assert method == "batchEmbedContents"
    assert native[0]["requests"][1] == {
        "model": "tunedModels/e",
        "content": {"parts": [{"text": "b"}]},
        "outputDimensionality": 8,
    }
    assert dropped == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", [1, 2, 3]),
        ("input", [[1, 2], [3]]),
        ("input", []),
        ("input", None),
        ("input", {"text": "x"}),
        ("dimensions", 0),
        ("dimensions", "8"),
        ("dimensions", True),
        ("encoding_format", "int8"),
    ],
)
def test_what_cannot_be_embedded_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embeddings_request({"input": "x", name: value}, "m")

    assert caught.value.param == name


@pytest.mark.parametrize(("count", "sizes"), [(100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_many_texts_are_split_into_batches(count: int, sizes: list[int]) -> None:
    _, native, _ = embeddings_request({"input": [str(n) for n in range(count)]}, "m")

    assert [len(body["requests"]) for body in native] == sizes
    sent = [each["content"]["parts"][0]["text"] for body in native for each in body["requests"]]
    assert sent == [str(n) for n in range(count)]


@pytest.mark.parametrize("gap", ["", "\n", " " * 100 + "\r\n"])
def test_the_answers_to_batches_become_one(gap: str) -> None:
    batches = [range(100), range(100, 101)]
    values = [
        {"embeddings": [{"values": [n]} for n in batch], "usageMetadata": {"promptTokenCount": 7}} for batch in batches
    ]

    answer, usage = embeddings_answer(gap.join(map(json.dumps, values)).encode(), {"input": ["x"] * 101}, "e")

    assert [item["embedding"] for item in json.loads(answer)["data"]] == [[float(n)] for n in range(101)]
    assert usage == Usage(input=14)


@pytest.mark.parametrize("last", ["", '{"embeddings": [{"values": [1]}', '{"embeddings": []}', "[]", "3"])
def test_a_missing_batch_is_a_failure(last: str) -> None:
    first = json.dumps({"embeddings": [{"values": [1]}] * 100})

    with pytest.raises(UpstreamFailure):
        embeddings_answer((first + last).encode(), {"input": ["x"] * 101}, "e")


def test_vectors_come_back_in_order() -> None:
    raw = json.dumps({"embeddings": [{"values": [0.5, 1]}, {"values": [2e-05, -1]}]}).encode()

    answer, usage = embeddings_answer(raw, {"input": ["a", "b"]}, "e")

    assert json.loads(answer) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [2e-05, -1.0]},
        ],
        "model": "e",
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }
    assert usage is None


def test_base64_is_little_endian_and_tokens_are_told_where_known() -> None:
    raw = json.dumps({"embedding": {"values": [0.25, -2]}, "usageMetadata": {"promptTokenCount": 4}}).encode()

    answer, usage = embeddings_answer(raw, {"input": "a", "encoding_format": "base64"}, "e")

    value = json.loads(answer)
    assert struct.unpack("<2f", base64.b64decode(value["data"][0]["embedding"])) == (0.25, -2.0)
    assert value["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert usage == Usage(input=4)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b"{}",
        b'{"embeddings":3}',
        b'{"embeddings":[]}',
        b'{"embeddings":[{"values":[]}]}',
        b'{"embeddings":[{"values":["x"]}]}',
        b'{"embeddings":[{"values":[NaN]}]}',
        b'{"embeddings":[{"values":[1e300]}]}',
        b'{"embeddings":[{"values":[1]},{"values":[1]}]}',
    ],
)
def test_an_answer_that_is_no_list_of_vectors_is_malformed(raw: bytes) -> None:
    with pytest.raises(UpstreamFailure):
        embeddings_answer(raw, {"input": "a"}, "e")


@pytest.mark.parametrize("raw", [b"{}" * 100_000, b'{"embeddings": []}' * 50_000, b'{"embeddings": []} x'])
def test_more_answers_than_batches_are_a_fault(raw: bytes) -> None:
    with pytest.raises(UpstreamFailure):
        embeddings_answer(raw, {"input": ["a"] * 150}, "m")
