"""Conversion of a history to the turns that Anthropic and Gemini accept.

OpenAI's API accepts messages in any order. Anthropic and Gemini require turns: the user begins, user and assistant
alternate, no turn is empty, and the turn after tool calls begins with one result for each call and has no other result.
Messages are added to a `History` one by one, as blocks in the target's format; `legal_turns` orders them:

- consecutive messages of one side are one turn;
- a result is moved to the turn after its call; a second result replaces the first;
- a call without a result gets a placeholder, a result without a call becomes text of the user;
- a turn without content gets a placeholder, because omitting it would merge the turns around it; only an assistant's
  turn at the beginning or the end is omitted;
- a placeholder of the user is inserted before an assistant's first turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Block = dict[str, Any]
Role = Literal["user", "assistant"]

PLACEHOLDER = "(no content)"
NO_RESULT = "No result was given for this call."


@dataclass(frozen=True, slots=True)
class TurnRules:
    """A target's format of the blocks that are added to a history."""

    text: Callable[[str], Block]
    no_result: Callable[[ToolUse], Block]
    is_blank: Callable[[Block], bool] | None = None  # None: there are no blank blocks
    blank_user: str = PLACEHOLDER  # replaces a user's turn without content


@dataclass(slots=True, eq=False)
class ToolUse:
    """A call of the history; `id` is unique in it, `client_id` is the id in the client's results."""

    client_id: str | None
    name: str
    id: str
    result: Block | None = None
    beside: list[Block] = field(default_factory=list)  # content of the result that cannot be part of it


@dataclass(slots=True)
class Turn:
    """Consecutive messages of one side."""

    role: Role
    blocks: list[Block] = field(default_factory=list)
    calls: list[ToolUse] = field(default_factory=list)


class History:
    """Messages added one by one."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._ids: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether no message has been added, not even a blank one."""
        return not self._turns

    def instructed(self) -> None:
        """Record that the last message was an instruction, so the last assistant turn is not a prefill."""
        if self._turns:
            self._turn("user")

    def user(self, blocks: Sequence[Block]) -> None:
        """Add a message of the user."""
        self._turn("user").blocks += blocks

    def assistant(self, blocks: Sequence[Block], calls: Sequence[ToolUse] = ()) -> None:
        """Add a message of the assistant; `blocks` include its `calls`."""
        turn = self._turn("assistant")
        turn.blocks += blocks
        turn.calls += calls

    def tool_use(self, client_id: str | None, name: str, id: str) -> ToolUse:
        """Return a call, with a number appended to its id if an earlier call has the same id."""
        unique, number = id, 1
        while unique in self._ids:
            number += 1
            unique = f"{id}_{number}"
        self._ids.add(unique)
        return ToolUse(client_id, name, unique)

    def answered(self, message: Mapping[str, Any]) -> ToolUse | None:
        """Return the call that a `tool` or `function` message answers, or `None`.

        It is in the latest turn with a call of that id. A message without an id is matched by name, else in order.
        """
        self._turn("user")
        id, name = message.get("tool_call_id"), message.get("name") or message.get("tool_name")
        has_id = isinstance(id, str) and id != ""
        for turn in reversed(self._turns):
            if not turn.calls:
                continue
            if has_id:
                calls = [call for call in turn.calls if call.client_id == id]
            else:
                calls = [call for call in turn.calls if not name or call.name == name]
            if calls:
                return next((call for call in calls if call.result is None), calls[-1])
            if not has_id:
                return None
        return None

    def legal_turns(self, rules: TurnRules) -> list[Turn]:
        """Return the turns in the target's order; empty only without messages. Must be called once."""
        turns = list(self._turns)
        if rules.is_blank is not None:
            _clear_blank(turns, rules.is_blank)
        while turns and turns[-1].role == "assistant" and not turns[-1].blocks:
            turns.pop()
        while turns and turns[0].role == "assistant" and not turns[0].blocks:
            turns.pop(0)
        if self._turns and (not turns or turns[0].role == "assistant"):
            turns.insert(0, Turn("user", [rules.text(PLACEHOLDER)]))
        if turns and turns[-1].calls:
            turns.append(Turn("user"))
        calls: list[ToolUse] = []
        for turn in turns:
            if calls:
                results = [call.result or rules.no_result(call) for call in calls]
                turn.blocks = [*results, *(block for call in calls for block in call.beside), *turn.blocks]
            if not turn.blocks:
                turn.blocks = [rules.text(rules.blank_user if turn.role == "user" else PLACEHOLDER)]
            calls = turn.calls
        return turns

    def _turn(self, role: Role) -> Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(Turn(role))
        return self._turns[-1]


def _clear_blank(turns: list[Turn], is_blank: Callable[[Block], bool]) -> None:
    """Remove the blocks of turns that have only blank blocks."""
    for turn in turns:
        if turn.blocks and is_blank(turn.blocks[0]) and all(map(is_blank, turn.blocks)):
            turn.blocks = []
