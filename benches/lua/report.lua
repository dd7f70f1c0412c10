-- Ends every script: one line that a program can read.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "\nresult requests=%d micros=%d p50=%d p99=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
