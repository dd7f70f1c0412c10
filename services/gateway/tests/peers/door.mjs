// The whole front door, of one gateway and one file: a single-page site with its API and its WebSocket, over HTTPS with a
// certificate that Pebble issues, behind a login at the provider of npm's oidc-provider, in Chromium.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'

import { WebSocketServer } from 'ws'

import { Browser, until } from './chromium.mjs'
import { freePort, listening, startGateway } from './gateway.mjs'
import { logIn, startProvider } from './provider.mjs'

const HOST = 'app.example.org'
const SECRET = 'the-secret-of-the-gateway-at-the-provider'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'quartet-door-'))
process.once('exit', () => fs.rmSync(directory, { recursive: true, force: true }))
const file = name => path.join(directory, name)
const read = name => fs.readFileSync(file(name), 'utf8')

// The authority of the servers that are not the gateway: Pebble itself, and the provider.
const openssl = (...args) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=Test CA')
openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost')
fs.writeFileSync(file('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1')
openssl('x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
  '-out', 'server.pem', '-days', '2', '-extfile', 'names')
const ca = read('ca.pem')

// Every host is this machine, for Pebble.
const dns = dgram.createSocket('udp4')
dns.on('message', (query, from) => {
  const end = query.indexOf(0, 12) + 5
  const isAddress = query.readUInt16BE(end - 4) === 1
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8180, 2)
  head.writeUInt16BE(isAddress ? 1 : 0, 6)
  head.writeUInt32BE(0, 8)
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1])
  dns.send(Buffer.concat([head, query.subarray(12, end), isAddress ? answer : Buffer.alloc(0)]), from.port, from.address)
})
await new Promise(resolve => dns.bind(0, '127.0.0.1', resolve))

// The service behind the gateway.
const service = http.createServer((request, response) => {
  const { 'x-user': user, 'x-forwarded-proto': scheme, cookie } = request.headers
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ path: request.url, user, scheme, cookie }))
})
new WebSocketServer({ server: service }).on('connection', (socket, request) => {
  socket.on('message', text => socket.send(`${request.headers['x-user']}: ${text}`))
})
await new Promise(resolve => service.listen(0, '127.0.0.1', resolve))

// The site, as a bundler leaves it.
fs.mkdirSync(file('site/assets'), { recursive: true })
fs.writeFileSync(file('site/index.html'),
  '<!doctype html><title>app</title><main></main><script type="module" src="/assets/app-D4tRk2xQ.js"></script>')
fs.writeFileSync(file('site/assets/app-D4tRk2xQ.js'), `
const api = async () => (await fetch('/api/me')).json()
const socket = () => new Promise((resolve, reject) => {
  const socket = new WebSocket(\`wss://\${location.host}/api/live\`)
  socket.onopen = () => socket.send('hello')
  socket.onmessage = event => resolve(event.data)
  socket.onerror = () => reject(new Error('refused'))
})
const [me, said] = await Promise.all([api(), socket()])
document.querySelector('main').textContent = JSON.stringify({ page: location.pathname, me, said })
`)

const [plain, secure, acme, management, sso] = await Promise.all(Array.from({ length: 5 }, freePort))
const site = `https://${HOST}:${secure}`
const issuer = `https://localhost:${sso}`

