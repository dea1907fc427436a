-- Takes one of a tenant's places for streams. KEYS: its places, counters. ARGV: id, how many there are,
-- lease in ms, then how much each counter may say. Returns -1 when one says more: nothing is taken.
-- A place whose lease ran out is free: its gateway died. Returns the places in use before; the place is
-- taken when that is below the number.
for index = 2, #KEYS do
  if tonumber(redis.call('GET', KEYS[index]) or 0) > tonumber(ARGV[index + 2]) then return -1 end
end
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local used = redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%d', nowMs), '+inf')
if used >= tonumber(ARGV[2]) then return used end
redis.call('ZADD', KEYS[1], string.format('%d', nowMs + ARGV[3]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', nowMs))
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return used
