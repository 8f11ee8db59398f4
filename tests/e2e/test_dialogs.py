"""Turns of dialogs over real sockets: history, locks over replicas, failures of providers and of the store, kill -9."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from tests.support.databases import Postgres
from tests.support.servers import Running, signalbox, signalbox_process, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, Wire, held, refuse, stream, text_of, whole, words
from tests.support.waiting import PATIENCE, until

AT_ONCE = 100  # turns on one conversation


def configuration(url: str, store: str = "sqlite") -> dict[str, Any]:
    return {
        "store": store,
        "providers": {"p": {"base_url": url, "any_model": True}},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


@pytest.fixture
def client(box: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key="key", max_retries=0) as sdk:
        yield sdk


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """Role and text of the messages of the next request that reaches the provider."""
    return [(message["role"], message["content"]) for message in upstream.next().json["messages"]]


def texts(client: openai.OpenAI, conversation: str) -> list[str]:
    """The texts of a conversation."""
    items: list[Any] = list(client.conversations.items.list(conversation, order="asc"))
    return [item.content[0].text for item in items]


class Caller:
    """Takes turns without an SDK."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self._url = url
        self._http = http

    def new(self) -> str:
        """Create a conversation, and return its id."""
        return str(self._http.post(f"{self._url}/v1/conversations").json()["id"])

    def turn(self, conversation: str, text: str, *, model: str = "p/m", **more: Any) -> httpx.Response:
        """Take one turn."""
        return self.ask(model=model, input=text, conversation=conversation, **more)

    def ask(self, **body: Any) -> httpx.Response:
        """Send a request."""
        return self._http.post(f"{self._url}/v1/responses", json=body, timeout=PATIENCE)


@pytest.fixture
def caller(box: Running, http: httpx.Client) -> Caller:
    return Caller(box.url, http)


def test_turn_after_a_compaction_has_its_summary_alone(client: openai.OpenAI, upstream: Upstream) -> None:
    id = client.conversations.create().id
    client.responses.create(model="p/good", input="My name is Ada.", conversation=id)
    trigger: Any = [{"type": "compaction_trigger"}]
    client.responses.create(model="p/good", input=trigger, conversation=id)

    client.responses.create(model="p/good", input="Who am I?", conversation=id)

    asked(upstream), asked(upstream)
    summary = "Summary of the conversation so far:\n\n" + text_of("good")
    assert asked(upstream) == [("user", summary), ("user", "Who am I?")]
    kinds = [item.type for item in client.conversations.items.list(id, order="asc")]
    assert kinds == ["message", "message", "compaction", "message", "message"]


