"""What operators send is read strictly, and the first mistake is named."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from proxy.admin.bodies import read_body
from proxy.core.errors import InvalidRequest

LONG = "x" * 80  # no more of a name is said


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str
    seconds: float = 0.0


def test_a_body_is_read_with_its_defaults() -> None:
    assert read_body(Sent, b'{"provider": "acme"}') == Sent(provider="acme", seconds=0.0)


@pytest.mark.parametrize(
    ("raw", "param", "message"),
    [
        (b"{}", "provider", "`provider`: field required; see the manual."),
        (b'{"provider": 7}', "provider", "`provider`: input should be a valid string; see the manual."),
        (b'{"provider": "a", "modell": 1}', "modell", "`modell`: there is no such field; see the manual."),
        (b'{"provider": "a", "%s": 1}' % (b"x" * 99), LONG, f"`{LONG}`: there is no such field; see the manual."),
    ],
)
def test_the_first_mistake_is_named(raw: bytes, param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(Sent, raw, "; see the manual")

    assert (caught.value.param, str(caught.value)) == (param, message)


def test_what_is_no_object_is_a_mistake_of_the_body() -> None:
    with pytest.raises(InvalidRequest, match="^`body`: ") as caught:
        read_body(Sent, b"[]")

    assert caught.value.param == "body"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_told(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^The body is not valid JSON\.$"):
        read_body(Sent, raw)
