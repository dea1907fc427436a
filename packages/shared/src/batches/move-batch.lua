-- Changes a batch's status, once. KEYS: batch. ARGV: statuses it may come from (blank between), status, tenant
-- ('*' for any), channel, the field that notes the time of the change, seconds that the batch is known from now on
-- ('' for as long as it is open), then field, value pairs.
-- Returns the status that the batch has now; 'gone' for an unknown or another tenant's one.
local batch = redis.call('HMGET', KEYS[1], 'status', 'tenantId')
if not batch[1] or (ARGV[3] ~= '*' and ARGV[3] ~= batch[2]) then return 'gone' end
if not string.find(' ' .. ARGV[1] .. ' ', ' ' .. batch[1] .. ' ', 1, true) then return batch[1] end
-- Redis refuses what needs memory only as the first write of a script: a full one would never see its batches end.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'status', ARGV[2], ARGV[5], redis.call('TIME')[1], unpack(ARGV, 7))
if ARGV[6] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[6]) end
redis.call('PUBLISH', ARGV[4], ARGV[2])
return ARGV[2]
