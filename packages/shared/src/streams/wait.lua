-- Lays phrases into the stream's state, where `release` finds them. KEYS: state.
-- ARGV: index of the first, then their bodies. Returns 1, or 0 when the stream is not open.
if redis.call('HGET', KEYS[1], 'status') ~= 'open' then return 0 end
local first = tonumber(ARGV[1])
for position = 2, #ARGV do
  redis.call('HSET', KEYS[1], 'text:' .. (first + position - 2), ARGV[position])
end
redis.call('HSET', KEYS[1], 'waiting', first + #ARGV - 1)
return 1
