-- What the reader has delivered to its client, in absolute numbers, so that twice is harmless.
-- KEYS: state, log. ARGV: seq up to which all is delivered, bytes delivered, samples delivered.
-- Delivered entries leave the log unless the stream may be resumed.
local state = redis.call('HMGET', KEYS[1], 'status', 'read', 'sent', 'resumable', 'ttlMs', 'logTtlMs')
if not state[1] then return 'gone' end
-- A listener in real time may take longer than the stream's total, and a slow one longer than a log lives after the
-- end: the keys live on while somebody takes something.
-- What frees memory comes first: behind another write a full Redis takes the rest as well.
local lifeMs = state[1] == 'open' and state[5] or state[6]
redis.call('PEXPIRE', KEYS[1], lifeMs); redis.call('PEXPIRE', KEYS[2], lifeMs)
if state[4] ~= '1' and state[1] == 'open' then redis.call('XTRIM', KEYS[2], 'MINID', (ARGV[1] + 1) .. '-0') end
if tonumber(ARGV[2]) > tonumber(state[2]) then redis.call('HSET', KEYS[1], 'read', ARGV[2]) end
if tonumber(ARGV[3]) > tonumber(state[3]) then redis.call('HSET', KEYS[1], 'sent', ARGV[3]) end
return state[1]
