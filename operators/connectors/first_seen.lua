-- For each bucket (KEYS) and each id in it: keep the coordinates of the first record that
-- carried the id, and answer with those of every id that another record carried first.
-- ARGV: time to live in ms, then per bucket the ids' lengths (1 byte each), the ids, the
-- records' coordinates (12 bytes each: partition and offset, big-endian) and their rows
-- (4 bytes each).
local found = {}
for b, key in ipairs(KEYS) do
  local lengths, ids = ARGV[4 * b - 2], ARGV[4 * b - 1]
  local places, rows = ARGV[4 * b], ARGV[4 * b + 1]
  local at = 1
  for i = 1, #lengths do
    local size = string.byte(lengths, i)
    local id = string.sub(ids, at, at + size - 1)
    at = at + size
    local own = string.sub(places, 12 * i - 11, 12 * i)
    if redis.call('HSETNX', key, id, own) == 0 then
      local first = redis.call('HGET', key, id)
      if first ~= own then
        local partition, offset = struct.unpack('>I4>I8', first)
        local own_partition, own_offset = struct.unpack('>I4>I8', own)
        if partition == own_partition and own_offset < offset then
          -- Only after this store was emptied: the earlier record of a partition is first.
          redis.call('HSET', key, id, own)
        else
          found[#found + 1] = string.sub(rows, 4 * i - 3, 4 * i) .. first
        end
      end
    end
  end
  redis.call('PEXPIRE', key, ARGV[1])
end
return table.concat(found)
