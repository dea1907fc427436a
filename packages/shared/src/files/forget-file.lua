-- Forgets a file; twice is harmless. KEYS: file, tenant's files, those of its purpose, expiry, its place for a while.
-- ARGV: id, ms for which its place is kept. What takes away goes first: Redis refuses what needs memory only as the
-- first write of a script, and every command of a transaction.
local place = redis.call('ZSCORE', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
for key = 2, 4 do redis.call('ZREM', KEYS[key], ARGV[1]) end
if place then redis.call('SET', KEYS[5], place, 'PX', ARGV[2]) end
return 1
