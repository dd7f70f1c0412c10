// Runs http-cache-tests against the response cache of a gateway of its own, and compares the result with
// baseline.json. Each test has one result: pass, fail, optional (an optimal test that fails), yes and no (of
// what is only looked at), setup (a step before failed) or dependency.
//
//   node run.mjs [--write] [ID]
//
// $GATEWAY is the binary. With --write, the result becomes the baseline.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const suite = path.join(here, 'node_modules/http-cache-tests')
const baselineFile = path.join(here, 'baseline.json')
const write = process.argv.includes('--write')
const only = process.argv.slice(2).find(word => !word.startsWith('--'))
const DEADLINE_MS = 20_000

const freePort = () => new Promise((resolve, reject) => {
  const server = net.createServer()
  server.on('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

async function listening (port, child) {
  const end = Date.now() + DEADLINE_MS
  while (Date.now() < end) {
    if (child.exitCode !== null) break
    const open = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1')
      socket.on('connect', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error(`nothing listens on port ${port}`)
}

// Heuristic freshness is on and tags are passed, so that their tests have something to see.
const settings = (origin, listen, admin) => `
shipped_routes = false
[server]
listen = ["127.0.0.1:${listen}"]
admin_listen = "127.0.0.1:${admin}"
[telemetry]
log = "error"
[upstreams.origin]
addresses = ["127.0.0.1:${origin}"]
retries = 0
[caches.tests]
max_heuristic_seconds = 86400
set_cookie = "strip"
[routes.tests]
paths = ["/*"]
upstream = "origin"
auth = "public"
cache = "tests"
`

const results = await (async () => {
  const [origin, listen, admin] = [await freePort(), await freePort(), await freePort()]
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'cache-tests-'))
  const file = path.join(directory, 'gateway.toml')
  fs.writeFileSync(file, settings(origin, listen, admin))
  const environment = { PATH: process.env.PATH }
  const children = []
  try {
    const server = spawn(process.execPath, ['server/server.mjs'], {
      cwd: suite,
      stdio: 'ignore',
      env: {
        ...environment,
        npm_config_protocol: 'http',
        npm_config_port: String(origin),
        npm_config_pidfile: path.join(directory, 'server.pid')
      }
    })
    children.push(server)
    const gateway = spawn(process.env.GATEWAY, ['serve', '--config', file], {
      stdio: 'inherit', env: environment
    })
    children.push(gateway)
    await listening(origin, server)
    await listening(listen, gateway)
    const { runTests, getResults } = await import(`${suite}/client/runner.mjs`)
    const { default: fetch } = await import(`${suite}/node_modules/node-fetch/lib/index.mjs`)
      .catch(() => import('node-fetch'))
    const suites = await testSuites()
    const chosen = only
      ? suites.map(one => ({ ...one, tests: one.tests.filter(test => test.id === only) }))
      : suites
    for (const test of only ? chosen.flatMap(one => one.tests) : []) test.dump = true
    await runTests(chosen.filter(one => one.tests.length > 0), fetch, false, `http://127.0.0.1:${listen}`)
    return { ...getResults() }
  } finally {
    for (const child of children) child.kill()
    fs.rmSync(directory, { recursive: true, force: true })
  }
})()

async function testSuites () {
  const { default: suites } = await import(`${suite}/tests/index.mjs`)
  return suites
}

// The rules of the suite's own page.
function resultOf (test, suites) {
  const found = results[test.id]
  if (found === undefined) return 'untested'
  const failedBefore = (test.depends_on ?? []).some(id => {
    const other = suites.flatMap(one => one.tests).find(test => test.id === id)
    return !['pass', 'yes'].includes(resultOf(other, suites))
  })
  if (failedBefore) return 'dependency'
  if (found[0] === 'Setup') return 'setup'
  const [good, bad] = { optimal: ['pass', 'optional'], check: ['yes', 'no'] }[test.kind] ?? ['pass', 'fail']
  return found === true ? good : bad
}

const suites = await testSuites()
const tests = suites.flatMap(one => one.tests).filter(test => !test.browser_only && results[test.id] !== undefined)
const found = Object.fromEntries(tests.map(test => [test.id, resultOf(test, suites)]).sort())
if (only) {
  console.log(found[only], JSON.stringify(results[only]))
  process.exit(0)
}
const counts = {}
for (const result of Object.values(found)) counts[result] = (counts[result] ?? 0) + 1
console.log(`${tests.length} tests: ${JSON.stringify(counts)}`)
if (write) {
  fs.writeFileSync(baselineFile, `${JSON.stringify(found, null, 1)}\n`)
} else {
  const baseline = JSON.parse(fs.readFileSync(baselineFile, 'utf8'))
  const ids = [...new Set([...Object.keys(baseline), ...Object.keys(found)])].sort()
  const changed = ids.filter(id => baseline[id] !== found[id])
  for (const id of changed) {
    console.log(`${id}: ${baseline[id]} -> ${found[id]} ${JSON.stringify(results[id] ?? null)}`)
  }
  process.exitCode = changed.length === 0 ? 0 : 1
}
