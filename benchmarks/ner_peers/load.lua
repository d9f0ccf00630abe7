-- For wrk: posts each line of a file in turn, and prints one line of JSON at the end.
-- Arguments: the file; "new" for a connection per request.

local requests = {}
local turn = 0

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if arguments[2] == "new" then wrk.headers["Connection"] = "close" end
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, "/predict", nil, line)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '\n{"answered": %d, "refused": %d, "lost": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f}\n',
    summary.requests, summary.errors.status, lost, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
