-- wrk -s post.lua URL -- BODIES TYPE: post the lines of a file, which are in hexadecimal digits, in
-- turn; print one line of JSON at the end
local requests, turn = {}, 0

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = arguments[2]
  wrk.headers["Accept"] = arguments[2]
  for line in io.lines(arguments[1]) do
    local body = line:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
