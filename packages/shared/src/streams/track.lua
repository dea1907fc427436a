-- Notes that a tenant has this stream open. KEYS: the tenant's set. ARGV: stream id, life of the set in ms.
-- What is older than that life can have no state any more (a dead gateway's leftovers that nobody listed).
-- ZADD comes first: behind another write a script is not told that Redis is full.
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'NX', string.format('%d', nowMs), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%d', nowMs - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
