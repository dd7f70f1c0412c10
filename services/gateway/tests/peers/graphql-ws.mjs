// The client of graphql-ws, through the gateway: to the server of graphql-ws and, if $QUARTET_URL names a stack, to
// the links service.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'

import { buildSchema } from 'graphql'
import { createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'

import { startGateway } from './gateway.mjs'

const EVENTS = 500
const IDLE_SECONDS = 2
const schema = buildSchema(`
  type Query { hello: String, large(size: Int!): String }
  type Subscription { events(count: Int!): Int, endless: Int }
`)

let endedEarly
const ended = new Promise(resolve => { endedEarly = resolve })
const roots = {
  query: { hello: () => 'world', large: ({ size }) => 'x'.repeat(size) },
  subscription: {
    events: async function * ({ count }) { for (let event = 0; event < count; event++) yield { events: event } },
    endless: async function * () {
      try {
        for (;;) { yield { endless: 1 }; await new Promise(resolve => setTimeout(resolve, 1)) }
      } finally { endedEarly() }
    }
  }
}

const http = createServer()
const sockets = new WebSocketServer({ server: http, path: '/graphql' })
const NEVER_MS = 60_000
useServer({ schema, roots, connectionInitWaitTimeout: NEVER_MS, onConnect: ({ connectionParams }) => connectionParams?.token === 'good' }, sockets)
await new Promise(resolve => http.listen(0, '127.0.0.1', resolve))

async function take (client, query, variables) {
  const results = []
  for await (const result of client.iterate({ query, variables })) {
    assert.equal(result.errors, undefined)
    results.push(result.data)
  }
  return results
}

// Pings of graphql-ws itself, of which each must be answered.
const connect = (url, more) => createClient({
  url, webSocketImpl: WebSocket, keepAlive: 50, retryAttempts: 0, connectionParams: { token: 'good' }, ...more
})

async function withOwnServer (direct) {
  const gateway = await startGateway(http.address().port, `
direct_path = ${direct}
[routes.graphql]
paths = ["/graphql"]
upstream = "origin"
auth = "public"
upgrade = true
stream_timeout_seconds = ${IDLE_SECONDS}
`)
  const url = `ws://127.0.0.1:${gateway.port}/graphql`
  try {
    let pongs = 0
    const client = connect(url, { on: { pong: received => { if (received) pongs++ } }, lazy: false })
    assert.deepEqual(await take(client, '{ hello }'), [{ hello: 'world' }])
    const [large] = await take(client, 'query ($size: Int!) { large(size: $size) }', { size: 1_000_000 })
    assert.equal(large.large.length, 1_000_000)
    const query = 'subscription ($count: Int!) { events(count: $count) }'
    const several = await Promise.all([1, 2, 3].map(() => take(client, query, { count: EVENTS })))
    for (const events of several) assert.deepEqual(events.map(one => one.events), [...Array(EVENTS).keys()])
    for await (const _ of client.iterate({ query: 'subscription { endless }' })) { if (pongs >= 2) break }
    await ended
    await client.dispose()

    // The close codes of the protocol arrive: 4403 for who is refused.
    const refused = connect(url, { connectionParams: { token: 'bad' } })
    await assert.rejects(take(refused, '{ hello }'), error => error.code === 4403)

    // A subprotocol that the server does not speak is its refusal, not the gateway's.
    const other = new WebSocket(url, 'unknown-protocol')
    const [code] = await new Promise(resolve => {
      other.on('close', (...closed) => resolve(closed))
      other.on('error', () => {})
    })
    assert.ok([1006, 4406].includes(code), `closed with ${code}`)

    // Pings of WebSocket itself pass and keep it open; silence ends it.
    const pinging = new WebSocket(url, 'graphql-transport-ws')
    await new Promise(resolve => pinging.on('open', resolve))
    let answered = 0
    pinging.on('pong', () => { answered++ })
    const interval = setInterval(() => pinging.ping(), 200)
    await new Promise(resolve => setTimeout(resolve, 2 * IDLE_SECONDS * 1000))
    clearInterval(interval)
    assert.equal(pinging.readyState, WebSocket.OPEN)
    assert.ok(answered > 5, `${answered} pongs`)
    const silent = Date.now()
    await new Promise(resolve => pinging.on('close', resolve))
    const seconds = (Date.now() - silent) / 1000
    assert.ok(seconds > IDLE_SECONDS / 2 && seconds < IDLE_SECONDS * 4, `closed after ${seconds} s of silence`)
    console.log(`${direct ? 'direct' : 'general'} path: queries, ${3 * EVENTS} events, pings, close codes, idle limit pass`)
  } finally {
    gateway.stop()
  }
}

async function withLinks (stack) {
  const url = `${stack.replace(/^http/, 'ws')}/v1/links/graphql`
  const client = connect(url, { connectionParams: {} })
  await assert.rejects(take(client, '{ __typename }'), error => error.code === 4401)
  const post = async (path, body) => {
    const response = await fetch(`${stack}${path}`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body)
    })
    assert.ok(response.ok, `${path}: ${response.status} ${await response.clone().text()}`)
    return response.json()
  }
  const account = { email: `peer-${Date.now()}@example.org`, password: 'tangerine-violin-moss' }
  await post('/v1/core/users', account)
  const session = await post('/v1/core/sessions', account)
  const known = connect(url, { connectionParams: { authorization: `Bearer ${session.access_token}` } })
  assert.equal((await take(known, '{ __typename }'))[0].__typename, 'Query')
  await Promise.all([client.dispose(), known.dispose()])
  console.log('links service: a refused and an accepted client pass')
}

await withOwnServer(true)
await withOwnServer(false)
if (process.env.QUARTET_URL) await withLinks(process.env.QUARTET_URL)
http.closeAllConnections()
http.close()
sockets.close()
