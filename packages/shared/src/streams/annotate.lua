-- Notes facts about a stream in its state (times, counts) for whoever asks for its status.
-- KEYS: state. ARGV: field, value pairs. Returns 1, or 0 when the stream is gone: HSET alone would make
-- a key that never expires.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
