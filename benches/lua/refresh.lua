-- Follows one chain of refresh tokens per thread: run it with one connection per
-- thread. The file is Lua that returns { path, headers, tokens }.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  local plan = dofile(args[1])
  path, headers, token = plan.path, plan.headers, plan.tokens[number]
end

function request()
  return wrk.format("POST", path, headers, '{"refresh_token":"' .. token .. '"}')
end

function response(status, headers, body)
  token = string.match(body, '"refresh_token"%s*:%s*"([^"]+)"') or token
end
