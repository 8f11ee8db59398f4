"""The tables, for SQLite and PostgreSQL alike.

Times are microseconds since 1970, money is in nano-dollars, structures are JSON. Ids are compared byte by byte on both
databases. A change needs a migration (`proxy/store/migrations`); `docs/store.md` has the rules for it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
SERIAL = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers the rows of an INTEGER key only

meta = Table(
    "meta",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)

teams = Table(
    "teams",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("models", TEXT),
    Column("limits", TEXT, nullable=False),
    Column("budget", TEXT),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model_limits", TEXT),
)

users = Table(
    "users",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("role", TEXT, nullable=False),
    Column("team_id", TEXT, index=True),
    Column("models", TEXT),
    Column("limits", TEXT, nullable=False),
    Column("budget", TEXT),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model_limits", TEXT),
)

keys = Table(
    "keys",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("pepper_id", TEXT, nullable=False),
    Column("prefix", TEXT, nullable=False),
    Column("last4", TEXT, nullable=False),
    Column("user_id", TEXT, index=True),
    Column("team_id", TEXT, index=True),
    Column("models", TEXT),
    Column("limits", TEXT, nullable=False),
    Column("budget", TEXT),
    Column("expires_at", BigInteger),
    Column("disabled", Boolean, nullable=False),
    Column("metadata", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("model_limits", TEXT),
)

provider_keys = Table(
    "provider_keys",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("user_id", TEXT, nullable=False),
    Column("provider", TEXT, nullable=False),
    Column("fingerprint", TEXT, nullable=False),
    Column("kek_id", TEXT, nullable=False),
    Column("wrapped_dek", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("user_id", "provider", name="provider_keys_user_provider"),
)

model_overrides = Table(
    "model_overrides",
    metadata,
    Column("id", TEXT, primary_key=True),  # provider/model
    Column("json", TEXT, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("revision", BigInteger, nullable=False),  # raised by every change
    Column("latest", Integer, nullable=False),  # the number of the newest version
    Column("labels", TEXT, nullable=False),  # {label: version}
    Column("deleted", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    Column("agent_id", TEXT, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("json", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", TEXT, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", SERIAL, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("action", TEXT, nullable=False),  # create, replace, delete
    Column("kind", TEXT, nullable=False),  # key, user, team, provider_key, model, agent
    Column("id", TEXT, nullable=False),
    Column("changes", TEXT, nullable=False),  # {field: [before, after]}, without secrets
)

calls = Table(
    "calls",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("request_id", TEXT, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("endpoint", TEXT, nullable=False),
    Column("key_id", TEXT),
    Column("user_id", TEXT),
    Column("team_id", TEXT),
    Column("client_id", TEXT),
    Column("model", TEXT),
    Column("route", TEXT),
    Column("provider", TEXT),
    Column("upstream_model", TEXT),
    Column("stream", Boolean, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("outcome", TEXT, nullable=False),
    Column("code", TEXT),
    Column("attempts", Integer, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nusd", BigInteger),
    Column("cost_status", TEXT, nullable=False),
    Column("ms", Double, nullable=False),
    Column("ttft_ms", Double),
    Column("queue_ms", Double, nullable=False),
    Column("cache", TEXT, nullable=False),
    Column("decision", LargeBinary),
    Column("agent", TEXT),
    Column("agent_version", TEXT),
    Column("features", LargeBinary),
    Column("rating", Double),
    Column("rating_reasons", TEXT),
    Index("calls_time", "time", "id"),
    Index("calls_key_time", "key_id", "time", "id"),
    Index("calls_user_time", "user_id", "time", "id"),
    Index("calls_team_time", "team_id", "time", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("call_id", TEXT, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("time", BigInteger, nullable=False, index=True),
    Column("provider", TEXT, nullable=False),
    Column("model", TEXT, nullable=False),
    Column("provider_key", TEXT),
    Column("outcome", TEXT, nullable=False),
    Column("status", SmallInteger),
    Column("cause", TEXT),
    Column("ms", Double),
    Column("ttft_ms", Double),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("cache_write_1h_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("audio_tokens", BigInteger, nullable=False),
    Column("image_tokens", BigInteger, nullable=False),
    Column("cost_nusd", BigInteger),
    Column("cost_status", TEXT, nullable=False),
    Column("price_version", TEXT),
    Column("own_key", Boolean, nullable=False),
    Column("key_id", TEXT),
    Column("user_id", TEXT),
    Column("team_id", TEXT),
    Column("route", TEXT),
)

DIMENSIONS = ("key_id", "user_id", "team_id", "provider", "model", "route")  # "" where a call has none
MEASURES = (
    "requests",
    "errors",
    "attempts",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "cost_nusd",  # without what users paid with provider keys of their own
    "own_key_nusd",  # what they paid
)


def _usage(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("slot", BigInteger, primary_key=True, autoincrement=False),  # its first microsecond
        *(Column(dimension, TEXT, primary_key=True) for dimension in DIMENSIONS),
        *(Column(measure, BigInteger, nullable=False) for measure in MEASURES),
        Index(f"{name}_key", "key_id", "slot"),
        Index(f"{name}_user", "user_id", "slot"),
        sqlite_with_rowid=False,
    )


usage_hours = _usage("usage_hours")
usage_days = _usage("usage_days")

spend = Table(
    "spend",
    metadata,
    Column("scope", TEXT, primary_key=True),  # total, provider, team, user, key
    Column("id", TEXT, primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),  # the first microsecond of a quarter hour
    Column("nusd", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", TEXT, primary_key=True),  # conv_...
    Column("tenant", TEXT, nullable=False),  # team:..., user:..., key:... or -
    Column("metadata", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),  # when an item was added or removed
    Column("length", BigInteger, nullable=False),  # the position of the next item
    Column("size", BigInteger, nullable=False),  # bytes of its items
    Column("lock_owner", TEXT),  # the turn that runs
    Column("lock_until", BigInteger),  # renewed while the turn runs
    Index("conversations_updated", "updated_at", "id"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", TEXT, primary_key=True),  # resp_...
    Column("tenant", TEXT, nullable=False),
    Column("conversation_id", TEXT, index=True),
    Column("position", BigInteger),  # the position in the conversation behind the items of this turn
    Column("previous_id", TEXT),
    Column("chain", TEXT, nullable=False),  # the first response of those that continue each other
    Column("size", BigInteger, nullable=False),  # bytes of all items up to the end of this turn
    Column("status", TEXT, nullable=False),  # queued, in_progress, completed, incomplete, failed, cancelled
    Column("document", LargeBinary),  # the response object as JSON
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # of background responses, which another replica may cancel, or continue to relay
    Column("background", Boolean, nullable=False),
    Column("owner", TEXT),  # the process that runs it
    Column("owned_until", BigInteger),  # renewed while it runs
    Column("cancelled", Boolean, nullable=False),  # the client has requested its end
    Column("request", LargeBinary),  # what goes into it (`responses.Request`), until its turn is written
    Index("responses_updated", "updated_at", "id"),
    Index("responses_chain", "chain", "updated_at"),
)

items = Table(
    "items",
    metadata,
    Column("container", TEXT, primary_key=True),  # a conversation, or a response outside of conversations
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", TEXT, nullable=False),  # msg_..., fc_..., may be repeated
    Column("tenant", TEXT, nullable=False),
    Column("response_id", TEXT),  # the turn that added it
    Column("output", Boolean, nullable=False),  # a part of the answer
    Column("json", LargeBinary, nullable=False),
    Index("items_id", "tenant", "id"),
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", TEXT, primary_key=True),  # of the call
    Column("tenant", TEXT, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("json", LargeBinary, nullable=False),  # what `GET /v1/prompts/{id}` returns
    Index("prompts_time", "time", "id"),
    Index("prompts_tenant_time", "tenant", "time", "id"),
)

response_events = Table(
    "response_events",
    metadata,
    Column("response_id", TEXT, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),  # the number of the first event in `data`
    Column("last", BigInteger, nullable=False),  # the number of the last one
    Column("data", LargeBinary, nullable=False),  # whole server-sent events
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", TEXT, primary_key=True),  # of a prompt that was routed without a call
    Column("time", BigInteger, nullable=False, index=True),
    Column("tenant", TEXT, nullable=False),
    Column("decision", LargeBinary, nullable=False),  # the chosen model, and the propensity of each
    Column("features", LargeBinary),
)

labels = Table(
    "labels",
    metadata,
    Column("call_id", TEXT, primary_key=True),
    Column("model", TEXT, primary_key=True),  # provider/model
    Column("source", TEXT, primary_key=True),  # feedback, or what else has judged the answer
    Column("time", BigInteger, nullable=False),
    Column("key_id", TEXT),
    Column("score", Double, nullable=False),  # 0 to 1
    Column("weight", Double, nullable=False),
    Column("propensity", Double, nullable=False),  # the probability with which the model was chosen
    Column("features", LargeBinary),
    Column("comment", TEXT),
    Index("labels_time", "time", "call_id"),
)

learned = Table(
    "learned",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
