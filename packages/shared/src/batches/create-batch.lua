-- Makes a batch. KEYS: batch, tenant's batches, open batches, sequence.
-- ARGV: id, seconds until it expires, then field, value pairs. Returns 1, or 0 when the id is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'status', 'validating', 'total', 0, 'completed', 0, 'failed', 0,
  'createdAt', time[1], 'expiresAt', time[1] + ARGV[2], unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[4]), ARGV[1])
-- Nobody keeps it yet: the first gateway that looks takes it.
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return 1
