-- Take over what the release before knew of some ids, where no table does.
-- KEYS: a bucket, and that of the release before, whose fields are the ids themselves and whose
-- coordinates are all of 12 bytes. ARGV: time to live in ms, records (see records.lua), then the ids
-- that their rows are of.
local given = records(ARGV[2])
for i = 1, given.n do
  local id = ARGV[3 + struct.unpack('>I4', given.row(i))]
  local first = redis.call('HGET', KEYS[2], id)
  if first and not redis.call('HGET', KEYS[1], given.id(i)) then
    local partition, offset = partition_and_offset(first)
    if partition < 1024 and offset < 274877906944 then
      local high = partition * 64 + math.floor(offset / 4294967296)
      first = struct.pack('>I2>I4', high, offset % 4294967296)
    end
    redis.call('HSET', KEYS[1], given.id(i), first)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
