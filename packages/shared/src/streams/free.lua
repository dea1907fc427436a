-- Deletes a key that still has this value: another's is left alone. KEYS: the key. ARGV: value.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
