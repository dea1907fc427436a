-- Makes a file known; twice is harmless. KEYS: file, tenant's files, those of its purpose, expiry, sequence.
-- ARGV: record, id, expiry (Unix seconds, '' for never). Returns 1, or 0 when it was known.
if redis.call('SET', KEYS[1], ARGV[1], 'NX') == false then return 0 end
local order = redis.call('INCR', KEYS[5])
redis.call('ZADD', KEYS[2], order, ARGV[2])
redis.call('ZADD', KEYS[3], order, ARGV[2])
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[4], ARGV[3], ARGV[2]) end
return 1
