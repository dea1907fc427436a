-- Renews an idempotency key that stands for this stream. KEYS: the key. ARGV: stream id, life in ms, '1' once the
-- stream is open: from then on a renewal by who prepared it ('0') that comes late does not shorten the key's life.
-- Returns 1, or 0 when it stands for another stream, or for none.
local found = redis.call('GET', KEYS[1])
local claim = found and cjson.decode(found)
if not claim or claim.streamId ~= ARGV[1] then return 0 end
if claim.isOpen then
  if ARGV[3] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
elseif ARGV[3] == '1' then
  claim.isOpen = true
  redis.call('SET', KEYS[1], cjson.encode(claim), 'PX', ARGV[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
