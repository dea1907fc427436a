-- Keeps places of a tenant. KEYS: its places. ARGV: lease in ms, ids. What Redis forgot is there again.
local time = redis.call('TIME')
local untilMs = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], untilMs, ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
return #ARGV - 1
