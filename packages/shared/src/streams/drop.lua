-- Ends a stream when Redis has no memory left for its end. Only commands that a full Redis still takes:
-- the end is published without a place in the log ('!0'), and the stream's keys are freed.
-- KEYS: state, log. ARGV: event, tenant ('*' for any), channel, control channel, control message.
-- Returns {ended now (1 | 0), status}, as `finish` does.
local state = redis.call('HMGET', KEYS[1], 'status', 'tenantId')
if not state[1] or (ARGV[2] ~= '*' and ARGV[2] ~= state[2]) then return {0, 'gone'} end
if state[1] ~= 'open' then return {0, state[1]} end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('PUBLISH', ARGV[3], '!0:' .. ARGV[1])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return {1, 'error'}
