-- A row and its lease in one hash, or the challenges in one. By the clock of the server.
--
-- acquire OWNER TTL          the new epoch; 0: another owner has the lease
-- extend  OWNER EPOCH TTL    1; 0: the lease is another one's
-- put     OWNER EPOCH ROW    1; 0: the lease is another one's
-- add     TOKEN ANSWER TTL MAX   1; 0: there are too many
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, mode = KEYS[1], ARGV[1]
if mode == 'add' then
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    if tonumber(string.match(all[at + 1], '^%d+')) <= now then
      redis.call('HDEL', key, all[at])
    end
  end
  if redis.call('HLEN', key) >= tonumber(ARGV[5]) then
    return 0
  end
  redis.call('HSET', key, ARGV[2], string.format('%.0f %s', now + tonumber(ARGV[4]), ARGV[3]))
  redis.call('PEXPIRE', key, ARGV[4])
  return 1
end
local held = redis.call('HMGET', key, 'owner', 'epoch', 'until')
if mode == 'acquire' then
  if held[1] and held[1] ~= ARGV[2] and tonumber(held[3]) > now then
    return 0
  end
  local epoch = redis.call('HINCRBY', key, 'epoch', 1)
  redis.call('HSET', key, 'owner', ARGV[2], 'until', string.format('%.0f', now + tonumber(ARGV[3])))
  return epoch
end
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then
  return 0
end
if mode == 'put' then
  redis.call('HSET', key, 'row', ARGV[4])
else
  redis.call('HSET', key, 'until', string.format('%.0f', now + tonumber(ARGV[4])))
end
return 1
