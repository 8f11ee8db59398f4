"""The language that a prompt asks for."""

from __future__ import annotations

import pytest

from proxy.learning.languages import is_in_other_language, language_asked

TEXTS = {
    "en": "The bridge is one of the oldest in the country, and it has been repaired many times by the people.",
    "de": "Die Brücke ist eine der ältesten im Land, und sie wurde von den Leuten nicht nur einmal repariert."
    " Er ist für die Leute da.",
    "fr": "Le pont est un des plus anciens du pays, et il a été réparé plus d'une fois par les gens.",
    "es": "El puente es uno de los más antiguos del país, y ha sido reparado por la gente de la ciudad más de una vez.",
    "ru": "Этот мост один из самых старых в стране, и жители города чинили его уже много раз.",
    "zh": "这座桥是全国最古老的桥梁之一，城里的人们已经多次修缮过它，并且每年都会进行检查和维护。",
}


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("Answer in German, please.", "de"),
        ("Please reply only in FRENCH", "fr"),
        ("Antworte bitte auf Englisch.", "en"),
        ("Responde en español", "es"),
        ("Write a poem in Chinese.", "zh"),
        ("Translate this German letter.", None),
        ("Do not answer in German.", None),
        ("Never reply in French", None),
        ("Answer in German or reply in French.", None),
        ("Who was born in France?", None),
    ],
)
def test_the_language_that_is_asked_for(prompt: str, language: str | None) -> None:
    assert language_asked(prompt) == language


@pytest.mark.parametrize("asked", TEXTS)
@pytest.mark.parametrize("written", TEXTS)
def test_a_text_in_another_language(asked: str, written: str) -> None:
    assert is_in_other_language(TEXTS[written], asked) is (asked != written)


@pytest.mark.parametrize("text", ["", "42", "Paris", "```python\n" + "the = and_of_to\n" * 30 + "```", "x " * 100])
def test_a_short_text_and_code_are_in_no_language(text: str) -> None:
    assert not is_in_other_language(text, "de")
