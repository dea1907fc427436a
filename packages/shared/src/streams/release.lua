-- Moves waiting phrases to running while fewer than `parallelPhrases` run and less than `aheadSamples` of audio is unsent.
-- Each phrase is returned to one caller only, but again when nobody claimed it within a second
-- (the caller died before it had enqueued it; the job id makes twice harmless).
-- KEYS: state. Returns {speech, phraseIndex, text, ...}.
local state = redis.call('HMGET', KEYS[1], 'status', 'released', 'ended', 'waiting', 'produced', 'sent',
  'parallelPhrases', 'aheadSamples', 'speech', 'firstOpen')
if state[1] ~= 'open' then return {} end
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local released, ended, waiting = tonumber(state[2]), tonumber(state[3]), tonumber(state[4] or 0)
local found = {state[9]}
local function give(phraseIndex)
  redis.call('HSET', KEYS[1], 'text:' .. phraseIndex .. ':releasedMs', nowMs)
  found[#found + 1] = phraseIndex
  found[#found + 1] = redis.call('HGET', KEYS[1], 'text:' .. phraseIndex)
end
local first = tonumber(state[10] or 0)
while first < released and redis.call('HEXISTS', KEYS[1], 'phrase-' .. first .. ':done') == 1 do first = first + 1 end
for phraseIndex = first, released - 1 do
  local phrase = redis.call('HMGET', KEYS[1], 'phrase-' .. phraseIndex .. ':epoch', 'text:' .. phraseIndex .. ':releasedMs')
  if not phrase[1] and nowMs - phrase[2] > 1000 then give(phraseIndex) end
end
local unsent = state[5] - state[6]
-- Phrases without sound are behind any window: without this bound each call would walk over all of them.
local MOST_BEHIND_FIRST = 256
while released < waiting and released - ended < tonumber(state[7]) and unsent < tonumber(state[8])
  and released - first < MOST_BEHIND_FIRST do
  give(released)
  released = released + 1
end
redis.call('HSET', KEYS[1], 'released', released, 'firstOpen', first)
return found
