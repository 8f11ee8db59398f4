"""The trained classifier: the model in the package, and its readings."""

from __future__ import annotations

import json

import pytest

from proxy.core.json_text import compact
from proxy.core.model import TASKS
from proxy.routing.classify.prompt import bounded
from proxy.routing.classify.trained import FILE, MAGIC, TRAINED, Model, compressed, load, pack_words, unpack_words
from tests.unit.routing.build import call

TASK_OF = {
    "def add(a, b): return a - b  # why does this function return the wrong value?": "code",
    "Write a short poem about autumn in the mountains.": "writing",
    "What are the advantages and disadvantages of remote work?": "analysis",
    "Translate the following sentence into French: The train leaves at noon.": "translation",
    "A shop sells 3 apples for $2. How much do 12 apples cost?": "math",
    "Summarize this article in two sentences.\n\nThe council met on Monday to discuss the new bridge.": "extraction",
    "Hello, how are you today?": "chat",
}


@pytest.mark.parametrize(("text", "task"), TASK_OF.items(), ids=TASK_OF.values())
def test_a_plain_prompt_has_its_task(text: str, task: str) -> None:
    assert load().read(text).task == task


def test_a_physics_problem_is_harder_than_small_talk() -> None:
    hard = "A 3 kg block slides down a 30 degree incline with friction coefficient 0.2. Determine its speed after 5 m."

    assert load().read(hard).difficulty > load().read("Hi, how are you?").difficulty + 0.2


def test_code_and_math_are_harder_than_writing_of_the_same_length() -> None:
    code = "Write a function in Python that merges overlapping intervals of a sorted list and tests for it."
    math = "A bag has 5 red and 7 blue balls. How likely is it that two drawn balls have the same color?"
    writing = "Write a friendly invitation to a garden party in June for the neighbors of our little street."
    difficulty = {text: load().read(text).difficulty for text in (code, math, writing)}

    assert min(difficulty[code], difficulty[math]) > difficulty[writing] + 0.1


def test_a_calculation_in_words_is_harder_with_more_steps() -> None:
    one = "Tom has 3 boxes of 12 pencils. How many pencils does he have?"
    more = "Tom has 3 boxes of 12 pencils. He gives 5 to Ann and buys 2 more boxes. He loses 4. How many does he have?"

    assert load().read(more).difficulty > load().read(one).difficulty + 0.02


def test_difficulties_beyond_the_scale_stay_in_order() -> None:
    values = [compressed(at / 20) for at in range(-6, 27)]

    assert values == sorted(set(values))
    assert 0 < values[0] < values[-1] < 1
    assert [compressed(value) for value in (0.15, 0.5, 0.85)] == [0.15, 0.5, 0.85]


def test_hard_prompts_stay_in_order_with_a_high_effort() -> None:
    problem = (
        "A 3 kg block slides down a 30 degree incline with friction coefficient 0.2. Determine its speed after 5 m."
    )
    harder = f"{problem} Calculate the heat in kJ, and the work of the normal force in N m, for 2.5 and 4.75 kg."

    scores = [
        TRAINED.classify(call("auto", text, body={"reasoning_effort": "xhigh"})).score for text in (problem, harder)
    ]

    assert 0.9 < scores[0] < scores[1] < 1


def test_the_model_is_small() -> None:
    assert FILE.stat().st_size <= 500 * 1024


@pytest.mark.parametrize(
    "text", ["", " ", "\ud800", "a" * 100_000, "1" * 100_000, "{};" * 30_000, "\x00", "ہیلو", "🙂" * 5_000]
)
def test_odd_text_has_a_bounded_reading(text: str) -> None:
    reading = load().read(bounded(text))

    assert 0 <= reading.difficulty <= 1
    assert 0 <= reading.confidence <= 1
    assert reading.task in TASKS


def test_text_in_another_script_has_low_confidence() -> None:
    assert load().read("Напиши рассказ о собаке, которая потерялась в лесу.").confidence <= 0.3


def test_the_strongest_words_explain_a_difficulty() -> None:
    words = load().strongest_words("Explain the torque on a rotating elliptical disc")

    assert words
    assert [weight for _, weight in words] == sorted((weight for _, weight in words), reverse=True)


def test_the_same_call_has_the_same_profile() -> None:
    assert TRAINED.classify(call("auto", "What is 2+2?")) == TRAINED.classify(call("auto", "What is 2+2?"))


def test_a_profile_names_the_model() -> None:
    assert TRAINED.classify(call("auto", "hi")).classifier == f"model {load().version} {load().sha256[:12]}"


def test_packed_words_are_unpacked() -> None:
    words = ["a", "ab", "abc", "b", "bcd", "x" * 60, "x" * 61]

    assert unpack_words(pack_words(words)) == words


def test_a_damaged_model_is_rejected() -> None:
    content = FILE.read_bytes()

    with pytest.raises(ValueError, match="its own hash"):
        Model(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_model_with_another_weight_in_its_header_is_rejected() -> None:
    head, _, payload = FILE.read_bytes().removeprefix(MAGIC).partition(b"\n")
    header = json.loads(head)
    header["kinds"]["tasks"][0] += 0.5

    with pytest.raises(ValueError, match="its own hash"):
        Model(MAGIC + compact(header) + b"\n" + payload)


def test_a_model_of_other_features_is_rejected() -> None:
    head, _, payload = FILE.read_bytes().removeprefix(MAGIC).partition(b"\n")
    header = json.loads(head)
    header["features"] = header["features"][:-1]

    with pytest.raises(ValueError, match="other features"):
        Model(MAGIC + json.dumps(header).encode() + b"\n" + payload)


def test_a_model_without_the_terms_of_kinds_is_rejected() -> None:
    head, _, payload = FILE.read_bytes().removeprefix(MAGIC).partition(b"\n")
    header = json.loads(head)
    del header["kinds"]

    with pytest.raises(ValueError, match="other features"):
        Model(MAGIC + json.dumps(header).encode() + b"\n" + payload)


def test_another_file_is_no_model() -> None:
    with pytest.raises(ValueError, match="not a model"):
        Model(b"{}")
