-- Ends a batch, once: what its lines gave goes, and the files are known that it ends with, in one step.
-- KEYS: batch, results, then five for each file (add-file.lua). ARGV: status, channel, seconds that the batch is known
-- from now on, usage ('' for none), then for each file the field that holds its id, and its record, id and expiry.
-- Returns the status that the batch has now; 'gone' for an unknown one.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'gone' end
if status == 'validating' or status == 'in_progress' then return status end
-- Redis refuses what needs memory only as the first write of a script: a full one becomes less full here.
redis.call('DEL', KEYS[2])
if status ~= 'finalizing' and status ~= 'cancelling' then return status end
for file = 0, (#KEYS - 2) / 5 - 1 do
  local value = 5 + file * 4
  add_file(3 + file * 5, value + 1)
  redis.call('HSET', KEYS[1], ARGV[value], ARGV[value + 2])
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'usage', ARGV[4]) end
redis.call('HSET', KEYS[1], 'status', ARGV[1], ARGV[1] .. 'At', redis.call('TIME')[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[2], ARGV[1])
return ARGV[1]
