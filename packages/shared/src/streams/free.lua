-- Makes an idempotency key free that still stands for this stream. KEYS: the key. ARGV: stream id.
local found = redis.call('GET', KEYS[1])
if not found or cjson.decode(found).streamId ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
