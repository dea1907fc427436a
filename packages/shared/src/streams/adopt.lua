-- Gives streams whose keeper was not seen for a while to the caller, each to one caller only.
-- KEYS: the set. ARGV: ms after which a keeper counts as dead, most streams at once. Returns their ids.
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local before = string.format('%d', nowMs - ARGV[1])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. before, 'LIMIT', 0, ARGV[2])
for _, streamId in ipairs(found) do redis.call('ZADD', KEYS[1], string.format('%d', nowMs), streamId) end
return found
