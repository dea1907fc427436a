-- One entry of one producer. KEYS: state, log.
-- ARGV: 'producer epoch index ends samples phraseCount' in one (ioredis makes a Buffer of every argument: two
-- instead of nine save 3 of 15 us per append), event, and for a new phrase its index and body: it waits from
-- then on, in the same step, so that a run whose lock was lost adds none.
-- `ends`: '-' | 'stream' | 'text' | 'phrase' | 'failed-phrase' | 'cached-phrase' | 'producer' (this producer only: a
-- transcription before a chat).
-- Fenced: a run whose lock was lost has an old epoch. Idempotent: ioredis re-sends a command whose
-- reply was lost, and the same index is then answered 'open' without a second entry.
-- Returns {'open' | 'done' | 'error' | 'cancelled' | 'gone' | 'fenced' | 'gap' | 'full', seq}.
local event = ARGV[2]
local producer, epoch, index, ends, samples, phraseCount =
  string.match(ARGV[1], '^(%S+) (%d+) (%d+) (%S+) (%d+) (%-?%d+)$')
index, samples = tonumber(index), tonumber(samples)
local channel = string.sub(KEYS[1], 1, -7) -- without ':state'
-- A reader that lies further behind than it may hold (its buffer, and what it has delivered and not
-- told yet) gets a bare wake-up and reads the log when it is ready: what is not wanted is not sent.
local INLINE_UNREAD_BYTES = 524288
local state = redis.call('HMGET', KEYS[1], 'status', 'seq', producer .. ':epoch', producer .. ':index',
  'bytes', 'read', 'maxLogBytes', 'ended', 'phraseCount', 'ttlMs', 'logTtlMs', 'failure', 'playback')
if not state[1] then return {'gone', 0} end
local lastIndex = tonumber(state[4] or 0)
if state[3] ~= epoch then return {state[1] == 'open' and 'fenced' or state[1], 0} end
if index <= lastIndex then return {state[1], tonumber(state[2])} end
if state[1] ~= 'open' then return {state[1], 0} end
if index ~= lastIndex + 1 then return {'gap', lastIndex} end
local unread = state[5] - state[6]
-- What later phrases have is not read before this one's end: it must not wait for room that they take,
-- or both wait for ever. Bytes of them, where this is the phrase whose turn it is.
local function held_back()
  local current = tonumber(string.match(producer, '^phrase%-(%d+)$'))
  if not current then return 0 end
  local range = redis.call('HMGET', KEYS[1], 'firstOpen', 'released')
  for phraseIndex = tonumber(range[1] or 0), current - 1 do
    if redis.call('HEXISTS', KEYS[1], 'phrase-' .. phraseIndex .. ':done') == 0 then return 0 end
  end
  local bytes = 0
  for phraseIndex = current + 1, tonumber(range[2] or 0) - 1 do
    bytes = bytes + 2 * (redis.call('HGET', KEYS[1], 'phrase-' .. phraseIndex .. ':samples') or 0)
  end
  return bytes
end
local maxUnread = tonumber(state[7])
if ends == '-' and unread > 0 and unread + #event > maxUnread then
  if unread + #event - held_back() > maxUnread then return {'full', 0} end
end

local seq = state[2] + 1
local changed = {'seq', seq, 'bytes', state[5] + #event, producer .. ':index', index}
local function set(field, value) changed[#changed + 1] = field; changed[#changed + 1] = value end
if samples > 0 then
  redis.call('HINCRBY', KEYS[1], producer .. ':samples', samples)
  redis.call('HINCRBY', KEYS[1], 'produced', samples)
end

if ARGV[3] then set('text:' .. ARGV[3], ARGV[4]); set('waiting', ARGV[3] + 1) end

local ended, expected = tonumber(state[8]), tonumber(state[9] or -1)
local done = ends == 'stream'
if ends == 'phrase' or ends == 'failed-phrase' or ends == 'cached-phrase' then
  ended = ended + 1
  if ends == 'failed-phrase' then redis.call('HINCRBY', KEYS[1], 'failed', 1) end
  if ends == 'cached-phrase' then redis.call('HINCRBY', KEYS[1], 'cached', 1) end
  set('ended', ended); set(producer .. ':done', 1)
  done = ended == expected and not state[13]
elseif ends == 'producer' then
  set(producer .. ':done', 1)
elseif ends == 'text' then
  phraseCount = tonumber(phraseCount)
  set('phraseCount', phraseCount)
  done = ended == phraseCount and not state[13]
end
-- Sound that plays in the gateway's own loudspeaker (`playback`): that producer's end, when all was heard, ends the stream.
-- The text broke off earlier (finish.lua): its phrases are spoken now, and the error is the end.
local failure = done and state[12]
local flag = (done and not failure) and '!' or '.'
redis.call('XADD', KEYS[2], seq .. '-0', 'f', flag, 'e', event)
if failure then
  redis.call('XADD', KEYS[2], (seq + 1) .. '-0', 'f', '!', 'e', failure)
  set('seq', seq + 1)
end
if done then set('status', failure and 'error' or 'done') end
redis.call('HSET', KEYS[1], unpack(changed))
if done then
  redis.call('PEXPIRE', KEYS[1], state[11]); redis.call('PEXPIRE', KEYS[2], state[11])
elseif seq == 1 then
  redis.call('PEXPIRE', KEYS[2], state[10])
end
if unread + #event <= INLINE_UNREAD_BYTES then
  redis.call('PUBLISH', channel, flag .. seq .. ':' .. event)
else
  redis.call('PUBLISH', channel, flag .. seq)
end
if failure then redis.call('PUBLISH', channel, '!' .. (seq + 1) .. ':' .. failure) end
return {done and 'done' or 'open', seq}
