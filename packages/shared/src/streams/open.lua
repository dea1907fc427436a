-- Opens a stream once. KEYS: state. ARGV: ttlMs, then field, value pairs of the state.
-- Returns 1, or 0 when the id is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'status', 'open', 'seq', 0, 'bytes', 0, 'read', 0, 'produced', 0, 'sent', 0,
  'released', 0, 'ended', 0, 'openedMs', time[1] * 1000 + math.floor(time[2] / 1000), unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
