// Runs http-cache-tests against the response cache of a gateway of its own, on both of its paths, and compares the
// results with baseline.json. Each test has one result: pass, fail, optional (an optimal test that fails), yes and
// no (of what is only looked at), setup (a step before failed) or dependency. What differs is run once more.
//
//   node cache.mjs [--write]
//   node cache.mjs [--general] ID
//
// With --write, the result becomes the baseline.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { freePort, listening, startGateway } from './gateway.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const suite = path.join(here, 'node_modules/http-cache-tests')
const baselineFile = path.join(here, 'baseline.json')
const AT_ONCE = 100
const write = process.argv.includes('--write')
const only = process.argv.slice(2).find(word => !word.startsWith('--'))

const config = await import(`${suite}/client/config.mjs`)
const { makeCacheTest, testResults } = await import(`${suite}/client/test.mjs`)
const { default: suites } = await import(`${suite}/tests/index.mjs`)
const { default: fetch } = await import(`${suite}/node_modules/node-fetch/lib/index.mjs`)
  .catch(() => import('node-fetch'))
const tests = new Map(suites.flatMap(one => one.tests).filter(test => !test.browser_only).map(test => [test.id, test]))

// Heuristic freshness is on, so that its tests have something to see.
const settings = direct => `
direct_path = ${direct}
[caches.tests]
max_heuristic_seconds = 86400
set_cookie = "strip"
[routes.tests]
paths = ["/*"]
upstream = "origin"
auth = "public"
cache = "tests"
`

// The results of the tests that `wanted` accepts, by id.
async function run (direct, wanted) {
  const origin = await freePort()
  const gateway = await startGateway(origin, settings(direct))
  const server = spawn(process.execPath, ['server/server.mjs'], {
    cwd: suite,
    stdio: 'ignore',
    env: {
      PATH: process.env.PATH,
      npm_config_protocol: 'http',
      npm_config_port: String(origin),
      npm_config_pidfile: path.join(gateway.directory, 'server.pid')
    }
  })
  process.once('exit', () => server.kill())
  try {
    await listening(origin, server)
    config.setFetch(fetch)
    config.setUseBrowserCache(false)
    config.setBaseUrl(`http://127.0.0.1:${gateway.port}`)
    // The suite writes dates into its tests.
    const chosen = [...tests.values()].filter(wanted).map(test => structuredClone(test))
    while (chosen.length > 0) await Promise.all(chosen.splice(0, AT_ONCE).map(makeCacheTest))
    const results = { ...testResults }
    // The suite refuses to run a test twice.
    for (const id of Object.keys(results)) delete testResults[id]
    return results
  } finally {
    server.kill()
    gateway.stop()
  }
}

// The rules of the suite's own page.
function resultOf (id, results) {
  const [test, found] = [tests.get(id), results[id]]
  if (test === undefined || found === undefined) return 'untested'
  if ((test.depends_on ?? []).some(id => !['pass', 'yes'].includes(resultOf(id, results)))) return 'dependency'
  if (found[0] === 'Setup') return 'setup'
  const [good, bad] = { optimal: ['pass', 'optional'], check: ['yes', 'no'] }[test.kind] ?? ['pass', 'fail']
  return found === true ? good : bad
}

// Of two results, whether the second one is the better one.
const RANKS = { pass: 2, yes: 2, no: 2, optional: 1 }
const isBetter = (before, after) => (RANKS[after] ?? 0) > (RANKS[before] ?? 0)

async function compare (direct, baseline) {
  const name = direct ? 'direct path' : 'general path'
  let results = await run(direct, () => true)
  const found = () => Object.fromEntries(Object.keys(results).sort().map(id => [id, resultOf(id, results)]))
  const differing = () => {
    const all = found()
    return [...new Set([...Object.keys(baseline), ...Object.keys(all)])].filter(id => baseline[id] !== all[id])
  }
  if (!write && differing().length > 0) {
    // A machine that is busy may be late for a test that waits.
    const again = new Set(differing())
    results = { ...results, ...await run(direct, test => again.has(test.id)) }
  }
  const counts = {}
  for (const result of Object.values(found())) counts[result] = (counts[result] ?? 0) + 1
  console.log(`${name}: ${Object.keys(results).length} tests: ${JSON.stringify(counts)}`)
  for (const id of write ? [] : differing()) {
    const after = resultOf(id, results)
    const verdict = isBetter(baseline[id], after) ? 'improved, write the baseline with --write' : 'worse'
    console.log(`${id}: ${baseline[id]} -> ${after} (${verdict}) ${JSON.stringify(results[id] ?? null)}`)
    process.exitCode = 1
  }
  return found()
}

if (only) {
  tests.get(only).dump = true
  const wanted = new Set([only, ...(tests.get(only).depends_on ?? [])])
  const results = await run(!process.argv.includes('--general'), test => wanted.has(test.id))
  console.log(resultOf(only, results), JSON.stringify(results[only]))
} else {
  const baseline = write ? {} : JSON.parse(fs.readFileSync(baselineFile, 'utf8'))
  const [direct, general] = [await compare(true, baseline), await compare(false, baseline)]
  const differing = Object.keys(direct).filter(id => direct[id] !== general[id])
  for (const id of differing) console.log(`${id}: ${direct[id]} on the direct path, ${general[id]} on the general one`)
  if (differing.length > 0) process.exitCode = 1
  if (write) fs.writeFileSync(baselineFile, `${JSON.stringify(direct, null, 1)}\n`)
}
