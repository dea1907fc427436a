-- Makes a batch. KEYS: batch, tenant's batches, open batches, sequence.
-- ARGV: id, seconds until it expires, most batches that the tenant may have open (0: any number), then field, value
-- pairs. Returns 'created', 'known' when the id is taken, or 'many'.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'known' end
local most = tonumber(ARGV[3])
if most > 0 and redis.call('ZINTERCARD', 2, KEYS[3], KEYS[2], 'LIMIT', most) >= most then return 'many' end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'status', 'validating', 'total', 0, 'completed', 0, 'failed', 0,
  'createdAt', time[1], 'expiresAt', time[1] + ARGV[2], unpack(ARGV, 4))
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[4]), ARGV[1])
-- Nobody keeps it yet: the first gateway that looks takes it.
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return 'created'