def test_a_conversation_is_sent_with_each_turn(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("m", whole)
    conversation = client.conversations.create(items=[{"role": "user", "content": "I am Ada."}]).id
    first = client.responses.create(model="p/m", input="Hi", conversation=conversation, instructions="Be brief.")
    events = list(client.responses.create(model="p/m", input="Who am I?", conversation=conversation, stream=True))
    second: Any = events[-1]

    answer = text_of("m")
    assert asked(upstream) == [("system", "Be brief."), ("user", "I am Ada."), ("user", "Hi")]
    assert asked(upstream) == [("user", "I am Ada."), ("user", "Hi"), ("assistant", answer), ("user", "Who am I?")]
    assert texts(client, conversation) == ["I am Ada.", "Hi", answer, "Who am I?", answer]
    assert first.conversation is not None
    assert (first.conversation.id, first.output_text) == (conversation, answer)
    assert client.responses.retrieve(second.response.id) == second.response
    inputs: list[Any] = list(client.responses.input_items.list(second.response.id, order="asc"))
    assert [item.content[0].text for item in inputs] == ["I am Ada.", "Hi", answer, "Who am I?"]


def test_a_response_continues_the_one_before(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("m", whole)
    first = client.responses.create(model="p/m", input="one", instructions="Be brief.")
    second = client.responses.create(model="p/m", input="two", previous_response_id=first.id)
    client.responses.create(model="p/m", input="three", previous_response_id=second.id, store=False)
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    client.responses.create(model="p/m", input=[reference, {"role": "user", "content": "four"}])

    answer = ("assistant", text_of("m"))
    assert asked(upstream) == [("system", "Be brief."), ("user", "one")]
    assert asked(upstream) == [("user", "one"), answer, ("user", "two")]
    assert asked(upstream) == [("user", "one"), answer, ("user", "two"), answer, ("user", "three")]
    assert asked(upstream) == [answer, ("user", "four")]
    assert second.previous_response_id == first.id


def test_all_apis_share_a_conversation(
    client: openai.OpenAI, upstream: Upstream, box: Running, http: httpx.Client
) -> None:
    upstream.script("m", whole)
    conversation = client.conversations.create().id
    option = {"router": {"conversation": conversation}}
    system: Any = {"role": "system", "content": "Be brief."}
    client.chat.completions.create(
        model="p/m", messages=[system, {"role": "user", "content": "chat"}], extra_body=option
    )
    chunks = list(
        client.chat.completions.create(
            model="p/m", messages=[{"role": "user", "content": "stream"}], stream=True, extra_body=option
        )
    )
    client.responses.create(model="p/m", input="responses", conversation=conversation)
    message = http.post(
        f"{box.url}/v1/messages",
        headers={"x-router-conversation": conversation, "anthropic-version": "2023-06-01"},
        json={"model": "p/m", "max_tokens": 9, "messages": [{"role": "user", "content": "messages"}]},
    )
    contents = {"contents": [{"role": "user", "parts": [{"text": "generate"}]}]}
    generated = [
        http.post(f"{box.url}/v1beta/models/p/m:{path}", headers={"x-router-conversation": conversation}, json=contents)
        for path in ("generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent")
    ]
    with pytest.raises(openai.BadRequestError, match="use `conversation`"):
        client.responses.create(model="p/m", input="x", extra_body=option)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(
            model="p/m",
            messages=[system, {"role": "user", "content": "x"}],
            extra_body={"router": {"conversation": "c"}},
        )

    answer = text_of("m")
    assert message.json()["content"][0]["text"] == answer
    assert "".join(map(google_text, generated[0].json()["candidates"])) == answer
    assert "".join(google_text(json.loads(line[6:])["candidates"][0]) for line in data_lines(generated[1])) == answer
    assert "".join(google_text(each["candidates"][0]) for each in generated[2].json()) == answer
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer
    assert asked(upstream) == [("system", "Be brief."), ("user", "chat")]
    upstream.next()
    upstream.next()
    assert asked(upstream) == [
        ("user", "chat"),
        ("assistant", answer),
        ("user", "stream"),
        ("assistant", answer),
        ("user", "responses"),
        ("assistant", answer),
        ("user", "messages"),
    ]
    assert texts(client, conversation)[-8:] == ["messages", answer, *["generate", answer] * 3]


def google_text(candidate: dict[str, Any]) -> str:
    """The text of a candidate of Google's API."""
    return "".join(part["text"] for part in candidate.get("content", {}).get("parts", ()))


def data_lines(answer: httpx.Response) -> list[str]:
    """The lines of an event stream that have data."""
    return [line for line in answer.text.splitlines() if line.startswith("data: ")]


def test_unknown_ids_are_rejected_before_a_provider_is_asked(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("m", whole)
    kept = client.responses.create(model="p/m", input="one", store=False)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(model="p/m", input="two", previous_response_id=kept.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="p/m", input="two", conversation="conv_unknown")
    with pytest.raises(openai.BadRequestError, match="exclude each other"):
        client.responses.create(model="p/m", input="2", conversation="conv_x", previous_response_id="resp_x")
    reference: Any = [{"type": "item_reference", "id": "msg_unknown"}]
    with pytest.raises(openai.BadRequestError, match="msg_unknown"):
        client.responses.create(model="p/m", input=reference)

    assert (unknown.value.code, unknown.value.param) == ("previous_response_not_found", "previous_response_id")
    assert len(upstream.requests) == 1


def test_a_turn_that_breaks_off_or_fails_adds_nothing(
    client: openai.OpenAI, upstream: Upstream, box: Running, caller: Caller
) -> None:
    upstream.script("cut", stream([ROLE, *words("x")], Wire.reset))
    upstream.script("bad", refuse(400))
    upstream.script("left", held([ROLE, *words("x")], []))
    conversation = client.conversations.create().id
    broken = caller.turn(conversation, "one", model="p/cut", stream=True)
    refused = caller.turn(conversation, "two", model="p/bad")
    with httpx.stream(
        "POST",
        f"{box.url}/v1/responses",
        json={"model": "p/left", "input": "three", "conversation": conversation, "stream": True},
    ) as answer:
        next(answer.iter_bytes())
    upstream.script("m", whole)
    last = until(lambda: unlocked(caller.turn(conversation, "four")))

    assert "response.failed" in broken.text
    assert refused.status_code == 400
    assert last.json()["status"] == "completed"
    assert texts(client, conversation) == ["four", text_of("m")]


def unlocked(answer: httpx.Response) -> httpx.Response | None:
    """An answer, unless the conversation was locked."""
    return None if answer.status_code == 400 and "conversation_locked" in answer.text else answer


def test_one_of_many_turns_at_once_wins(client: openai.OpenAI, upstream: Upstream, caller: Caller) -> None:
    upstream.script("m", held([ROLE, *words("m")], [FINISH, DONE]))
    conversation = client.conversations.create().id

    def ask(number: int) -> httpx.Response:
        answer = caller.turn(conversation, f"turn {number}", stream=True)
        if answer.status_code == 400:
            refused.append(number)
            if len(refused) == AT_ONCE - 1:
                winner.release()
        return answer

    refused: list[int] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = pool.submit(ask, 0)
        winner = upstream.next()
        answers = list(pool.map(ask, range(1, AT_ONCE)))
        answers.append(first.result())

    errors = [answer.json()["error"] for answer in answers if answer.status_code == 400]
    assert [(error["code"], error["param"]) for error in errors] == [("conversation_locked", "conversation")] * 99
    assert texts(client, conversation) == ["turn 0", text_of("m")]
    assert len(upstream.requests) == 1


def test_replicas_share_dialogs_and_locks(
    upstream: Upstream, http: httpx.Client, postgres_url: str, tmp_path: Path
) -> None:
    config = configuration(upstream.url, postgres_url)
    with ExitStack() as stack:
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            replicas.append(Caller(stack.enter_context(signalbox(config, tmp_path / name)).url, http))
        conversation = replicas[0].new()
        upstream.script("m", whole)
        seen = []
        for number in range(6):
            assert replicas[number % 2].turn(conversation, f"turn {number}").status_code == 200
            seen.append(len(asked(upstream)))
        upstream.script("slow", held([ROLE], [FINISH, DONE]))
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(replicas[0].turn, conversation, "slow", model="p/slow", stream=True)
            slow = upstream.next()
            locked = replicas[1].turn(conversation, "other")
            slow.release()
            running.result()
        free = replicas[1].turn(conversation, "last")

    assert seen == [1, 3, 5, 7, 9, 11]
    assert locked.json()["error"]["code"] == "conversation_locked"
    assert free.status_code == 200


def test_without_the_store_a_turn_does_not_reach_a_provider(
    upstream: Upstream, http: httpx.Client, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    upstream.script("m", whole)
    upstream.script("slow", held([ROLE, *words("x")], [FINISH, DONE]))
    with signalbox(configuration(upstream.url, postgres_url), tmp_path) as service:
        caller = Caller(service.url, http)
        conversation, other = caller.new(), caller.new()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(caller.turn, conversation, "slow", model="p/slow", stream=True)
            slow = upstream.next()
            postgres.stop()
            try:
                rejected = caller.turn(other, "one")
                stored = caller.ask(model="p/m", input="two")
                slow.release()
                broken = running.result()
                reached = len(upstream.requests)
                plain = caller.ask(model="p/m", input="three", store=False)
            finally:
                postgres.start()

    for answer in (rejected, stored):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert reached == 1
    assert "event: response.failed" in broken.text
    assert "response.completed" not in broken.text
    assert plain.status_code == 200


def test_dialogs_of_other_tenants_do_not_exist(upstream: Upstream, http: httpx.Client, tmp_path: Path) -> None:
    config = {
        **configuration(upstream.url),
        "auth": {"mode": "keys", "pepper": "pepper-0123456789-0123456789-0123456789"},
    }
    upstream.script("m", whole)
    owners = {"a": ("--team", "red"), "b": ("--team", "red"), "c": ("--user", "ann"), "d": ()}
    with signalbox(config, tmp_path) as service:

        def shell(*words: str) -> str:
            done = CliRunner().invoke(main, [*words, "--config", str(service.config)], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return str(done.stdout).strip()

        shell("teams", "create", "red")
        shell("users", "create", "ann")
        keys = {name: shell("keys", "create", "--name", name, *owner) for name, owner in owners.items()}

        def ask(key: str, method: str, path: str, **body: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {keys[key]}"}
            return http.request(method, f"{service.url}/v1/{path}", headers=headers, json=body or None)

        conversation = ask("a", "POST", "conversations").json()["id"]
        turn = {"model": "p/m", "input": "Hi", "conversation": conversation}
        response = ask("a", "POST", "responses", **turn).json()["id"]
        follow = {"model": "p/m", "input": "Hi", "previous_response_id": response}
        seen = {
            key: [
                ask(key, "GET", f"conversations/{conversation}").status_code,
                ask(key, "GET", f"responses/{response}").status_code,
                ask(key, "POST", "responses", **turn).status_code,
                ask(key, "POST", "responses", **follow).status_code,
            ]
            for key in keys
        }
        deleted = [ask(key, "DELETE", f"conversations/{conversation}").status_code for key in ("c", "d", "b", "a")]

    assert seen == {"a": [200] * 4, "b": [200] * 4, "c": [404, 404, 404, 400], "d": [404, 404, 404, 400]}
    assert deleted == [404, 404, 200, 404]


def test_kill_9_leaves_whole_turns(http: httpx.Client, tmp_path: Path) -> None:
    config = {"store": "sqlite", "providers": {"mock": {"dialect": "mock"}}, "models": [{"id": "mock/small"}]}
    done: dict[str, list[str]] = {}

    def talk(caller: Caller, conversation: str) -> None:
        """Take one turn after another until the server is gone."""
        for number in range(1000):
            try:
                answer = caller.turn(conversation, f"turn {number}", model="mock/small")
            except httpx.HTTPError:
                return
            assert answer.status_code == 200, answer.text
            done[conversation].append(answer.json()["id"])

    with signalbox_process(config, tmp_path) as process:
        caller = Caller(process.url, http)
        done = {caller.new(): [] for _ in range(8)}
        with ThreadPoolExecutor(8) as pool:
            talking = [pool.submit(talk, caller, conversation) for conversation in done]
            until(lambda: min(map(len, done.values())) >= 3)
            process.popen.send_signal(signal.SIGKILL)
            for each in talking:
                each.result()
    stored, responses = asyncio.run(contents(tmp_path))
    for conversation, ids in done.items():
        turns = stored[conversation]
        assert [said["role"] for said in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert [said["content"][0]["text"] for said in turns[::2]] == [f"turn {n}" for n in range(len(turns) // 2)]
        assert responses[conversation][: len(ids)] == ids  # a turn whose end a client has seen is kept
        assert len(responses[conversation]) == len(turns) // 2
    with signalbox_process(config, tmp_path) as process:  # locks of the process that was killed are free
        caller = Caller(process.url, http)
        again = [caller.turn(conversation, "again", model="mock/small").status_code for conversation in done]
    assert again == [200] * len(done)


async def contents(folder: Path) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    """The items, and the ids of the responses, of each conversation, in order."""
    location = locate("sqlite", str(folder / "data"))
    assert location is not None
    database = Database(location, SystemClock())

    async def read(connection: Any) -> tuple[list[Any], list[Any]]:
        items = await connection.exec_driver_sql("SELECT container, json FROM items ORDER BY container, position")
        responses = await connection.exec_driver_sql("SELECT conversation_id, id FROM responses ORDER BY position")
        return list(items.all()), list(responses.all())

    rows, ids = await database.read(read)
    await database.close()
    items: dict[str, list[Any]] = {}
    responses: dict[str, list[str]] = {}
    for container, item in rows:
        items.setdefault(container, []).append(json.loads(item))
    for conversation, id in ids:
        responses.setdefault(conversation, []).append(id)
    return items, responses
