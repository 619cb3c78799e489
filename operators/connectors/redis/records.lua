-- Ids with the coordinates of the records that carried them, as a caller sends them: a byte that
-- says how long a coordinate is here, n ids, n pairs of an id and its coordinate, each of these a
-- string of MessagePack, and n rows of 4 bytes. A call of Redis for each id would cost more than
-- all that it does with it: ids go to HMGET as they were sent, pairs to HSET, a hundred at once.
-- An id is 12 bytes; a coordinate 6, of 10 bits for the partition and 38 for the offset, or where
-- these are too few 12, of 32 and 64, big-endian.
local ID, ROW, IDS_A_CALL = 12, 4, 100

local function records(sent)
  local size = string.byte(sent, 1) or 0
  local id, pair = 1 + ID, 2 + ID + size
  local n = math.floor(#sent / (id + pair + ROW))
  local behind_ids, behind_pairs = 1 + n * id, 1 + n * (id + pair)
  return {
    n = n,
    ids = function(first, last)
      return cmsgpack.unpack(string.sub(sent, 2 + (first - 1) * id, 1 + last * id))
    end,
    pairs = function(first, last)
      return cmsgpack.unpack(
        string.sub(sent, behind_ids + 1 + (first - 1) * pair, behind_ids + last * pair))
    end,
    id = function(i)
      return string.sub(sent, 3 + (i - 1) * id, 1 + i * id)
    end,
    own = function(i)
      return string.sub(sent, behind_ids + 1 + i * pair - size, behind_ids + i * pair)
    end,
    row = function(i)
      return string.sub(sent, behind_pairs + 1 + (i - 1) * ROW, behind_pairs + i * ROW)
    end,
  }
end

local function partition_and_offset(coordinate)
  if #coordinate == 12 then
    local partition, offset = struct.unpack('>I4>I8', coordinate)
    return partition, offset
  end
  local high, low = struct.unpack('>I2>I4', coordinate)
  return math.floor(high / 64), high % 64 * 4294967296 + low
end

-- Of one partition the earlier record is first, in whatever order they come.
local function is_earlier(own, first)
  local partition, offset = partition_and_offset(first)
  local own_partition, own_offset = partition_and_offset(own)
  return own_partition == partition and own_offset < offset
end

-- Put some records into a bucket one by one: some ids come twice among them, or earlier records
-- than those that are `known` by now.
local function put_singly(key, given, from, last, known, tell)
  local firsts = {}
  for i = from, last do
    local id, own = given.id(i), given.own(i)
    local first = firsts[id] or known[i - from + 1]
    if not first or is_earlier(own, first) then
      firsts[id] = own
    elseif first ~= own then
      tell(i, first, own)
    end
  end
  for id, first in pairs(firsts) do
    redis.call('HSET', key, id, first)
  end
end

-- Put records into a bucket; call `tell` for each whose id another record carried first.
local function put(key, given, tell)
  for from = 1, given.n, IDS_A_CALL do
    local last = math.min(from + IDS_A_CALL - 1, given.n)
    local known = redis.call('HMGET', key, given.ids(from, last))
    local added, new, start, others, singly = 0, 0, from, {}, false
    for i = from, last + 1 do
      local first = known[i - from + 1]
      if first ~= false then
        if start < i then
          added = added + redis.call('HSET', key, given.pairs(start, i - 1))
          new = new + i - start
        end
        start = i + 1
        if first and first ~= given.own(i) then
          others[#others + 1] = i
          singly = singly or is_earlier(given.own(i), first)
        end
      end
    end
    -- Fewer were added than were new: of one that came twice the last was kept.
    if singly or added < new then
      put_singly(key, given, from, last, known, tell)
    else
      for _, i in ipairs(others) do
        tell(i, known[i - from + 1], given.own(i))
      end
    end
  end
end
