-- For each bucket and each id in it: keep the coordinates of the first record that carried the
-- id, and answer with those of every id that another record carried first.
-- KEYS: where the generation is kept, then the buckets. ARGV: the generation that the caller
-- has joined, time to live in ms, then per bucket what the caller knows it by ('' takes any) and
-- its records, see records.lua.
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
  local whole = redis.call('HGET', key, '')
  if not whole or string.sub(whole, 1, #generation) ~= generation then
    answer[b] = ''
  else
    answer[b] = whole
    local by = ARGV[2 * b - 1]
    if by == '' or by == whole then
      local given = records(ARGV[2 * b])
      put(key, given, function(i, first)
        found[#found + 1] = given.row(i) .. struct.pack('>I4>I8', partition_and_offset(first))
      end)
      redis.call('PEXPIRE', key, ARGV[2])
    end
  end
end
answer[1] = table.concat(found)
return answer
