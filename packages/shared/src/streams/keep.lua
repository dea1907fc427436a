-- A gateway says that it still keeps these streams. KEYS: the set. ARGV: stream ids.
local time = redis.call('TIME')
local nowMs = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
for _, streamId in ipairs(ARGV) do redis.call('ZADD', KEYS[1], nowMs, streamId) end
return #ARGV
