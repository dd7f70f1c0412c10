// People log in at the provider of npm's oidc-provider, through its own pages, in Chromium: one tab and several,
// a script and a WebSocket of the page, logouts from both sides.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'

import { WebSocketServer } from 'ws'

import { Browser, until } from './chromium.mjs'
import { freePort, startGateway } from './gateway.mjs'
import { logIn, startProvider } from './provider.mjs'

const SECRET = 'the-secret-of-the-gateway-at-the-provider'

// Says what it has received.
const origin = createServer((request, response) => {
  response.setHeader('content-type', request.url.startsWith('/app/api') ? 'application/json' : 'text/html')
  const { cookie, authorization, 'x-user': user, 'x-email': email } = request.headers
  const seen = JSON.stringify({ method: request.method, url: request.url, user, email, cookie, authorization })
  response.end(request.url.startsWith('/app/api') ? seen : `<!doctype html><title>app</title><pre>${seen}</pre>`)
})
new WebSocketServer({ server: origin }).on('connection', socket => socket.send('hello'))
await new Promise(resolve => origin.listen(0, '127.0.0.1', resolve))

const issuer = `http://127.0.0.1:${await freePort()}`
let gateway
gateway = await startGateway(origin.address().port, port => `
[logins.main]
base_url = "http://localhost:${port}"
insecure = true
issuer = "${issuer}"
client_id = "gateway"
client_secret = "${SECRET}"
access_token_header = "Authorization"
[routes.app]
paths = ["/app/*"]
upstream = "origin"
auth = "public"
login = "main"
upgrade = true
`)
const site = `http://localhost:${gateway.port}`

let refreshes = 0
let notified = 0
await startProvider(createServer(), issuer, SECRET, site, {
  'grant.success': ctx => { refreshes += ctx.oidc.params.grant_type === 'refresh_token' ? 1 : 0 },
  'backchannel.success': () => { notified += 1 }
})

const browser = await Browser.start()
const own = async () => (await browser.cookies()).filter(cookie => cookie.domain === 'localhost')

const shown = async (tab, path) => {
  await tab.until(`location.href === ${JSON.stringify(site + path)} && document.title === 'app'`)
  return JSON.parse(await tab.evaluate('document.querySelector("pre").textContent'))
}

// One tab.
const first = await browser.tab()
await first.open(`${site}/app/one?a=b`)
await logIn(first, 'ada')
const seen = await shown(first, '/app/one?a=b')
assert.equal(seen.user, 'ada')
assert.equal(seen.email, 'ada@example.org')
assert.equal(seen.cookie, undefined)
assert.match(seen.authorization, /^Bearer /)
const [session] = (await own()).filter(cookie => cookie.name === 'quartet_main')
assert.equal(session.httpOnly, true)
assert.equal(session.sameSite, 'Lax')
assert.equal(session.value.length, 43)
console.log('login: ok')

// Scripts and sockets of the page.
const call = (method, path) => `fetch(${JSON.stringify(path)}, { method: '${method}' }).then(async r => [r.status, await r.text()])`
const [status, text] = await first.evaluate(call('POST', '/app/api/x'))
assert.equal(status, 200)
assert.equal(JSON.parse(text).user, 'ada')
assert.ok(refreshes >= 1, 'the access token was refreshed')
const socket = `new Promise(resolve => {
  const socket = new WebSocket('ws://localhost:${gateway.port}/app/socket')
  socket.onmessage = event => { window.socketEnd = new Promise(done => { socket.onclose = () => done('closed') }); resolve(event.data) }
  socket.onerror = () => resolve('refused')
})`
assert.equal(await first.evaluate(socket), 'hello')
assert.equal((await first.evaluate(call('GET', '/auth/session')))[0], 200)
console.log('script and socket: ok')

// A page of another site can neither post nor open a socket.
const other = await browser.tab()
await other.open(`${issuer}/.well-known/openid-configuration`)
await other.until(`location.href.startsWith(${JSON.stringify(issuer)})`)
assert.equal(await other.evaluate(socket), 'refused')
console.log('another site: ok')

// Logout of the page: the provider asks, and the browser comes back.
await first.open(`${site}/auth/logout`)
await first.until('!!document.querySelector("button[name=logout]")')
assert.deepEqual(await own(), [])
await first.evaluate('document.querySelector("button[name=logout]").click()')
await first.until(`location.href.startsWith(${JSON.stringify(site + '/auth/logged_out')}) && document.body.innerText.includes('You are logged out')`)
console.log('logout: ok')

// Several tabs at once: each comes back to its own page.
const tabs = []
for (const name of ['two', 'three', 'four']) {
  const tab = await browser.tab()
  await tab.open(`${site}/app/${name}`)
  await tab.until('!!document.querySelector("input[name=login]")')
  tabs.push([tab, name])
}
for (const [tab, name] of tabs) {
  await logIn(tab, 'bob')
  assert.equal((await shown(tab, `/app/${name}`)).user, 'bob')
}
console.log('tabs: ok')

// "Back" repeats the callback, with the session: the page is shown again, and nothing fails.
const [[tab]] = tabs
await tab.evaluate('history.back()')
await until('a page that is none of a failure', async () => !(await tab.evaluate('document.body.innerText'))?.includes('no longer valid'))

// The provider ends the session: what is open is closed, and the next request has none.
const last = tabs.at(-1)[0]
assert.equal(await last.evaluate(socket), 'hello')
const leaving = await browser.tab()
await leaving.open(`${issuer}/session/end`)
await leaving.until('!!document.querySelector("button[name=logout]")')
await leaving.evaluate('document.querySelector("button[name=logout]").click()')
await until('the provider has notified the gateway', () => notified >= 1)
assert.equal(await last.evaluate('window.socketEnd'), 'closed')
assert.equal((await last.evaluate(call('GET', '/app/api/x')))[0], 401)
console.log('back-channel logout: ok')

// A login that was canceled at the provider is a page, and no loop.
await last.open(`${site}/app/five`)
await last.until('!!document.querySelector("input[name=login]")')
const cancel = await last.evaluate('[...document.querySelectorAll("a")].find(link => link.href.endsWith("/abort"))?.href')
assert.ok(cancel)
await last.open(cancel)
await last.until('document.body.innerText.includes("The login was not completed")')
assert.deepEqual(await own(), [])
console.log('canceled login: ok')
process.exit(0)
