"""Text of an upstream loses the proxy's secrets, control characters and excess length, and nothing else."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.clean import LONGEST_BODY, LONGEST_FIELD, LONGEST_HEADER, LONGEST_MESSAGE, MOST_HEADERS, Cleaner
from proxy.core.failures import FailureKind, UpstreamFailure

KEY = "sk-proj-AbC_dEf-0123456789-XyZ"
SPARE = "sk-other-key-9876543210"
VALUE = "Tenant-Value-42"
PASSWORD = """pass&<word>"it's"""
CLEANER = Cleaner([KEY, SPARE], [VALUE, PASSWORD, "a-b"])
ESCAPED = KEY.replace("-", "\\u002d")

FORMS = {
    "as it is": KEY,
    "the spare key": SPARE,
    "a configured header": VALUE,
    "lower case": KEY.lower(),
    "upper case": KEY.upper(),
    "JSON escapes": ESCAPED,
    "JSON escapes in capitals": KEY.replace("_", "\\u005F"),
    "all of it in JSON escapes": "".join(f"\\u{ord(character):04x}" for character in KEY),
    "escapes in escapes": json.dumps(ESCAPED)[1:-1],
    "hexadecimal escapes": KEY.replace("-", "\\x2d"),
    "stray backslashes": KEY.replace("-", "\\-"),
    "JSON escapes in braces": KEY.replace("-", "\\u{2d}"),
    "long JSON escapes": KEY.replace("-", "\\U0000002D"),
    "percent": KEY.replace("-", "%2D"),
    "percent twice": KEY.replace("-", "%252d"),
    "all of it in percent": "".join(f"%{ord(character):02X}" for character in KEY),
    "HTML by number": KEY.replace("-", "&#45;"),
    "HTML by hexadecimal number": KEY.replace("-", "&#x2D;"),
    "HTML by name": html.escape(PASSWORD, quote=False).replace('"', "&quot;").replace("'", "&apos;"),
    "characters that are not seen": "\u200b".join(KEY),
    "zeros": "\0".join(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 without padding": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "hexadecimal": KEY.encode().hex(),
    "first half": KEY[: len(KEY) // 2 + 1],
    "second half": KEY[-len(KEY) // 2 - 1 :],
    "middle": KEY[5:-5],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_masked_in_every_form(form: str) -> None:
    assert CLEANER.text(f"Key {form} is wrong.").startswith("Key ***")
    assert "***" in CLEANER.text(form)
    assert form not in CLEANER.text(f"({form})")


@pytest.mark.parametrize("shift", range(3))
def test_base64_is_found_wherever_the_secret_begins(shift: int) -> None:
    encoded = base64.b64encode(b"x" * shift + KEY.encode() + b":y").decode()

    masked = CLEANER.text(encoded)

    assert "***" in masked
    assert len(masked) < 16


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"Key {KEY}.\n{KEY}\t", "type": KEY, "param": None, "code": f"{KEY}\\"}},
        {"error": {"message": f'"{KEY}"', KEY: {"raw": json.dumps({"key": KEY})}}},
        {"error": {"message": f"\\{KEY}\\", "type": f"\n{KEY}"}},
    ],
)
@pytest.mark.parametrize("escapes", [False, True])
def test_a_masked_body_is_still_json(body: object, escapes: bool) -> None:
    raw = json.dumps(body)
    raw = raw.replace("-", "\\u002d") if escapes else raw

    masked = CLEANER.data(raw.encode())

    value = json.loads(masked)
    assert KEY not in json.dumps(value)
    assert "***" in value["error"]["message"]


def test_a_newline_escape_before_a_key_starting_with_n() -> None:
    raw = json.dumps({"error": "\nnvapi-0123456789abcdef \\nvapi-0123456789abcdef \nvapi-0123456789abcdef"})

    masked = Cleaner(["nvapi-0123456789abcdef"]).data(raw.encode())

    assert "0123456789" not in json.loads(masked)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "n must be \\u2264 8\\u002d1", "type": null}}',
        b"<html>100%25 &#45; \\\\</html>",
        "zoë \N{GRINNING FACE} \\ud83d".encode(),
        b"\xff\xfe\x00",
        b"sk-proj- is how a key begins; a-b is too short",
        b"",
    ],
)
def test_what_holds_no_secret_keeps_its_bytes(body: bytes) -> None:
    assert CLEANER.data(body) is body


def test_a_cut_text_does_not_end_with_the_first_part_of_a_key() -> None:
    assert CLEANER.text(f"Key {KEY[:9]}") == "Key ***"
    assert CLEANER.text("x" * (LONGEST_MESSAGE - 8) + f" {KEY} and more").count("sk-") == 0


def test_messages_have_no_control_characters_and_are_cut() -> None:
    assert CLEANER.text("a\x00b\x1b[31m\r\n\tc\x7f\x9b") == "ab [31m \n\tc  "
    assert len(CLEANER.text("x" * 10**6)) == LONGEST_MESSAGE


def test_a_field_is_one_short_line() -> None:
    assert CLEANER.field(None) is None
    assert CLEANER.field("context_length_exceeded") == "context_length_exceeded"
    assert CLEANER.field(f" a\n{KEY}\x01b ") == "a *** b"
    assert len(CLEANER.field("x" * 10**6) or "") == LONGEST_FIELD


