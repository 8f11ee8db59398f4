"""The Lua scripts of the counter store. Each is one atomic step on the clock of Redis.

A window is what `core/window.py` describes: 128 parts on a fixed grid, each counting until all of it is more than the
window's length ago. It is one string of 1,072 bytes, an array of 64-bit integers, whatever the traffic:

    #0 total   #1 number of the oldest part   #2 of the newest   #3 length in microseconds   #4 limit   #5 ... parts

Slots are a sorted set of reservations by the end of their lease. A cooldown is the time of its end. All times are
microseconds. Keys expire when they have no effect any more.

If the clock of Redis is set back, a window is moved with it, so that what was taken counts for one more window at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.capacity.redis.client import Script
from proxy.core.window import PARTS

LEASE_SECONDS = 30.0  # after which the slots of a killed process are free
SERVER_TIME = "local t = redis.call('TIME'); local now = t[1] * 1000000 + t[2]"

_PRELUDE = """
local PARTS, RING, FIRST = %(parts)d, %(parts)d + 1, 5
local call = redis.call

local function text(number) return string.format('%%.0f', number) end

local function place(part) return '#' .. (FIRST + part %% RING) end

local function numbers(key, places)
  local words = {'BITFIELD', key}
  for _, each in ipairs(places) do
    words[#words + 1] = 'GET'; words[#words + 1] = 'i64'; words[#words + 1] = each
  end
  return call(unpack(words))
end

local function set(key, values)
  local words = {'BITFIELD', key}
  for each, value in pairs(values) do
    words[#words + 1] = 'SET'; words[#words + 1] = 'i64'; words[#words + 1] = each; words[#words + 1] = text(value)
  end
  call(unpack(words))
end

local function places(first, last)
  local all = {}
  for part = first, last do all[#all + 1] = place(part) end
  return all
end

-- Move all parts of a window to earlier numbers.
local function move(key, window, shift)
  local amounts = numbers(key, places(window.oldest, window.newest))
  local values = {}
  for index = 0, RING - 1 do values['#' .. (FIRST + index)] = 0 end
  for index, amount in ipairs(amounts) do values[place(window.oldest + index - 1 - shift)] = amount end
  window.oldest, window.newest = window.oldest - shift, window.newest - shift
  values['#1'], values['#2'] = window.oldest, window.newest
  set(key, values)
end

-- Return the state of a window now, without the parts that have expired.
local function read(key, span, now)
  local width = math.ceil(span / PARTS)
  local part = math.floor(now / width)
  local state = numbers(key, {'#0', '#1', '#2', '#3', '#4'})
  local window = {total = state[1], oldest = state[2], newest = state[3], limit = state[5], width = width, part = part}
  if state[4] ~= span or part - window.newest > PARTS then
    if state[4] ~= 0 then call('DEL', key) end
    window.total, window.oldest, window.newest, window.fresh = 0, part, part, true
    return window
  end
  if part < window.newest - 1 then move(key, window, window.newest - part) end
  if part < window.newest then window.part = window.newest end
  local first = window.part - PARTS
  if window.oldest < first then
    local values = {}
    local expired = places(window.oldest, first - 1)
    for index, amount in ipairs(numbers(key, expired)) do
      window.total = window.total - amount
      values[expired[index]] = 0
    end
    window.oldest = first
    values['#0'], values['#1'] = window.total, first
    set(key, values)
  end
  return window
end

-- Count `amount` in the newest part.
local function take(key, window, span, limit, amount)
  call('BITFIELD', key, 'INCRBY', 'i64', '#0', text(amount), 'SET', 'i64', '#1', text(window.oldest),
    'SET', 'i64', '#2', text(window.part), 'SET', 'i64', '#3', text(span), 'SET', 'i64', '#4', text(limit),
    'INCRBY', 'i64', place(window.part), text(amount))
  call('PEXPIRE', key, text(math.ceil(span / 1000 * (RING + 1) / PARTS)))
  window.total = window.total + amount
end

-- Return the time until `amount` fits: 0 if it does, -1 if it never will.
local function when(key, window, limit, amount, now)
  local left = window.total + amount
  if left <= limit then return 0 end
  if amount > limit then return -1 end
  for index, taken in ipairs(numbers(key, places(window.oldest, window.newest))) do
    left = left - taken
    if left <= limit then return (window.oldest + index + PARTS) * window.width - now end
  end
  return -1
end

local function used_slots(key, now)
  call('ZREMRANGEBYSCORE', key, '-inf', text(now))
  return call('ZCARD', key)
end

local function lease(key, until_, id, amount)
  for number = 1, amount do call('ZADD', key, text(until_), number == 1 and id or id .. '#' .. number) end
  call('PEXPIRE', key, ARGV[2])
end

%(time)s
"""

# KEYS: for each charge its counter and its cooldown. ARGV: the id ('' reserves nothing), the lease in milliseconds, and
# for each charge its limit, the length of the window (0: slots) and the amount.
# Returns 1 and for each charge what is used and the part; or 0 and for each the cooldown, the wait (-1: for ever) and
# what is used.
_RESERVE = """
local charges, refused, answer = {}, ARGV[1] == '', {0}
for index = 1, #KEYS / 2 do
  local key, at = KEYS[2 * index - 1], 3 * index
  local limit, span, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local cooldown = math.max(0, (tonumber(call('GET', KEYS[2 * index]) or 0)) - now)
  local wait, used, window = 0, 0, nil
  if amount > limit then
    wait = -1
  elseif amount > 0 and span == 0 then
    used = used_slots(key, now)
    if used + amount > limit then wait = 1 end
  elseif amount > 0 then
    window = read(key, span, now)
    used = window.total
    wait = when(key, window, limit, amount, now)
  end
  if wait ~= 0 or cooldown > 0 then refused = true end
  charges[index] = {key, limit, span, amount, window, used}
  answer[#answer + 1] = cooldown; answer[#answer + 1] = wait; answer[#answer + 1] = used
end
if refused then return answer end
answer = {1}
for _, charge in ipairs(charges) do
  local key, limit, span, amount, window, used = unpack(charge, 1, 6)
  if window then
    take(key, window, span, limit, amount)
  elseif amount > 0 then
    lease(key, now + ARGV[2] * 1000, ARGV[1], amount)
  end
  answer[#answer + 1] = used + amount
  answer[#answer + 1] = window and window.part or 0
end
return answer
"""

# KEYS: counters. ARGV: the id, and for each counter the length of the window (0: slots), the part, and what is added
# to it (of slots: their number).
_SETTLE = """
for index, key in ipairs(KEYS) do
  local at = 3 * index - 1
  local span, part, change = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if span == 0 then
    for number = 1, change do call('ZREM', key, number == 1 and ARGV[1] or ARGV[1] .. '#' .. number) end
  else
    local window = read(key, span, now)
    if not window.fresh and part >= window.oldest and part <= window.newest then
      local before = numbers(key, {place(part)})[1]
      local after = math.max(0, before + change)
      set(key, {['#0'] = window.total + after - before, [place(part)] = after})
    elseif change > 0 then
      take(key, window, span, window.limit, change)
    end
  end
end
"""

# KEYS: slots. ARGV: nothing, the lease in milliseconds, and for each key an id and the number of its slots.
_RENEW = """
for index, key in ipairs(KEYS) do
  lease(key, now + ARGV[2] * 1000, ARGV[2 * index + 1], tonumber(ARGV[2 * index + 2]))
end
"""

# KEYS: a cooldown. ARGV: its length.
_COOL_DOWN = """
local ends = math.max(now + ARGV[1], tonumber(call('GET', KEYS[1]) or 0))
call('SET', KEYS[1], text(ends), 'PX', text(math.ceil((ends - now) / 1000) + 1))
"""

_END_COOLDOWN = """
call('DEL', KEYS[1])
"""

# ARGV: a cursor, the prefix of the keys, and its length. Returns the next cursor, and for each key its name without the
# prefix, what is used, the limit (-1: unknown), the length of the window, and the remaining cooldown.
_READ = """
local found = call('SCAN', ARGV[1], 'MATCH', ARGV[2] .. '*', 'COUNT', 200)
local rows = {found[1]}
for _, key in ipairs(found[2]) do
  local name = string.sub(key, ARGV[3] + 1)
  local kind = string.sub(name, 1, 1)
  local used, limit, span, cooldown = 0, -1, 0, 0
  if kind == 'w' then
    span = numbers(key, {'#3'})[1]
    local window = read(key, span, now)
    used, limit = window.total, window.limit
  elseif kind == 's' then
    used = used_slots(key, now)
  else
    cooldown = math.max(0, tonumber(call('GET', key) or 0) - now)
  end
  rows[#rows + 1] = {name, used, limit, span, cooldown}
end
return rows
"""


@dataclass(frozen=True, slots=True)
class Scripts:
    """The scripts of a counter store."""

    reserve: Script
    settle: Script
    renew: Script
    cool_down: Script
    end_cooldown: Script
    read: Script


def scripts(time: str = SERVER_TIME) -> Scripts:
    """Return the scripts. `time` is a statement that sets `now`; tests replace it to own the time."""
    prelude = _PRELUDE % {"parts": PARTS, "time": time}
    return Scripts(*(Script(prelude + body) for body in (_RESERVE, _SETTLE, _RENEW, _COOL_DOWN, _END_COOLDOWN, _READ)))
