"""OpenAI's models as of 2026-11 for embeddings, completions, moderations, images and audio.

Sources: as in `openai.py`.
"""

from __future__ import annotations

from proxy.catalogue.entry import Entry

_MODELS = "https://developers.openai.com/api/docs/models/"

OTHERS = (
    Entry(
        "text-embedding-3-small",
        source=_MODELS + "text-embedding-3-small",
        kind="embedding",
        context_window=8_192,
    ),
    Entry(
        "text-embedding-3-large",
        source=_MODELS + "text-embedding-3-large",
        kind="embedding",
        context_window=8_192,
    ),
    Entry(
        "text-embedding-ada-002",
        source=_MODELS + "text-embedding-ada-002",
        kind="embedding",
        context_window=8_192,
    ),
    Entry(
        "omni-moderation-latest",
        source=_MODELS + "omni-moderation-latest",
        kind="moderation",
        aliases=("omni-moderation-2024-09-26",),
    ),
    Entry(
        "gpt-3.5-turbo-instruct",
        source=_MODELS + "gpt-3.5-turbo-instruct",
        kind="completion",
        context_window=4_096,
        max_output=4_096,
    ),
    Entry(
        "davinci-002",
        source=_MODELS + "davinci-002",
        kind="completion",
        context_window=16_384,
        max_output=16_384,
    ),
    Entry(
        "babbage-002",
        source=_MODELS + "babbage-002",
        kind="completion",
        context_window=16_384,
        max_output=16_384,
    ),
    Entry("gpt-image-1.5", source=_MODELS + "gpt-image-1.5", kind="image"),
    Entry("gpt-image-1", source=_MODELS + "gpt-image-1", kind="image"),
    Entry("gpt-image-1-mini", source=_MODELS + "gpt-image-1-mini", kind="image"),
    Entry("gpt-4o-transcribe", source=_MODELS + "gpt-4o-transcribe", kind="audio"),
    Entry("gpt-4o-mini-transcribe", source=_MODELS + "gpt-4o-mini-transcribe", kind="audio"),
    Entry("whisper-1", source=_MODELS + "whisper-1", kind="audio"),
    Entry("gpt-4o-mini-tts", source=_MODELS + "gpt-4o-mini-tts", kind="audio"),
    Entry("tts-1", source=_MODELS + "tts-1", kind="audio"),
    Entry("tts-1-hd", source=_MODELS + "tts-1-hd", kind="audio"),
)
