"""Prompts made of templates, for tasks of which the training data has few: translation, writing, extraction, advice.

`templates.txt` has the templates of each task, and topics that fill them. Sentences, passages and programs come from
the training data.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from proxy.core.model import TASKS

NUMBERS = (2, 3, 4, 5, 7, 8, 9, 12, 15, 18, 20, 24, 25, 30, 36, 40, 48, 60, 75, 80, 100, 120, 150, 240, 365, 1000)

# How an examiner writes a multiple-choice question, the sign after a letter, and the number of options.
FORMS = (
    ("{question}\n{options}", ".", 10),
    ("Question: {question}\nOptions:\n{options}\nAnswer:", ")", 4),
    ("Choose the correct answer.\n\n{question}\n\n{options}", ".", 4),
    ("{question}\n\n{options}\n\nAnswer with the letter of the right option.", ")", 10),
    ("Answer this multiple-choice question and explain.\n{question}\n{options}", ".", 4),
)
_DISTINCT = ("{s}", "{l}")  # a template that repeats one of these gets another value each time


def read_templates() -> dict[str, list[str]]:
    """Return the lines of each section of `templates.txt`."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in Path(__file__).with_name("templates.txt").read_text("utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1]
        elif line:
            sections.setdefault(name, []).append(line.replace("\\n", "\n"))
    return sections


def make_prompts(
    sentences: Sequence[str], passages: Sequence[str], programs: Sequence[str], each: int = 700
) -> list[tuple[str, str]]:
    """Return pairs of a prompt and its task, about `each` per task; the same for the same arguments."""
    rng, sections = random.Random(7), read_templates()
    choices: dict[str, Sequence[object]] = {
        "{t}": sections["topics"],
        "{u}": sections["topics"],
        "{l}": sections["languages"],
        "{k}": sections["jobs"],
        "{d}": sections["structures"],
        "{n}": sections["names"],
        "{a}": NUMBERS,
        "{b}": NUMBERS,
        "{c}": NUMBERS,
        "{s}": sentences,
        "{p}": passages,
        "{x}": programs,
    }
    made: dict[str, str] = {}
    for task in TASKS:
        for at in range(each):
            text = sections[task][at % len(sections[task])]
            for name, values in choices.items():
                while name in text:
                    text = text.replace(name, str(rng.choice(values)), 1 if name in _DISTINCT else -1)
            made.setdefault(_varied(text, rng), task)
    return list(made.items())


def multiple_choice(at: int, question: str, options: Sequence[str]) -> str:
    """Return a question with its options, in the form with a number; numbers start over after the last form."""
    form, sign, most = FORMS[at % len(FORMS)]
    listed = [f"{letter}{sign} {option}" for letter, option in zip("ABCDEFGHIJ", options[:most], strict=False)]
    return form.format(question=question, options="\n".join(listed))


def _varied(text: str, rng: random.Random) -> str:
    """Return the text as some people would write it."""
    chance = rng.random()
    if chance < 0.15:
        return text.lower()
    return f"Please {text[0].lower()}{text[1:]}" if chance < 0.25 else text
