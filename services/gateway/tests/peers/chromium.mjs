// Chromium without a window, driven by its debugging protocol.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { WebSocket } from 'ws'

const DEADLINE_MS = 20_000
const POLL_MS = 25

export async function until (what, ask) {
  const end = Date.now() + DEADLINE_MS
  while (Date.now() < end) {
    const result = await ask()
    if (result) return result
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
  throw new Error(`timed out: ${what}`)
}

class Tab {
  constructor (browser, session) {
    this.browser = browser
    this.session = session
  }

  async open (url) {
    await this.browser.send('Page.navigate', { url }, this.session)
  }

  // Undefined while a page is being replaced by another.
  async evaluate (expression) {
    const answer = await this.browser.send('Runtime.evaluate', {
      expression, returnByValue: true, awaitPromise: true
    }, this.session).catch(() => undefined)
    return answer?.result?.value
  }

  async until (expression) {
    return until(expression, () => this.evaluate(expression)).catch(async error => {
      throw new Error(`${error.message}; the page: ${await this.evaluate('location.href + "\\n" + document.body.innerText')}`)
    })
  }
}

export class Browser {
  static async start (more = [], environment = {}) {
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'quartet-chromium-'))
    const child = spawn(process.env.QUARTET_CHROMIUM ?? '/usr/bin/chromium', [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
      '--remote-debugging-port=0', `--user-data-dir=${profile}`, ...more, 'about:blank'
    ], { stdio: 'ignore', env: { ...process.env, ...environment } })
    process.once('exit', () => {
      child.kill('SIGKILL')
      // It may still write for a moment.
      fs.rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    })
    const file = path.join(profile, 'DevToolsActivePort')
    const [port, endpoint] = await until('Chromium starts', () => {
      const lines = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n') : []
      return lines.length === 2 && lines
    })
    const socket = new WebSocket(`ws://127.0.0.1:${port}${endpoint}`)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    return new Browser(socket)
  }

  constructor (socket) {
    this.socket = socket
    this.calls = new Map()
    this.last = 0
    socket.on('message', data => {
      const { id, result, error } = JSON.parse(data)
      const call = this.calls.get(id)
      this.calls.delete(id)
      if (error) call?.reject(new Error(error.message))
      else call?.resolve(result)
    })
  }

  send (method, params = {}, sessionId) {
    const id = ++this.last
    this.socket.send(JSON.stringify({ id, method, params, sessionId }))
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }))
  }

  async tab () {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    return new Tab(this, sessionId)
  }

  async cookies () {
    const { cookies } = await this.send('Storage.getCookies')
    return cookies
  }
}