def test_a_failure_is_cleaned_in_all_its_parts() -> None:
    native = json.dumps({"error": {"message": KEY, "type": KEY, "code": KEY}}).encode()
    failure = UpstreamFailure(FailureKind.BAD_REQUEST, f"no {KEY}", native=native, param=KEY, code=f"bad {KEY}")

    CLEANER.failure(failure)

    assert (str(failure), failure.param, failure.code) == ("no ***", "***", "bad ***")
    assert failure.native == native.replace(KEY.encode(), b"***")


def test_a_failure_without_a_secret_keeps_its_body() -> None:
    failure = UpstreamFailure(FailureKind.BAD_REQUEST, "no", native=b'{"error": {"message":  "no"}}')

    CLEANER.failure(failure)

    assert failure.native == b'{"error": {"message":  "no"}}'


def test_an_error_body_in_utf_16_is_not_passed_on() -> None:
    failure = UpstreamFailure(FailureKind.BAD_REQUEST, KEY, native=json.dumps({"error": KEY}).encode("utf-16"))

    CLEANER.failure(failure)

    assert (str(failure), failure.native) == ("***", None)


def test_a_very_large_error_body_is_not_passed_on() -> None:
    failure = UpstreamFailure(FailureKind.BAD_REQUEST, "no", native=b"x" * (LONGEST_BODY + 1))

    CLEANER.failure(failure)

    assert failure.native is None


@pytest.mark.parametrize(
    "value", ["", "a\x01b", "a\r\nset-cookie: x", "a\x00", "a\x7f", "zoë", "\u65e5", "x" * (LONGEST_HEADER + 1)]
)
def test_a_header_that_cannot_be_passed_on_is_dropped(value: str) -> None:
    assert CLEANER.header(value) is None
    assert CLEANER.headers({"openai-x": value, "openai-y": "1"}, "openai-") == {"openai-y": "1"}


@pytest.mark.parametrize("form", [KEY, KEY.upper(), f"Bearer {KEY}", quote(KEY), SPARE, KEY.replace("-", "%2d")])
def test_a_header_is_masked(form: str) -> None:
    headers = {"openai-x": f"a {form}", "openai-organization": "org-1", "x-other": form}

    assert "***" in (CLEANER.header(form) or "")
    assert CLEANER.headers(headers, "openai-") == {
        "openai-x": "a Bearer ***" if "Bearer" in form else "a ***",
        "openai-organization": "org-1",
    }


def test_a_header_that_comes_again_is_masked_again() -> None:
    headers = {"openai-x": f"Bearer {KEY}", "openai-y": "2020-10-01"}

    assert [CLEANER.headers(headers, "openai-") for _ in range(3)] == [
        {"openai-x": "Bearer ***", "openai-y": "2020-10-01"}
    ] * 3


def test_the_number_of_headers_is_bounded() -> None:
    headers = {f"openai-{number}": "x" * 100 for number in range(500)}

    assert len(CLEANER.headers(headers, "openai-")) == MOST_HEADERS


@pytest.mark.parametrize(
    "name", ["openai-a b", "openai-\x01", "openai-" + "x" * 100, "openai-ä", f"openai-{KEY.lower()}"]
)
def test_a_header_with_an_odd_name_is_dropped(name: str) -> None:
    assert CLEANER.headers({name: "1"}, "openai-") == {}


@pytest.mark.parametrize(
    "piece", [b"\\", b"\\u002d", b"%25", b"%2", b"&#45;", b"&#x0", KEY[:9].encode(), b"sk-p", b"\\n"]
)
def test_the_length_of_an_error_does_not_matter(piece: bytes) -> None:
    body = piece * (LONGEST_BODY // len(piece))

    assert b"0123456789" not in CLEANER.data(body)


@given(st.text(max_size=200), st.sampled_from(list(FORMS.values())), st.text(max_size=200))
def test_a_key_is_found_between_any_texts(before: str, form: str, after: str) -> None:
    body = json.dumps({"error": {"message": f"{before} {KEY} {after}", "code": form}})

    masked = CLEANER.data(body.encode())

    assert KEY not in json.dumps(json.loads(masked))


PIECES = st.sampled_from(
    [*FORMS.values(), KEY[:7], KEY[4:12], KEY[-8:], "sk-p", "\\", "%2", "&#", "-", " ", "a", "0123456789"]
)


@given(st.lists(PIECES, max_size=5).map("".join).filter(str.isascii))
def test_a_text_in_ascii_is_masked_like_any_other(text: str) -> None:
    assert CLEANER.text(text) == CLEANER.text("\u00e9" + text)[1:]
    assert f"{CLEANER.field(text[:200])}" == f"{CLEANER.field(chr(0xE9) + ' ' + text[:200])}"[1:].lstrip()


@pytest.mark.parametrize("form", [form for form in FORMS.values() if form.isascii() and form.isprintable()])
def test_a_short_text_is_masked_in_every_form(form: str) -> None:
    assert "***" in (CLEANER.header(form) or "")
    assert "***" in (CLEANER.field(form) or "")


def test_many_short_texts_are_masked() -> None:
    texts = [f"{number} {KEY}" for number in range(1000)]

    assert [CLEANER.header(text) for text in texts] == [f"{number} ***" for number in range(1000)]
