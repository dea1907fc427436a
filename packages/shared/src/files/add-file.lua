-- Stands before the text of every script that makes files known (file-index.ts); twice is harmless.
-- At KEYS[key]: file, tenant's files, those of its purpose, expiry, sequence. At ARGV[value]: record, id,
-- expiry (Unix seconds, '' for never). Returns 1, or 0 when it was known.
local function add_file(key, value)
  if redis.call('SET', KEYS[key], ARGV[value], 'NX') == false then return 0 end
  local order = redis.call('INCR', KEYS[key + 4])
  redis.call('ZADD', KEYS[key + 1], order, ARGV[value + 1])
  redis.call('ZADD', KEYS[key + 2], order, ARGV[value + 1])
  if ARGV[value + 2] ~= '' then redis.call('ZADD', KEYS[key + 3], ARGV[value + 2], ARGV[value + 1]) end
  return 1
end
