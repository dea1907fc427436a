-- Takes one line's result, once, and makes its file known in the same step: who is too late has made nothing.
-- KEYS: batch, results, and where there is a file its five (add-file.lua).
-- ARGV: line, result, count to raise ('completed' | 'failed'), channel, and where there is a file its record, id, expiry.
-- Returns 'recorded' | 'known' (another run was first) | 'closed' (the batch takes no more) | 'gone'.
local batch = redis.call('HMGET', KEYS[1], 'status', 'closed')
if not batch[1] then return 'gone' end
if batch[2] or (batch[1] ~= 'in_progress' and batch[1] ~= 'cancelling') then return 'closed' end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 'known' end
redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
if ARGV[5] then add_file(3, 5) end
redis.call('PUBLISH', ARGV[4], 'line')
return 'recorded'
