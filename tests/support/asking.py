"""One question, asked by the OpenAI SDK, and what its user has of the answer: the text, the finish and the headers."""

from __future__ import annotations

from typing import Any

import openai

MESSAGES: Any = [{"role": "user", "content": "Say the words."}]


def streamed(client: openai.OpenAI, model: str, seen: list[str], **more: Any) -> Any:
    """Stream; every piece of text goes into `seen` as it comes. The last finish reason, and the answer's headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True, **more)
    finish = None
    for part in answer.parse():
        for choice in part.choices:
            seen.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return finish, answer.headers


def asked(client: openai.OpenAI, model: str) -> Any:
    """Ask without streaming; the text, the finish, and the answer's headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    choice = answer.parse().choices[0]
    return choice.message.content, choice.finish_reason, answer.headers
