// A gateway of its own for a test, with the upstream on `origin`. $PROGRAMS has the binary.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

const DEADLINE_MS = 20_000

export const freePort = () => new Promise((resolve, reject) => {
  const server = net.createServer()
  server.on('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

export async function listening (port, child) {
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

// `more` is TOML, or a function of the port that returns it: keys of [server] first. `listeners`: as in the file.
export async function startGateway (origin, more, port, listeners) {
  const [listen, admin] = [port ?? await freePort(), await freePort()]
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'quartet-peers-'))
  const file = path.join(directory, 'gateway.toml')
  fs.writeFileSync(file, `
shipped_routes = false
[telemetry]
log = "off"
[upstreams.origin]
addresses = ["127.0.0.1:${origin}"]
retries = 0
[server]
listen = ${JSON.stringify(listeners ?? [`127.0.0.1:${listen}`])}
admin_listen = "127.0.0.1:${admin}"
${typeof more === 'function' ? more(listen) : more}`)
  const child = spawn(`${process.env.PROGRAMS}/quartet-gateway`, ['serve', '--config', file], {
    stdio: 'inherit', env: { PATH: process.env.PATH }
  })
  const stop = () => {
    child.kill()
    fs.rmSync(directory, { recursive: true, force: true })
  }
  process.once('exit', stop)
  await listening(listen, child).catch(error => { stop(); throw error })
  return { port: listen, directory, stop }
}
