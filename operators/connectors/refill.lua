-- Makes a server that lost its data whole again.
-- KEYS[1] is where the generation is kept, the other KEYS are buckets. ARGV: the step, time to
-- live in ms, the generation (for "join" a new name), then for "committed" and "seen" per
-- bucket the ids' lengths, the ids and the records' coordinates, as in first_seen.lua.
--   join:       start a generation unless there is one of this life of the server; answer it
--   committed:  put in first records that a table holds
--   seen:       put in first records that are on their way to it
--   whole:      say that the buckets are whole
-- Answer of the last three: false if the generation has gone, else how many ids were there by
-- a record of another partition.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local step, ttl = ARGV[1], ARGV[2]
local generation = redis.call('GET', KEYS[1])
if generation and string.sub(generation, 1, #run) ~= run then
  generation = false
end
if step == 'join' then
  if not generation then
    generation = run .. ARGV[3]
    redis.call('SET', KEYS[1], generation, 'PX', ttl)
  end
  return generation
end
if generation ~= ARGV[3] then
  return false
end
local others = 0
for b = 2, #KEYS do
  local key = KEYS[b]
  if step == 'whole' then
    redis.call('HSET', key, '', generation)
  else
    local at = 3 * b - 2
    local lengths, ids, places = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local from = 1
    for i = 1, #lengths do
      local size = string.byte(lengths, i)
      local id = string.sub(ids, from, from + size - 1)
      from = from + size
      local own = string.sub(places, 12 * i - 11, 12 * i)
      local first = redis.call('HGET', key, id)
      if not first or step == 'committed' then
        redis.call('HSET', key, id, own)
      elseif first ~= own then
        local partition, offset = struct.unpack('>I4>I8', first)
        local own_partition, own_offset = struct.unpack('>I4>I8', own)
        if partition ~= own_partition then
          others = others + 1
        elseif own_offset < offset then
          redis.call('HSET', key, id, own)
        end
      end
    end
  end
  redis.call('PEXPIRE', key, ttl)
end
return others
