-- For each bucket and each id in it: keep the coordinates of the first record that carried the
-- id, and answer with those of every id that another record carried first.
-- KEYS: where the generation is kept, then the buckets. ARGV: the generation that the caller
-- has joined, time to live in ms, then per bucket what the caller knows it by ('' takes any),
-- the ids' lengths (1 byte each), the ids, the records' coordinates (12 bytes each: partition
-- and offset, big-endian) and their rows (4 bytes each).
-- Answer: false if that is not the generation, or not of this life of the server; else what
-- was found (row and coordinates, 16 bytes each), then per bucket the value of its field "",
-- which no id is: the generation, and who made it whole. It is '' for a bucket that is not
-- whole. Such a bucket is left alone, and so is one that the caller knows by another value: it
-- was lost and made whole again, perhaps without what the caller had put in.
local generation = redis.call('GET', KEYS[1])
local now = life()
if generation ~= ARGV[1] or string.sub(generation, 1, #now) ~= now then
  return false
end
-- First a write that a full server refuses: after any other it lets a script go on.
redis.call('SET', KEYS[1], generation, 'PX', ARGV[2])
local found, answer = {}, { '' }
for b = 2, #KEYS do
  local key = KEYS[b]
  local at = 5 * b - 7
  local whole = redis.call('HGET', key, '')
  if not whole or string.sub(whole, 1, #generation) ~= generation then
    answer[b] = ''
  else
    answer[b] = whole
    if ARGV[at] == '' or ARGV[at] == whole then
      local lengths, ids, places, rows = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
      local from = 1
      for i = 1, #lengths do
        local size = string.byte(lengths, i)
        local id = string.sub(ids, from, from + size - 1)
        from = from + size
        local own = string.sub(places, 12 * i - 11, 12 * i)
        if redis.call('HSETNX', key, id, own) == 0 then
          local first = redis.call('HGET', key, id)
          if first ~= own then
            local partition, offset = struct.unpack('>I4>I8', first)
            local own_partition, own_offset = struct.unpack('>I4>I8', own)
            if partition == own_partition and own_offset < offset then
              -- Of one partition the earlier record is first, in whatever order they come.
              redis.call('HSET', key, id, own)
            else
              found[#found + 1] = string.sub(rows, 4 * i - 3, 4 * i) .. first
            end
          end
        end
      end
      redis.call('PEXPIRE', key, ARGV[2])
    end
  end
end
answer[1] = table.concat(found)
return answer
