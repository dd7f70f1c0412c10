-- Counts a request against all its limits at once: reads all, decides, then writes all.
--
-- KEYS     one per limit
-- ARGV[1]  the time in microseconds since 1970; '' asks the server for it
-- ARGV[2]  'take': count the request, unless a limit is used up
--          'give': it was counted at ARGV[1] and has been refused elsewhere
-- then for each key the kind, the number of requests, and a length of time:
--          'w'  a window: the limit, milliseconds of a slice
--          'b'  a bucket: the burst, microseconds until one request is regained
--
-- Returns the time, and for each key: whether it allows the request (1 or 0), how many more it
-- allows, and the microseconds until that is one more.
--
-- window.rs and bucket.rs do the same in memory and explain it. Numbers of Lua have 53 bits, enough
-- for microseconds until 2255, but `..` and tostring would round them to 14 digits.

local SLICES, SLOTS = 20, 21
local WINDOW = '>I8' .. string.rep('I4', SLOTS)
local WINDOW_BYTES = 8 + 4 * SLOTS

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local take = ARGV[2] == 'take'

-- The slices of a window up to this time. If the clock has gone back, after a failover for example,
-- `newest` stays ahead of it. If that is more than a window, all that was counted counts now, or the
-- client might be locked out for as long as the clock is behind.
local function window_at(value, slice)
  local newest, counts, is_corrected
  if value and #value == WINDOW_BYTES then
    counts = {struct.unpack(WINDOW, value)}
    newest = table.remove(counts, 1)
    local passed = math.min(math.max(slice - newest, 0), SLOTS)
    for step = 0, passed - 1 do
      counts[(slice - step) % SLOTS + 1] = 0
    end
    newest = math.max(newest, slice)
    if take and newest - slice > SLOTS then
      local used = 0
      for slot = 1, SLOTS do
        used = used + counts[slot]
        counts[slot] = 0
      end
      counts[slice % SLOTS + 1] = used
      newest, is_corrected = slice, true
    end
  else
    counts, newest = {}, slice
    for slot = 1, SLOTS do
      counts[slot] = 0
    end
  end
  return newest, counts, is_corrected
end

-- Until the oldest slice in which something was counted leaves the window.
local function window_reset(newest, counts, span)
  local oldest = newest
  for slice = math.max(newest - SLICES, 0), newest do
    if counts[slice % SLOTS + 1] > 0 then
      oldest = slice
      break
    end
  end
  return math.max((oldest + SLOTS) * span * 1000 - now, 0)
end

local function bucket_state(full_at, burst, interval)
  local missing = math.max(full_at - now, 0)
  local remaining = math.max(burst - math.ceil(missing / interval), 0)
  local enough = math.max(burst - remaining - 1, 0) * interval
  return remaining, math.max(missing - enough, 0)
end

local states, refused = {}, false
for i, key in ipairs(KEYS) do
  local kind, number, span = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local value = redis.call('GET', key)
  local state = {kind = kind, number = number, span = span}
  if kind == 'w' then
    local slice = math.floor(math.floor(now / 1000) / span)
    state.slice = slice
    state.newest, state.counts, state.is_corrected = window_at(value, slice)
    local used = 0
    for slot = 1, SLOTS do
      used = used + state.counts[slot]
    end
    state.remaining = math.max(number - used, 0)
    state.reset = window_reset(state.newest, state.counts, span)
  else
    state.full_at = tonumber(value) or 0
    -- The same for a bucket: it cannot miss more than it holds.
    local latest = now + number * span
    if take and state.full_at > latest then
      state.full_at, state.is_corrected = latest, true
    end
    state.remaining, state.reset = bucket_state(state.full_at, number, span)
  end
  state.allowed = state.remaining > 0
  refused = refused or not state.allowed
  states[i] = state
end

local function write(key, state)
  if state.kind == 'w' then
    local packed = struct.pack(WINDOW, state.newest, unpack(state.counts))
    redis.call('SET', key, packed, 'PX', string.format('%.0f', SLOTS * state.span))
    return
  end
  local lasts = math.ceil((state.full_at - now) / 1000)
  if lasts > 0 then
    local full_at = string.format('%.0f', state.full_at)
    redis.call('SET', key, full_at, 'PX', string.format('%.0f', lasts))
  else
    redis.call('DEL', key)
  end
end

if take and not refused then
  for i, key in ipairs(KEYS) do
    local state = states[i]
    if state.kind == 'w' then
      local slot = state.newest % SLOTS + 1
      state.counts[slot] = state.counts[slot] + 1
      state.remaining = state.remaining - 1
      state.reset = window_reset(state.newest, state.counts, state.span)
    else
      state.full_at = math.max(state.full_at, now) + state.span
      state.remaining, state.reset = bucket_state(state.full_at, state.number, state.span)
    end
    write(key, state)
  end
elseif take then
  -- Refused requests change nothing else.
  for i, key in ipairs(KEYS) do
    if states[i].is_corrected then
      write(key, states[i])
    end
  end
else
  for i, key in ipairs(KEYS) do
    local state = states[i]
    if state.kind == 'b' then
      state.full_at = state.full_at - state.span
    elseif state.newest - state.slice <= SLICES then
      local slot = state.slice % SLOTS + 1
      state.counts[slot] = math.max(state.counts[slot] - 1, 0)
    end
    write(key, state)
  end
end

local answer = {string.format('%.0f', now)}
for i = 1, #KEYS do
  local state = states[i]
  answer[#answer + 1] = state.allowed and 1 or 0
  answer[#answer + 1] = state.remaining
  answer[#answer + 1] = state.reset
end
return answer
