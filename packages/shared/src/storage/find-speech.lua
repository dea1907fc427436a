-- Sound out of the cache, noted as used now. KEYS: entry, uses, sizes. ARGV: id.
-- Returns the PCM, or nothing.
local id = ARGV[1]
local pcm = redis.call('GET', KEYS[1])
if pcm then
  local time = redis.call('TIME')
  -- A Redis without memory refuses this; the sound is there all the same.
  redis.pcall('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000), id)
  return pcm
end
local bytes = redis.call('HGET', KEYS[3], id)
if bytes then -- its time is over: what it took is free again
  redis.call('ZREM', KEYS[2], id)
  redis.pcall('HINCRBY', KEYS[3], 'total', -bytes)
  redis.call('HDEL', KEYS[3], id)
end
return false
