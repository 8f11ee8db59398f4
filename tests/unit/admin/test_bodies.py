"""What operators send is read strictly, and the first mistake is named."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from proxy.admin.bodies import read_body
from proxy.core.errors import InvalidRequest

LONG = "x" * 80  # no more of a name is said


FIELDS = "the fields are `provider`, `seconds`, `part`"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    usd: float = 0.0


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str
    seconds: float = Field(default=0.0, ge=0)
    part: Part | None = None


def test_a_body_is_read_with_its_defaults() -> None:
    assert read_body(Sent, b'{"provider": "acme"}') == Sent(provider="acme", seconds=0.0)


@pytest.mark.parametrize(
    ("raw", "param", "message"),
    [
        (b"{}", "provider", "`provider`: is required."),
        (b'{"provider": 7}', "provider", "`provider`: must be a string."),
        (b'{"provider": "a", "seconds": -1}', "seconds", "`seconds`: must be greater than or equal to 0."),
        (b'{"provider": "a", "modell": 1}', "modell", f"`modell`: there is no such field; {FIELDS}."),
        (b'{"provider": "a", "%s": 1}' % (b"x" * 99), LONG, f"`{LONG}`: there is no such field; {FIELDS}."),
        (b'{"provider": "a", "part": 5}', "part", "`part`: must be an object; the fields are `usd`."),
        (
            b'{"provider": "a", "part": {"eur": 5}}',
            "part.eur",
            "`part.eur`: there is no such field; the fields are `usd`.",
        ),
    ],
)
def test_the_first_mistake_is_named(raw: bytes, param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(Sent, raw)

    assert (caught.value.param, str(caught.value)) == (param, message)


def test_what_is_no_object_is_a_mistake_of_the_body() -> None:
    with pytest.raises(InvalidRequest, match="^`body`: ") as caught:
        read_body(Sent, b"[]")

    assert caught.value.param == "body"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_told(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^The body is not valid JSON\.$"):
        read_body(Sent, raw)
