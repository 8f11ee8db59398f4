"""The training data: files of a folder, with labels for those prompts that have none.

    mmlu_pro_nonmmlu.jsonl.gz   exam questions, with the result of each of 29 models
    mmlu_pro_models.json        the models
    task_prompts.jsonl.gz       prompts with a task, or with a hint of it (`name`, `cluster`)
    word_vectors_64.npz         vectors of words

`docs/routing.md` lists the sources and licences of the texts. The package contains none of them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTIONS, MODELS, PROMPTS, VECTORS = (
    "mmlu_pro_nonmmlu.jsonl.gz",
    "mmlu_pro_models.json",
    "task_prompts.jsonl.gz",
    "word_vectors_64.npz",
)
# The difficulty of a question is the share of these models, of 7 to 70 billion parameters, that fail it.
JUDGES = (
    "Meta-Llama-3-8B",
    "Meta-Llama-3-70B",
    "Mixtral-8x7B-Instruct-v0.1",
    "Mistral-7B-Instruct-v0.2",
    "Qwen1.5-7B-Chat",
    "Qwen1.5-72B-Chat",
    "Yi-34B",
    "gemma-7b",
)

# The task of a prompt of the self-instruct seeds, by its name.
_BY_NAME = {
    "chat": (
        "breakfast_suggestion movie_recommendation game_suggestion medicine_suggestion "
        "school_lunches snack_suggestion suggestion_for_breaking_up chat_response "
        "start_conversation idiom_meaning interview_question_answering harry_potter_spells "
        "national_dishes pre-run_warmup exercise_explanation coach_planning "
        "de-stress_list recipe_by_ingredient reducing_belly_fat_exercises city_todo_list "
        "plan_a_trip grocery_list new_year's_resolutions birthday_planning_checklist "
        "behavioral_interview cooking_recipe sports_coach_qualifications workout_motivation "
        "food_and_drink_collocations "
    ),
    "writing": (
        "email_subject_generation english_haiku_generation refuse_invitation_email horror_movie_opening "
        "story_composition fact_to_conversation metaphor_for_a_situation joke_about_phd "
        "sentence_with_specified_ending three_sentence_story knock_knock_joke paper_title_generation "
        "new_ice_cream complete_the_lyrics movie_ending question-answer_jokes "
        "complete_paragraph product_description_generation dad_joke_intensified plain_to_professional "
        "paraphrase_a_paragraph decline_a_job_offer_email gender_neutral_rewriting writing_article_from_outline "
        "negative_blender_review recommendation_letter better_word_choice dialect_translation "
        "learn_to_hedge reduce_unconscious_bias one_sentence_description funny_interview_question "
        "plan_syllabus proverbs "
    ),
    "analysis": (
        "antonym_relation explain_behavior analogy_completion explain_without-background "
        "biased_question unethical_behavior_at_workplace explain_social_stereotypes_of_professions. "
        "part-time_job_pros_and_cons "
        "brainstorming_method_explanation science_cannot_explain explain_like_i_am_5 explain_natural_phenomenon "
        "why’s_it_not_funny what_time_to_use_humor chess_puzzle ethical_dilemma "
        "sue_or_not ask_for_law stereotype_explanation syllogism "
        "ethicality_judgement job_suitableness bias_identification fact_verification "
        "fact_checking color_explanation multipe_choice_qa "
    ),
    "math": (
        "fun_math_question find_subset_of_numbers_with_target_sum perfect_numbers solving_equation "
        "math_word_problem_with_reasoning measurement_conversion solving_math_problem temperature_conversion "
        "word_math_with_algebra solve_equation_system monthly_budget numerical_question_answering "
    ),
    "code": (
        "write_comments_in_python complete_python_code code_todo regular_expression_generation "
        "text_to_sql htlm_task python_code_generation python_sorting "
        "code_for_bitcoin_price program_for_summation javascript_date_and_time python_leetcode "
        "code_syntax_error "
    ),
    "extraction": (
        "dependency_parsing question_answering_generation_from_facts entity_linking_to_wikipedia extract_country_names "
        "word_location_in_text summarizing_news paper_summarization finding_toxic_words "
        "anonymizing_human_names question_answering question_answering_with_template sentence_pos_tagging "
        "pos_tag_for_word ner_fill-in-the-blank summarize_email toxic_sentence_detection "
        "passive-aggressiveness_identification topic_classification spam_classification promotion_identification "
        "support_classification news_categories_multi_labels hate_speech_detection democrats_or_republicans "
        "most_relevant_passage longest_sentence largest_number paraphrasing_classification "
        "privacy_task datatuner_example "
    ),
    "translation": ("english_to_chinese_translation "),
}
_TASK_OF_NAME = {name: task for task, names in _BY_NAME.items() for name in names.split()}
_CODE_WORDS = """
    code python c++ sql javascript typescript android css docker django flask regex html programming api
    web algorithm kotlin rust php react laravel symfony node vb6 vba bash awk shell linux kernel script
    cuda pytorch hlsl matplotlib pandas streamlit tkinter tailwind svelte swift wpf ffmpeg kubernetes
    nix aws ssh gis hdl verilog assembly deobfuscation shiny odoo roblox discord bot gradio svg excel
    jax databricks yolo sockets scraping github subtitle
