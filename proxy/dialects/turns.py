"""Any history as a legal one: the turns that Anthropic and Gemini accept, whatever order a client's messages have.

OpenAI's API takes messages in any order. Anthropic's and Gemini's want turns: the user begins, user and assistant
alternate, no turn is empty, and the turn after tool calls begins with one result for each call and has no other result.
A `History` is filled message by message, with blocks that are already the target's own; `legal_turns` orders them:

- messages of one side that follow each other are one turn;
- a result goes to the turn behind its call, wherever the client has put it; a second one replaces the first;
- a call without a result gets a stand-in, a result without a call becomes text of the user;
- a turn without content becomes a placeholder, since leaving it out would merge or swap the speakers around it; only
  an assistant's turn at the beginning or the end is left out;
- a placeholder of the user comes before an assistant's first turn.
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
    """How a target writes what is added to a history."""

    text: Callable[[str], Block]
    no_result: Callable[[ToolUse], Block]
    is_blank: Callable[[Block], bool] | None = None  # None: blank blocks are not added
    blank_user: str = PLACEHOLDER  # what stands for a user's turn without content


@dataclass(slots=True, eq=False)
class ToolUse:
    """A call of the history; `id` is unique in it, `client_id` is what the client's results refer to."""

    client_id: str | None
    name: str
    id: str
    result: Block | None = None
    beside: list[Block] = field(default_factory=list)  # what comes with the result and cannot be in it


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
        """Whether no message has been added, a blank one included."""
        return not self._turns

    def instructed(self) -> None:
        """The last message was an instruction, which stands elsewhere: the assistant does not continue its turn."""
        if self._turns:
            self._turn("user")

    def user(self, blocks: Sequence[Block]) -> None:
        """A message of the user."""
        self._turn("user").blocks += blocks

    def assistant(self, blocks: Sequence[Block], calls: Sequence[ToolUse] = ()) -> None:
        """A message of the assistant; `blocks` have its `calls` in them."""
        turn = self._turn("assistant")
        turn.blocks += blocks
        turn.calls += calls

    def tool_use(self, client_id: str | None, name: str, id: str) -> ToolUse:
        """A call, with a number after its id where an earlier call has the same one."""
        unique, number = id, 1
        while unique in self._ids:
            number += 1
            unique = f"{id}_{number}"
        self._ids.add(unique)
        return ToolUse(client_id, name, unique)

    def answered(self, message: Mapping[str, Any]) -> ToolUse | None:
        """The call that a `tool` or `function` message answers; None if there is none.

        The latest turn with a call of that id counts. A message without an id answers by name, else in order.
        """
        self._turn("user")
        id, name = message.get("tool_call_id"), message.get("name") or message.get("tool_name")
        has_id = isinstance(id, str) and id != ""
        for turn in reversed(self._turns):
            if not turn.calls:
                continue
            if has_id:
                found = [call for call in turn.calls if call.client_id == id]
            else:
                found = [call for call in turn.calls if not name or call.name == name]
            if found:
                return next((call for call in found if call.result is None), found[-1])
            if not has_id:
                return None
        return None

    def legal_turns(self, rules: TurnRules) -> list[Turn]:
        """The turns in the target's order; none only if no message was added. Called once."""
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
    """Empty the turns of which all blocks are blank."""
    for turn in turns:
        if turn.blocks and is_blank(turn.blocks[0]) and all(map(is_blank, turn.blocks)):
            turn.blocks = []
