-- Ends a stream from outside its producers (stop, deadline, failed job); the first end wins.
-- KEYS: state, log. ARGV: status ('error' | 'cancelled'), event, tenant ('*' for any), channel, control channel, control message,
-- '1' to let phrases that are cut already be spoken first: append.lua ends the stream behind the last one.
-- Returns {ended now (1 | 0), status}; status 'gone' for an unknown or another tenant's stream.
local state = redis.call('HMGET', KEYS[1], 'status', 'seq', 'tenantId', 'logTtlMs', 'waiting', 'ended', 'failure',
  'playback')
if not state[1] or (ARGV[3] ~= '*' and ARGV[3] ~= state[3]) then return {0, 'gone'} end
if state[1] ~= 'open' then return {0, state[1]} end
-- Where the gateway plays them, they are not over when they are made.
if ARGV[7] == '1' and tonumber(state[5] or 0) > (state[8] and 0 or tonumber(state[6])) then
  if state[7] then return {0, 'open'} end
  redis.call('HSET', KEYS[1], 'failure', ARGV[2], 'phraseCount', state[5])
  -- Its worker may only have been taken for dead: what it would still write has no place behind the last phrase.
  redis.call('HINCRBY', KEYS[1], 'chat:epoch', 1)
  if state[8] then -- The one who plays them has to know which is the last.
    local seq = state[2] + 1
    redis.call('XADD', KEYS[2], seq .. '-0', 'f', '.', 'e', ARGV[2])
    redis.call('HSET', KEYS[1], 'seq', seq)
    redis.call('PUBLISH', ARGV[4], '.' .. seq .. ':' .. ARGV[2])
  end
  return {0, 'open'}
end
local seq = state[2] + 1
redis.call('XADD', KEYS[2], seq .. '-0', 'f', '!', 'e', ARGV[2])
redis.call('HSET', KEYS[1], 'status', ARGV[1], 'seq', seq)
redis.call('PEXPIRE', KEYS[1], state[4]); redis.call('PEXPIRE', KEYS[2], state[4])
redis.call('PUBLISH', ARGV[4], '!' .. seq .. ':' .. ARGV[2])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return {1, ARGV[1]}
