"""The Lua scripts of the budget store. Each is one atomic step on the clock of Redis.

KEYS are three for each charge: the counter, its leases, and the reservations whose lease has ended. A member of the
latter two is the reservation's id, a colon and its amount, so that an amount can be returned without a look-up. Amounts
are whole nano-dollars; Redis adds them as 64-bit integers, and Lua compares them exactly up to 9 million USD.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.capacity.redis.client import Script

_PRELUDE = """
local call = redis.call
%(time)s

local function text(number) return string.format('%%.0f', number) end

local function give_back(counter, nusd)
  if nusd ~= '0' then call('HINCRBY', counter, 'reserved', '-' .. nusd) end
end

-- Return the reservations whose lease has ended.
local function expire(index)
  local counter, leases, ended = KEYS[3 * index - 2], KEYS[3 * index - 1], KEYS[3 * index]
  local gone = call('ZRANGEBYSCORE', leases, '-inf', text(now))
  if #gone == 0 then return end
  for _, member in ipairs(gone) do
    give_back(counter, string.match(member, '%%d+$'))
    call('ZADD', ended, text(now), member)
  end
  call('ZREMRANGEBYSCORE', leases, '-inf', text(now))
  call('ZREMRANGEBYSCORE', ended, '-inf', text(now - 86400000000))
end

-- Let the keys of a charge end with its window.
local function keep(index, expiry)
  if tonumber(expiry) == 0 then return end
  for key = 3 * index - 2, 3 * index do call('EXPIREAT', KEYS[key], expiry) end
end

-- Add a reservation that is not there, and set the end of its lease.
local function lease(index, member, nusd, length)
  local counter, leases, ended = KEYS[3 * index - 2], KEYS[3 * index - 1], KEYS[3 * index]
  if not call('ZSCORE', leases, member) then
    call('HINCRBY', counter, 'reserved', nusd)
    call('ZREM', ended, member)
  end
  call('ZADD', leases, text(now + length), member)
end
"""

# ARGV: member, amount, lease in microseconds; for each charge its hard and soft limit (-1: none) and its expiry.
# Returns 1 and the charges whose soft limit is reached, 2 and those that are not seeded, or 0 with the charge whose
# hard limit refuses, and what is spent and reserved and whether it is closed.
_RESERVE = """
local unseeded, exceeded = {2}, {1}
for index = 1, #KEYS / 3 do
  if call('HEXISTS', KEYS[3 * index - 2], 'seeded') == 0 then unseeded[#unseeded + 1] = index end
end
if #unseeded > 1 then return unseeded end
for index = 1, #KEYS / 3 do
  expire(index)
  local row = call('HMGET', KEYS[3 * index - 2], 'spent', 'reserved', 'closed')
  local spent, reserved = row[1] or '0', row[2] or '0'
  local hard, soft = tonumber(ARGV[3 * index + 1]), tonumber(ARGV[3 * index + 2])
  if hard >= 0 and (row[3] or tonumber(spent) + tonumber(reserved) + tonumber(ARGV[2]) > hard) then
    return {0, index, spent, reserved, row[3] and 1 or 0}
  end
  if soft >= 0 and tonumber(spent) >= soft then exceeded[#exceeded + 1] = index end
end
for index = 1, #KEYS / 3 do
  lease(index, ARGV[1], ARGV[2], tonumber(ARGV[3]))
  keep(index, ARGV[3 * index + 3])
end
return exceeded
"""

# ARGV: what was spent before, the expiry, and 1 to correct an earlier seed.
_SEED = """
if call('HSETNX', KEYS[1], 'seeded', 1) == 1 or ARGV[3] == '1' then
  local spent = call('HGET', KEYS[1], 'spent') or '0'
  if tonumber(ARGV[1]) > tonumber(spent) then call('HSET', KEYS[1], 'spent', ARGV[1]) end
  keep(1, ARGV[2])
end
"""

# ARGV: member, amount, cost; for each charge 1 to close it, and its expiry.
# A reservation that is in no set was settled before, or Redis has lost it: its cost is then in the ledger.
_SETTLE = """
for index = 1, #KEYS / 3 do
  local counter, leases, ended = KEYS[3 * index - 2], KEYS[3 * index - 1], KEYS[3 * index]
  local known = true
  if call('ZREM', leases, ARGV[1]) == 1 then
    give_back(counter, ARGV[2])
  elseif call('ZREM', ended, ARGV[1]) == 0 then
    known = false
  end
  if known then
    call('HINCRBY', counter, 'spent', ARGV[3])
    if ARGV[2 * index + 2] == '1' then call('HSET', counter, 'closed', 1) end
    keep(index, ARGV[2 * index + 3])
  end
end
"""

# ARGV: lease in microseconds; for each charge a member, its amount and the expiry.
_RENEW = """
for index = 1, #KEYS / 3 do
  lease(index, ARGV[3 * index - 1], ARGV[3 * index], tonumber(ARGV[1]))
  keep(index, ARGV[3 * index + 1])
end
"""

# KEYS: a key that exists once the charge has been added, and one charge.
# ARGV: a cost, 1 to close the counter, and its expiry.
_ADD = """
if not call('SET', KEYS[1], 1, 'NX', 'EX', 86400) then return end
call('HINCRBY', KEYS[2], 'spent', ARGV[1])
if ARGV[2] == '1' then call('HSET', KEYS[2], 'closed', 1) end
if ARGV[3] ~= '0' then call('EXPIREAT', KEYS[2], ARGV[3]) end
"""

# Returns for each charge whether it is seeded, what is spent and reserved, and whether it is closed.
_READ = """
local rows = {}
for index = 1, #KEYS / 3 do
  expire(index)
  local row = call('HMGET', KEYS[3 * index - 2], 'seeded', 'spent', 'reserved', 'closed')
  rows[index] = {row[1] and 1 or 0, row[2] or '0', row[3] or '0', row[4] and 1 or 0}
end
return rows
"""


@dataclass(frozen=True, slots=True)
class BudgetScripts:
    """The scripts of a budget store."""

    reserve: Script
    seed: Script
    settle: Script
    renew: Script
    add: Script
    read: Script


def budget_scripts(time: str) -> BudgetScripts:
    """Return the scripts. `time` is a statement that sets `now`; tests replace it to own the time."""
    prelude = _PRELUDE % {"time": time}
    return BudgetScripts(*(Script(prelude + body) for body in (_RESERVE, _SEED, _SETTLE, _RENEW, _ADD, _READ)))