fs.writeFileSync(file('pebble.json'), JSON.stringify({
  pebble: {
    listenAddress: `127.0.0.1:${acme}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: file('server.pem'),
    privateKey: file('server.key'),
    httpPort: plain,
    tlsPort: 1
  }
}))
const pebble = spawn(process.env.QUARTET_PEBBLE ?? '/usr/bin/pebble',
  ['-strict', '-dnsserver', `127.0.0.1:${dns.address().port}`, '-config', file('pebble.json')],
  { stdio: 'ignore', env: { ...process.env, PEBBLE_VA_NOSLEEP: '1' } })
process.once('exit', () => pebble.kill())
await listening(acme, pebble)

const get = url => new Promise((resolve, reject) => {
  https.get(url, { ca }, response => {
    let text = ''
    response.on('data', part => { text += part }).on('end', () => resolve(text))
  }).on('error', reject)
})
const root = await get(`https://127.0.0.1:${management}/roots/0`)

await startProvider(https.createServer({ cert: read('server.pem'), key: read('server.key') }), issuer, SECRET, site)

await startGateway(service.address().port, `
[tls]
https_port = ${secure}
[acme]
directory_url = "https://127.0.0.1:${acme}/dir"
directory_ca = '''
${ca}'''
terms_agreed = true
directory = "${file('acme')}"
poll_seconds = 1
retry_seconds = 1
[acme.certificates.app]
hosts = ["${HOST}"]
[sites.app]
directory = "${file('site')}"
fallback = "index.html"
[logins.staff]
base_url = "${site}"
issuer = "${issuer}"
tls_ca = '''
${ca}'''
client_id = "gateway"
client_secret = "${SECRET}"
[routes.app]
hosts = ["${HOST}"]
paths = ["/*"]
site = "app"
auth = "public"
login = "staff"
[routes.api]
hosts = ["${HOST}"]
paths = ["/api/*"]
upstream = "origin"
auth = "public"
login = "staff"
upgrade = true
`, plain, [`127.0.0.1:${plain} redirect_to_https`, `127.0.0.1:${secure} tls`])

// Issued for the host, by the authority.
const handshake = () => new Promise(resolve => {
  const options = { host: '127.0.0.1', port: secure, servername: HOST, ca: root, ALPNProtocols: ['h2'] }
  const socket = tls.connect(options, () => {
    resolve({ authorized: socket.authorized, protocol: socket.alpnProtocol, version: socket.getProtocol() })
    socket.destroy()
  })
  socket.on('error', () => resolve(false))
})
const shaken = await until('the certificate is in use', handshake)
assert.deepEqual(shaken, { authorized: true, protocol: 'h2', version: 'TLSv1.3' })
console.log('certificate: ok')

// A browser that trusts the two authorities, and finds the host here.
const database = file('home/.pki/nssdb')
fs.mkdirSync(database, { recursive: true })
fs.writeFileSync(file('root.pem'), root)
const certutil = (...args) => execFileSync('certutil', ['-d', `sql:${database}`, ...args], { stdio: 'pipe' })
certutil('-N', '--empty-password')
certutil('-A', '-t', 'C,,', '-n', 'test', '-i', file('ca.pem'))
certutil('-A', '-t', 'C,,', '-n', 'pebble', '-i', file('root.pem'))
const browser = await Browser.start(['--host-resolver-rules=MAP *.example.org 127.0.0.1'], { HOME: file('home') })
const own = async () => (await browser.cookies()).filter(cookie => cookie.domain === HOST)

// Without a session, a script gets neither the API nor the files.
const statusOf = path => new Promise((resolve, reject) => {
  const lookup = (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
  https.get(`${site}${path}`, { ca: root, lookup }, response => resolve(response.resume().statusCode)).on('error', reject)
})
for (const path of ['/api/me', '/assets/app-D4tRk2xQ.js']) assert.equal(await statusOf(path), 401)
console.log('without a session: ok')

const tab = await browser.tab()
// From a link without TLS to a page within the application: redirect, login, fallback, script, API, WebSocket.
await tab.open(`http://${HOST}:${plain}/orders/17?tab=items`)
await logIn(tab, 'ada')
const shown = JSON.parse(await tab.until('document.querySelector("main")?.textContent'))
assert.equal(await tab.evaluate('location.href'), `${site}/orders/17?tab=items`)
assert.deepEqual(shown, {
  page: '/orders/17', me: { path: '/api/me', user: 'ada', scheme: 'https' }, said: 'ada: hello'
})
const [session] = (await own()).filter(cookie => cookie.name === '__Host-quartet_staff')
assert.deepEqual([session.secure, session.httpOnly, session.path], [true, true, '/'])
assert.equal(await tab.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2')
console.log('site, API and WebSocket: ok')

// Logout, here and at the provider.
await tab.open(`${site}/auth/logout`)
await tab.until('!!document.querySelector("button[name=logout]")')
await tab.evaluate('document.querySelector("button[name=logout]").click()')
await tab.until(`location.href.startsWith(${JSON.stringify(`${site}/auth/logged_out`)}) && document.body.innerText.includes('You are logged out')`)
assert.deepEqual(await own(), [])
await tab.open(`${site}/orders/17`)
await tab.until('!!document.querySelector("input[name=login]")')
console.log('logout: ok')
process.exit(0)
