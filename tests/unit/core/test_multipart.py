"""Forms: where their fields stand, to the byte; and what is no form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.core.multipart import LONGEST_HEAD, LONGEST_VALUE, MOST_PARTS, Form, boundary_of, parse_form
from proxy.core.spans import edit

BOUNDARY = "----XyZ.01"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SOUND = b'\r\n\r\n\x00\xff--not a boundary\r\nname="model"\r\n'


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(raw: bytes) -> Form:
    return parse_form(raw, TYPE)


def test_a_form_gives_its_plain_fields_and_where_they_stand() -> None:
    raw = form(
        part("model", b"whisper-1"),
        part("file", SOUND, '; filename="a.mp3"\r\nContent-Type: audio/mpeg'),
        part("prompt", "Zoë\r\n\r\nAnn".encode()),
        part("language", b""),
    )

    found = read(raw)

    assert found.values == {"model": "whisper-1", "prompt": "Zoë\r\n\r\nAnn", "language": ""}
    assert {name: raw[span.value : span.end].decode() for name, span in found.spans.items()} == found.values
    assert found.repeated == frozenset()


def test_replacing_a_value_keeps_every_other_byte() -> None:
    before = part("file", SOUND, '; filename="a.mp3"'), part("model", b"whisper-1"), part("prompt", b"whisper-1")
    after = before[0], part("model", b"other/model"), before[2]
    raw = form(*before)

    assert edit(raw, read(raw).spans, {"model": b"other/model"}) == form(*after)


@pytest.mark.parametrize(
    "head",
    [
        b'content-disposition: form-data; name="model"',
        b'CONTENT-DISPOSITION:form-data;name="model"',
        b"Content-Disposition: form-data; name=model",
        b"Content-Disposition: form-data; name=model; charset=utf-8",
        b'Content-Disposition: form-data;\r\n name="model"',
        b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain',
    ],
)
def test_however_clients_write_a_field_it_is_found(head: bytes) -> None:
    raw = form(b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\nm\r\n")

    assert read(raw).values == {"model": "m"}


@pytest.mark.parametrize("second", [part("model", b"b"), part("model", b"b").replace(b'"model"', b"model")])
def test_a_field_that_is_there_twice_is_told(second: bytes) -> None:
    assert read(form(part("model", b"a"), part("timestamps[]", b"word"), second)).repeated == {"model"}


@pytest.mark.parametrize("more", ['; filename="m"', "; filename=m", "; filename*=UTF-8''m", '; filename=""'])
def test_a_file_is_no_field_whatever_its_name(more: str) -> None:
    assert read(form(part("model", b"m", more))).values == {}


def test_a_name_in_another_header_is_no_field() -> None:
    head = b'Content-Disposition: form-data\r\nX-Other: content-disposition: form-data; name="model"'

    assert read(form(b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\nm\r\n")).values == {}


def test_a_very_long_value_is_not_read() -> None:
    found = read(form(part("prompt", b"p" * (LONGEST_VALUE + 1)), part("model", b"m")))

    assert found.values == {"model": "m"}


def test_what_stands_around_the_form_is_no_part_of_it() -> None:
    raw = b"This is a form.\r\n" + form(part("model", b"m")) + b'\r\nContent-Disposition: form-data; name="model"'

    assert read(raw).values == {"model": "m"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        part("model", b"m"),
        part("model", b"m")[:-2],
        part("model", b"m")[:30],
        form(part("model", b"m")).replace(b"\r\n\r\n", b"\r\n"),
        form(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n'.encode()),
        form(part("model", b"m"))[:-6],
        form(part("model", b"m")).replace(b"\r\n", b"\n"),
        form(*[part("x", b"")] * (MOST_PARTS + 1)),
    ],
)
def test_a_broken_form_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The form"):
        read(raw)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b;c"', b"a b;c"),
        ("Multipart/Form-Data; charset=utf-8; BOUNDARY=abc; x=y", b"abc"),
    ],
)
def test_the_boundary_is_the_content_types(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=a"],
)
def test_without_a_boundary_there_is_no_form(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="boundary") as refused:
        boundary_of(content_type)

    assert refused.value.param == "content-type"


FIELDS = st.lists(st.tuples(st.sampled_from(["model", "prompt", "file", "a b"]), st.binary(max_size=20)), max_size=5)


@given(FIELDS)
def test_a_form_is_read_as_it_was_written(fields: list[tuple[str, bytes]]) -> None:
    raw = form(*(part(name, value) for name, value in fields))
    last = dict(fields)

    found = read(raw)

    assert {name: raw[span.value : span.end] for name, span in found.spans.items()} == last
    assert found.repeated == {name for name in last if [given for given, _ in fields].count(name) > 1}


@given(
    st.lists(st.sampled_from([b"--" + BOUNDARY.encode(), b"--", b"\r\n", b"\r\n\r\n", b"name=", b"x", part("m", b"")]))
)
def test_no_bytes_raise_anything_but_our_own_error(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    try:
        found = read(raw)
    except InvalidRequest:
        return
    assert all(span.value <= span.end <= len(raw) for span in found.spans.values())


def test_a_part_with_very_long_headers_is_refused() -> None:
    raw = form(part("model", b"whisper-1", "; x=" + "y" * LONGEST_HEAD))

    with pytest.raises(InvalidRequest, match="bytes of headers"):
        read(raw)
