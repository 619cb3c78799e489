-- Makes a server that lost its data whole again.
-- KEYS[1] is where the generation is kept, the other KEYS are buckets. ARGV: the step, time to
-- live in ms, the generation, then
--   join:       (a new name instead of the generation; the only other key is where the release
--               before kept its own) start a generation unless there is one of this life of the
--               server, and the release before has not been at work since; answer it
--   begin:      (a new name) mark the buckets as being filled, but for those that are or are
--               whole; answer what each has then in its field "", see first_seen.lua
--   committed:  (per bucket records, see records.lua) put in first records that a table holds
--   seen:       (the same) put in first records that are on their way to it
--   whole:      (per bucket what `begin` answered, a new name) say that it is whole, unless it
--               was lost meanwhile
-- Answer of all but `join`: false if the generation has gone; of `committed` and `seen` how
-- many ids were there by a record of another partition.
local now = life()
local step, ttl = ARGV[1], ARGV[2]
local generation = redis.call('GET', KEYS[1])
if generation and string.sub(generation, 1, #now) ~= now then
  generation = false
end
if step == 'join' then
  -- The release before would trust what it had, and this one what has missed that one's ids.
  local before = redis.call('GET', KEYS[2])
  if before and before ~= '-' then
    redis.call('SET', KEYS[2], '-', 'PX', ttl)
    generation = false
  end
  generation = generation or now .. ARGV[3]
elseif generation ~= ARGV[3] then
  return false
end
-- First a write that a full server refuses: after any other it lets a script go on.
redis.call('SET', KEYS[1], generation, 'PX', ttl)
if step == 'join' then
  return generation
end
local others, answer = 0, {}
for b = 2, #KEYS do
  local key = KEYS[b]
  if step == 'begin' then
    local mark = redis.call('HGET', key, '') or ''
    if string.sub(mark, 1, #generation) ~= generation
      and string.sub(mark, 2, #generation + 1) ~= generation then
      mark = '?' .. generation .. ARGV[4]
      redis.call('HSET', key, '', mark)
    end
    answer[b - 1] = mark
  elseif step == 'whole' then
    local mark = ARGV[b + 3]
    if redis.call('HGET', key, '') == mark and string.sub(mark, 1, 1) == '?' then
      redis.call('HSET', key, '', generation .. ARGV[4])
    end
  else
    local given = records(ARGV[b + 2])
    if step == 'committed' then
      for from = 1, given.n, IDS_A_CALL do
        redis.call('HSET', key, given.pairs(from, math.min(from + IDS_A_CALL - 1, given.n)))
      end
    else
      put(key, given, function(_, first, own)
        if (partition_and_offset(first)) ~= (partition_and_offset(own)) then
          others = others + 1
        end
      end)
    end
  end
  redis.call('PEXPIRE', key, ttl)
end
if step == 'begin' then
  return answer
end
return others
