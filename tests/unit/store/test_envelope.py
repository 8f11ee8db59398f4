"""Envelope encryption: what decrypts, and what is detected."""

from __future__ import annotations

import pytest

from proxy.store.envelope import Damaged, Envelope, Place, Sealed, UnknownKek

OLD, NEW = "o" * 32, "n" * 32
PLACE = Place("provider_keys", "pk_1", 1, ("ann", "openai"))
SECRET = "sk-secret-of-a-user"


def test_secret_comes_back() -> None:
    envelope = Envelope([NEW])

    assert envelope.open(PLACE, envelope.seal(PLACE, SECRET)) == SECRET


def test_equal_secrets_have_different_ciphertexts() -> None:
    envelope = Envelope([NEW])

    one, other = envelope.seal(PLACE, SECRET), envelope.seal(PLACE, SECRET)

    assert one.ciphertext != other.ciphertext
    assert one.data_key != other.data_key
    assert SECRET.encode() not in one.ciphertext + one.data_key


@pytest.mark.parametrize(
    "place",
    [
        PLACE._replace(table="other"),
        PLACE._replace(id="pk_2"),
        PLACE._replace(version=2),
        PLACE._replace(owners=("bob", "openai")),
        PLACE._replace(owners=("annopenai",)),
    ],
    ids=["table", "id", "version", "owner", "joined owners"],
)
def test_ciphertext_of_another_record_is_detected(place: Place) -> None:
    envelope = Envelope([NEW])
    sealed = envelope.seal(PLACE, SECRET)

    with pytest.raises(Damaged):
        envelope.open(place, sealed)
    with pytest.raises(Damaged):
        envelope.rewrap(place, sealed)


def test_parts_of_two_records_do_not_fit() -> None:
    envelope = Envelope([NEW])
    one, other = envelope.seal(PLACE, SECRET), envelope.seal(PLACE, SECRET)

    with pytest.raises(Damaged):
        envelope.open(PLACE, one._replace(ciphertext=other.ciphertext))
    with pytest.raises(Damaged):  # the two fields are not interchangeable
        envelope.open(PLACE, one._replace(data_key=one.ciphertext))


def test_every_flipped_or_missing_byte_is_detected() -> None:
    envelope = Envelope([NEW])
    sealed = envelope.seal(PLACE, SECRET)
    changed = [sealed._replace(data_key=each) for each in _changed(sealed.data_key)]
    changed += [sealed._replace(nonce=each) for each in _changed(sealed.nonce)]
    changed += [sealed._replace(ciphertext=each) for each in _changed(sealed.ciphertext)]

    assert [each for each in changed if _opens(envelope, each)] == []


def test_rotation_keeps_the_ciphertext_and_needs_the_old_key_once() -> None:
    sealed = Envelope([OLD]).seal(PLACE, SECRET)
    with pytest.raises(UnknownKek, match="previous_encryption_keys"):
        Envelope([NEW]).open(PLACE, sealed)

    both = Envelope([NEW, OLD])
    rotated = both.rewrap(PLACE, sealed)

    assert both.open(PLACE, sealed) == SECRET
    assert (rotated.ciphertext, rotated.kek_id) == (sealed.ciphertext, both.kek_id)
    assert Envelope([NEW]).open(PLACE, rotated) == SECRET
    with pytest.raises(UnknownKek):
        Envelope([OLD]).open(PLACE, rotated)


def test_wrong_key_under_the_right_name_is_detected() -> None:
    sealed = Envelope([OLD]).seal(PLACE, SECRET)

    with pytest.raises(Damaged):
        Envelope([NEW]).open(PLACE, sealed._replace(kek_id=Envelope([NEW]).kek_id))


@pytest.mark.parametrize("keys", [[], ["x" * 31], [NEW, "short"]], ids=["none", "short", "short previous"])
def test_short_or_missing_key_is_rejected(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="encryption key"):
        Envelope(keys)


def test_length_is_counted_in_bytes() -> None:
    assert Envelope(["\N{EURO SIGN}" * 11]).kek_id


def test_no_text_of_an_envelope_contains_a_key() -> None:
    envelope = Envelope([NEW, OLD])

    assert NEW not in repr(envelope) + envelope.kek_id


def _changed(data: bytes) -> list[bytes]:
    """The data with each byte changed, and cut before each byte."""
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    return flipped + [data[:at] for at in range(len(data))]


def _opens(envelope: Envelope, sealed: Sealed) -> bool:
    try:
        envelope.open(PLACE, sealed)
    except Damaged:
        return False
    return True
