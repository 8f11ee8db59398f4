"""The tasks of prompts that have none in the training data: by their name, by their cluster, or by their position.

Prompts of two sources that have neither were labelled by hand, in the order of the file: a letter of the task for each,
`-` where none fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
_LETTERS = {
    "c": "code",
    "w": "writing",
    "a": "analysis",
    "t": "translation",
    "m": "math",
    "x": "extraction",
    "h": "chat",
    "-": None,
}
_BY_POSITION = {
    "self-instruct-user": """
        wawxwwwww- -cccmc--m- wwwwwhcxha wwhhaccc-h hahhhwhhww wwwwwwwwww wwwaaawwww wccwxaaahh whhccxcchc caxwtaxwhh
        hhhhhhh-mh hhhhhwwtt- xhhhhh-a-h ah-mmmmm-a -hmawhhhww xxxxwxxxxh ha-hahaxhc xhxwxawwww cxawxc--w- wxhwcwwwhc
        wxawhwwwww aw-xccwawc xhxwhxhwwc cxawxhw-a
    """,
    "arena-hard-v0.1": """
        wcaaccaacc wwmmcca-cc ahccccc-ca ccmwhaaxcc wcc-mmcaww cacccccccc acccawcacc camcccaacc aacaccaaw- a-m-aawwam
        cchhmc-aww c-wccac-ca cwhwcaaahh aawaccwwaa ahacccxca- cca-ammccw wccca-ccc- --waahchaw cccmmcaccc -ccccccccm
        cwcmaaa-cc acc-wcccwa --aw-awwwc cc-ccwaccc ammcwwccca -ccw-ccwca wccmhcmmax accccc-mca acacch-cac c-mcmcccca
        hacccwcccc c
    """,
}


def tasks_of(rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Return the task of each prompt; `None` where it is unknown."""
    letters: dict[str, Iterator[str]] = {source: iter("".join(text.split())) for source, text in _BY_POSITION.items()}
    tasks = []
    for row in rows:
        task = _task(row)
        if task is None and row["source"] in letters:
            task = _LETTERS[next(letters[row["source"]], "-")]
        tasks.append(task)
    return tasks


def _task(row: Mapping[str, Any]) -> str | None:
    """Return the task of a prompt by its label or its hint."""
    if row.get("task"):
        return str(row["task"])
    if "name" in row:
        return _TASK_OF_NAME.get(row["name"])
    words = set(str(row.get("cluster", "")).lower().replace("&", " ").replace(",", " ").split())
    return next((task for task, hints in _BY_CLUSTER.items() if words & hints), None)
