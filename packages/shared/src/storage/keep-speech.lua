-- Keeps the sound of one phrase, and lets go what was used least lately until all of it fits: in one step,
-- so that any number of workers together stay within the bound. What is there already stays.
-- KEYS: entry, uses (sorted set: id by ms of its last use), sizes (hash: id -> bytes, `total`).
-- ARGV: id, PCM, ms to keep it, most bytes of all, bytes that an entry takes besides its PCM.
-- Returns 1 when it was kept.
local id, pcm = ARGV[1], ARGV[2]
local ttlMs, maxBytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local bytes = #pcm + ARGV[5]
if bytes > maxBytes or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local prefix = string.sub(KEYS[1], 1, #KEYS[1] - #id)
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(old)
  local size = redis.call('HGET', KEYS[3], old)
  if size then redis.call('HINCRBY', KEYS[3], 'total', -size) end
  redis.call('HDEL', KEYS[3], old)
  redis.call('ZREM', KEYS[2], old)
  redis.call('DEL', prefix .. old)
end
-- The first write decides: a Redis without memory refuses it here, and takes any behind one that frees some.
redis.call('HINCRBY', KEYS[3], 'total', 0)
forget(id) -- its earlier sound has expired
-- Unused for longer than any is kept: expired as well. A few at a time, so that no call takes long.
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', nowMs - ttlMs, 'LIMIT', 0, 32)) do forget(old) end
while bytes + (redis.call('HGET', KEYS[3], 'total') or 0) > maxBytes do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not oldest then -- a list that lost its entries: it counts what nobody has
    redis.call('DEL', KEYS[3])
    break
  end
  forget(oldest)
end
redis.call('SET', KEYS[1], pcm, 'PX', ttlMs)
redis.call('HSET', KEYS[3], id, bytes)
redis.call('HINCRBY', KEYS[3], 'total', bytes)
redis.call('ZADD', KEYS[2], nowMs, id)
-- The lists outlive every entry, and nothing outlives a cache that was turned off.
for _, key in ipairs({KEYS[2], KEYS[3]}) do
  if redis.call('PTTL', key) < 2 * ttlMs then redis.call('PEXPIRE', key, 2 * ttlMs) end
end
return 1
