"""Virtual keys: their form, their checksum, and their digests under peppers."""

from __future__ import annotations

import hashlib
import hmac
import re
from zlib import crc32

import pytest

from proxy.admission.keys import Peppers, is_well_formed, new_key

OLD, NEW = "o" * 32, "n" * 32
FIXED = "sb-" + "A" * 43


def test_a_new_key_has_its_form() -> None:
    keys = {new_key() for _ in range(50)}

    assert len(keys) == 50
    assert [key for key in keys if not re.fullmatch(r"sb-[0-9A-Za-z]{49}", key) or not is_well_formed(key)] == []


def test_the_checksum_is_crc_32_in_base62() -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    key = new_key()

    number = 0
    for character in key[-6:]:
        number = number * 62 + alphabet.index(character)

    assert number == crc32(key[3:-6].encode())


@pytest.mark.parametrize("change", range(3, 52))
def test_a_key_with_one_wrong_character_is_malformed(change: int) -> None:
    key = new_key()
    other = "b" if key[change] == "a" else "a"

    assert not is_well_formed(key[:change] + other + key[change + 1 :])


@pytest.mark.parametrize("key", ["", "sb-", FIXED, FIXED + "000000", "sk-" + "A" * 49, "sb-" + "\u0663" * 49])
def test_other_texts_are_malformed(key: str) -> None:
    assert not is_well_formed(key)


def test_a_key_with_something_around_it_is_malformed() -> None:
    key = new_key()

    assert not any(is_well_formed(other) for other in (f" {key}", f"{key}\n", f"{key}A", key[:-1], key.upper()))


def test_a_key_is_stored_as_its_hmac_under_the_newest_pepper() -> None:
    issued = Peppers([NEW, OLD]).issue()

    assert issued.digest == hmac.new(NEW.encode(), issued.key.encode(), hashlib.sha256).digest()
    assert issued.pepper_id == Peppers([NEW]).ids[0]
    assert (issued.prefix, issued.last4) == (issued.key[:8], issued.key[-4:])


@pytest.mark.parametrize("size", [1, 32, 63, 64, 65, 200])
def test_digest_is_hmac_sha_256_for_peppers_of_any_length(size: int) -> None:
    pepper, key = "\u00e9" + "p" * size, new_key()

    assert Peppers([pepper]).digest(key) == hmac.digest(pepper.encode(), key.encode(), "sha256")


def test_a_rotated_pepper_verifies_its_keys() -> None:
    issued = Peppers([OLD]).issue()
    rotated = Peppers([NEW, OLD])

    assert rotated.digests(issued.key) == [rotated.digest(issued.key), issued.digest]
    assert rotated.ids == [*Peppers([NEW]).ids, issued.pepper_id]


def test_the_id_of_a_pepper_shows_nothing_of_it() -> None:
    [one], [other] = Peppers([OLD]).ids, Peppers([OLD + "x"]).ids

    assert re.fullmatch(r"[0-9a-f]{8}", one)
    assert one != other
