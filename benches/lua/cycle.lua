-- Sends the requests of a file one after the other, for ever. The file is Lua that
-- returns a list of { method, path, headers, body }.
local ready = {}
local last = 0

function init(args)
  for index, request in ipairs(dofile(args[1])) do
    ready[index] = wrk.format(request.method, request.path, request.headers, request.body)
  end
end

function request()
  last = last % #ready + 1
  return ready[last]
end
