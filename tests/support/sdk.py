"""One chat call by the OpenAI SDK, and what its user sees of the answer: text, finish reason and headers."""

from __future__ import annotations

from typing import Any

import openai

MESSAGES: Any = [{"role": "user", "content": "Say the words."}]


def streamed(client: openai.OpenAI, model: str, seen: list[str], **more: Any) -> Any:
    """Stream, appending every piece of text to `seen`; return the last finish reason and the headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True, **more)
    finish = None
    for part in answer.parse():
        for choice in part.choices:
            seen.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return finish, answer.headers


def completed(client: openai.OpenAI, model: str) -> Any:
    """Call without streaming; return the text, the finish reason and the headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    choice = answer.parse().choices[0]
    return choice.message.content, choice.finish_reason, answer.headers
