-- A handler's first act: raises the producer's epoch, so that an older run of the job can no longer write.
-- KEYS: state, log. ARGV: producer, workerId, event header, channel.
-- Returns {status, epoch, lastIndex, samples}; status 'gone' when the stream is unknown, 'ended' when this
-- producer has its end already (a phrase that was enqueued a second time).
local producer = ARGV[1]
local state = redis.call('HMGET', KEYS[1], 'status', 'seq', producer .. ':index', producer .. ':samples', 'ttlMs',
  producer .. ':done')
if not state[1] then return {'gone', 0, 0, 0} end
local lastIndex = tonumber(state[3] or 0)
if state[1] ~= 'open' then return {state[1], 0, lastIndex, 0} end
if state[6] then return {'ended', 0, lastIndex, 0} end
local epoch = redis.call('HINCRBY', KEYS[1], producer .. ':epoch', 1)
local event = ARGV[3] .. cjson.encode({producer = producer, workerId = ARGV[2], epoch = epoch, lastIndex = lastIndex})
local seq = state[2] + 1
redis.call('XADD', KEYS[2], seq .. '-0', 'f', '.', 'e', event)
if seq == 1 then redis.call('PEXPIRE', KEYS[2], state[5]) end
-- Not in `bytes`: no reader delivers it, and so none tells that it has.
redis.call('HSET', KEYS[1], 'seq', seq)
redis.call('PUBLISH', ARGV[4], '.' .. seq .. ':' .. event)
return {'open', epoch, lastIndex, tonumber(state[4] or 0)}