"""
_MATH_WORDS = "math mathematics algebra probability calculations prime triangle geometry dice irrationality statistics"
# Words in the name of a cluster of Arena-Hard prompts that show a task; other clusters stay without a label.
_BY_CLUSTER = {
    "code": frozenset(_CODE_WORDS.split()),
    "math": frozenset(_MATH_WORDS.split()),
    "translation": frozenset(("translation",)),
    "extraction": frozenset(("extraction", "sentiment")),
}


@dataclass(frozen=True, slots=True)
class Question:
    """An exam question, with the result of each model: True, False, or `None` if it is missing."""

    text: str
    options: tuple[str, ...]
    category: str
    results: dict[str, bool]

    @property
    def difficulty(self) -> float:
        """The share of the judges that fail it."""
        results = [self.results[model] for model in JUDGES if model in self.results]
        return 1 - sum(results) / len(results)

    @property
    def with_options(self) -> str:
        """The question with its first four options, as multiple-choice prompts have them."""
        listed = (f"{letter}. {option}" for letter, option in zip("ABCD", self.options, strict=False))
        return "\n".join((self.text, *listed))


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt with its task."""

    text: str
    task: str
    source: str


@dataclass(frozen=True, slots=True)
class Data:
    """All training data."""

    questions: Sequence[Question]
    prompts: Sequence[Labelled]
    vectors: dict[str, Any]  # of words: arrays of 64 numbers
    sha256: str  # of the files


def read_data(folder: Path) -> Data:
    """Read the files of a folder. Raises `OSError` if one is missing."""
    import numpy

    contents = [(folder / name).read_bytes() for name in (QUESTIONS, MODELS, PROMPTS, VECTORS)]
    models = json.loads(contents[1])["models"]
    questions = [_question(row, models) for row in _rows(contents[0])]
    rows = _rows(contents[2])
    labelled = [Labelled(row["text"], task, row["source"]) for row in rows if (task := _task(row)) is not None]
    with numpy.load(folder / VECTORS) as file:
        words = str(file["words"]).split("\n")
        vectors = dict(zip(words, file["vectors"].astype(numpy.float64) * float(file["scale"]), strict=True))
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
    return Data(questions, labelled, vectors, digest)


def _rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def _question(row: dict[str, Any], models: Sequence[str]) -> Question:
    results = {model: mark == "1" for model, mark in zip(models, row["ok"], strict=True) if mark != "-"}
    return Question(row["q"], tuple(row["options"]), row["category"], results)


def _task(row: dict[str, Any]) -> str | None:
    """Return the task of a prompt, from its label or its hint."""
    if row.get("task"):
        return str(row["task"])
    if "name" in row:
        return _TASK_OF_NAME.get(row["name"])
    words = set(str(row.get("cluster", "")).lower().replace("&", " ").replace(",", " ").split())
    return next((task for task, hints in _BY_CLUSTER.items() if words & hints), None)
