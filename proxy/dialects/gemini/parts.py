"""Translation of a candidate of a Gemini answer to a choice, piece by piece.

Text becomes content, thoughts `reasoning_content`, function calls tool calls, images `images` (the form of OpenRouter).
Parts without a counterpart in OpenAI's format (code that Google ran, its server-side tools, other media) are returned
unchanged in `google_parts`, separate from the text, so that clients do not mistake them for the answer.
"""

from __future__ import annotations

from typing import Any

from proxy.dialects.answer_tool import Structure
from proxy.dialects.gemini.calls import Calls, Keep
from proxy.dialects.gemini.citations import found_pages, search_queries, url_citations
from proxy.dialects.gemini.places import SIGNATURE, PartOrder
from proxy.dialects.gemini.typed import TextPart
from proxy.dialects.names import ToolNames
from proxy.dialects.writer import AnswerWriter

_FILTERED = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
}
FAILED = {  # without content: the model failed, and a retry may succeed
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "NO_IMAGE",
    "IMAGE_OTHER",
}
NO_FINISH = "FINISH_REASON_UNSPECIFIED"  # the default of the enumeration: no finish yet
_LOWEST = -9999.0  # OpenAI's value for a very improbable token


class Candidate:
    """One candidate so far. `close` finishes it, because content may follow any finish.

    `reopened`: content followed the last finish, so the answer may be truncated if the bytes end now.
    """

    def __init__(
        self,
        writer: AnswerWriter,
        keep: Keep,
        choice: int,
        names: ToolNames | None = None,
        structure: Structure | None = None,
    ) -> None:
        self.finish: str | None = None  # Gemini's finish reason
        self._writer = writer
        self._choice = choice
        self._calls = Calls(writer, keep, choice, names, structure)
        self._order = PartOrder()
        self._text: list[str] = []
        self._images = 0
        self._kept = 0
        self._closed = False
        self._grounding: Any = None
        self._citations: dict[str, Any] = {"citations": []}
        self._message = ""  # the provider's explanation of the finish
        self._has_answer_tool = structure is not None and structure.tool is not None
        self._beside: list[str] = []  # text beside the answer's function; it would make the content invalid JSON
        self._has_content = False  # text, a call, a file: more than thoughts
        self.reopened = False

    def take(self, candidate: dict[str, Any]) -> None:
        """Read one chunk's part of the candidate."""
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict):
                self.reopened = self.reopened or (self.finish is not None and part.get("text") != "")
                self._part(part)
        self._writer.logprobs(_logprobs(candidate.get("logprobsResult")), self._choice)
        self._grounding = candidate.get("groundingMetadata") or self._grounding
        citations = candidate.get("citationMetadata")
        if isinstance(citations, dict):
            for sources in (citations.get("citations"), citations.get("citationSources")):
                self._citations["citations"] += sources if isinstance(sources, list) else []
        finish = candidate.get("finishReason")
        if isinstance(finish, str) and finish and finish != NO_FINISH:
            self.finish, self.reopened = finish, False
            message = candidate.get("finishMessage")
            self._message = message if isinstance(message, str) else self._message

    @property
    def failed(self) -> str | None:
        """Describe the failure, if the finish reports one and there is no content."""
        if self.finish not in FAILED or self._has_content or self._calls.count or self._calls.answered:
            return None
        return f"is empty: the model ended with `{self.finish}`" + (f" ({self._message})" if self._message else "")

    def close(self, *, blocked: bool = False) -> None:
        """Write the end: open calls, annotations, searches, the finish.

        `blocked`: the prompt was blocked, so a missing finish will not follow.
        """
        if self._closed:
            return
        self._closed = True
        self._calls.close()
        self._calls.remember()
        if self._beside and not self._calls.answered:
            self._writer.text("".join(self._beside), self._choice)
        annotations = url_citations(self._grounding, self._citations, "".join(self._text))
        if annotations:
            self._writer.extra("annotations", annotations, self._choice)
        if extra := self._order.extra():
            self._writer.extra("extra_content", {"google": extra}, self._choice)
        if queries := search_queries(self._grounding):
            self._writer.search(queries, found_pages(self._grounding), self._choice)
        if self.finish is not None or blocked:
            self._writer.finish(self._reason(), self._choice)
        else:
            self._writer.begin(self._choice)

    def _reason(self) -> str:
        """Return OpenAI's finish reason: `tool_calls` instead of `stop` if there are calls."""
        if self.finish == "MAX_TOKENS":
            return "length"
        if self.finish is None or self.finish in _FILTERED:
            return "content_filter"
        return "tool_calls" if self._calls.count else "stop"

    def _part(self, part: dict[str, Any]) -> None:
        signature = part.get("thoughtSignature")
        signature = signature if isinstance(signature, str) and signature else None
        call, text, data = part.get("functionCall"), part.get("text"), part.get("inlineData")
        if isinstance(call, dict):
            before = self._calls.count
            self._calls.take(call, signature)
            if self._calls.count > before:
                self._order.other("call", signed=signature is not None)
        elif isinstance(text, str):
            self._words(part, text, signature)
        elif isinstance(data, dict) and not part.get("thought"):
            self._media(part, data, signature)
        elif part.keys() - {"thoughtSignature", "thought"}:
            self._keep(part)

    def add(self, part: TextPart) -> None:
        """Read a piece of text or thoughts."""
        self.reopened = self.reopened or (self.finish is not None and part.text != "")
        if part.thought:
            self._writer.reasoning(part.text, self._choice)
        else:
            self._add_text(part.text, None)

    def _words(self, part: dict[str, Any], text: str, signature: str | None) -> None:
        if not part.get("thought"):
            self._add_text(text, signature)
            return
        self._writer.reasoning(text, self._choice)
        if signature:
            self._keep(part)

    def _add_text(self, text: str, signature: str | None) -> None:
        self._has_content = self._has_content or bool(text)
        if self._has_answer_tool:
            self._beside.append(text)
            return
        self._text.append(text)
        self._order.text(len(text), signature)
        self._writer.text(text, self._choice)

    def _keep(self, part: dict[str, Any]) -> None:
        """Write a part without a counterpart in OpenAI's format; `index` is for clients that merge a stream."""
        self._has_content = self._has_content or not part.get("thought")
        self._writer.extra("google_parts", [{**part, "index": self._kept}], self._choice)
        self._kept += 1
        self._order.other("part")

    def _media(self, part: dict[str, Any], data: dict[str, Any], signature: str | None) -> None:
        kind, content = data.get("mimeType"), data.get("data")
        if isinstance(kind, str) and kind.startswith("image/") and isinstance(content, str):
            url = f"data:{kind};base64,{content}"
            self._has_content = True
            image: dict[str, Any] = {"type": "image_url", "index": self._images, "image_url": {"url": url}}
            if signature:
                image["extra_content"] = {"google": {SIGNATURE: signature}}
            self._images += 1
            self._order.other("image")
            self._writer.extra("images", [image], self._choice)
        else:
            self._keep(part)
        self._writer.committed = True  # the client sees content


def _logprobs(result: Any) -> list[dict[str, Any]]:
    """Return `logprobsResult` as OpenAI's `logprobs.content`."""
    result = result if isinstance(result, dict) else {}
    chosen, top = _objects(result.get("chosenCandidates")), _objects(result.get("topCandidates"))
    found = []
    for place, token in enumerate(chosen):
        others = _objects(top[place].get("candidates")) if place < len(top) else []
        found.append({**_token(token), "top_logprobs": [_token(other) for other in others]})
    return found


def _token(value: dict[str, Any]) -> dict[str, Any]:
    token, logprob = value.get("token"), value.get("logProbability")
    token = token if isinstance(token, str) else ""
    number = isinstance(logprob, (int, float)) and not isinstance(logprob, bool)
    return {
        "token": token,
        "logprob": logprob if number else _LOWEST,
        "bytes": list(token.encode("utf-8", "replace")),
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []
