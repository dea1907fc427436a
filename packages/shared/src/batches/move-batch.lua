-- Changes a batch's status, once. KEYS: batch. ARGV: statuses it may come from (blank between), status, tenant
-- ('*' for any), channel, then field, value pairs. The time of the change is noted in the field ARGV[5].
-- Returns the status that the batch has now; 'gone' for an unknown or another tenant's one.
local batch = redis.call('HMGET', KEYS[1], 'status', 'tenantId')
if not batch[1] or (ARGV[3] ~= '*' and ARGV[3] ~= batch[2]) then return 'gone' end
if not string.find(' ' .. ARGV[1] .. ' ', ' ' .. batch[1] .. ' ', 1, true) then return batch[1] end
redis.call('HSET', KEYS[1], 'status', ARGV[2], ARGV[5], redis.call('TIME')[1], unpack(ARGV, 6))
redis.call('PUBLISH', ARGV[4], ARGV[2])
return ARGV[2]
