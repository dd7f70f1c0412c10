// A proxy in front of the gateway that injects faults.

import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Fault, Logged } from "./faults.js";

const STORE = "/__store/";

export class Proxy {
  readonly #target: URL;
  readonly #pages: Record<string, { type: string; body: string }>;
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  readonly #tunnels = new Set<Socket>();
  #faults: Fault[] = [];
  #log: Logged[] = [];

  constructor(target: string, pages: Record<string, { type: string; body: string }> = {}) {
    this.#target = new URL(target);
    this.#pages = pages;
    this.#server.on("upgrade", (request, socket, head) =>
      this.#tunnel(request, socket as Socket, head),
    );
  }

  async start(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#cutTunnels();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A browser repeats requests on a broken reused connection by itself, even POST.
    response.setHeader("connection", "close");
    const path = request.url ?? "/";
    if (path.startsWith("/__test/")) return this.#control(path, request, response);
    const entry: Logged = {
      method: request.method ?? "",
      path,
      key: header(request, "idempotency-key"),
      token: header(request, "authorization"),
      status: undefined,
    };
    this.#log.push(entry);
    const fault = this.#take(entry);
    if (fault?.kind === "cut-before") return void request.socket.destroy();
    if (fault?.kind === "silence") return;
    if (fault?.kind === "cut-upload") return this.#cutUpload(request, fault.afterBytes);
    if (fault?.kind === "answer") {
      entry.status = fault.status;
      await drain(request);
      response.writeHead(fault.status, fault.headers).end(fault.body ?? "");
      return;
    }
    const pauseMs = fault?.kind === "slow-upload" ? fault.pauseMs : 0;
    const body = await drain(request, pauseMs).catch(() => undefined);
    if (body === undefined) return;
    if (fault?.kind === "delay") await new Promise((done) => setTimeout(done, fault.ms));
    this.#forward(request, body, response, entry, fault);
  }

  async #control(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = (await drain(request)).toString();
    const page = this.#pages[path];
    if (page) return void response.writeHead(200, { "content-type": page.type }).end(page.body);
    if (path === "/__test/faults") {
      this.#faults = (JSON.parse(body) as Fault[]).map((fault) => ({ ...fault }));
      this.#log = [];
    }
    if (path === "/__test/cut-sockets") this.#cutTunnels();
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ log: this.#log, sockets: this.#tunnels.size }));
  }

  #take({ method, path }: Logged): Fault | undefined {
    const found = this.#faults.find(
      (fault) =>
        (fault.times ?? 1) > 0 &&
        (fault.method ?? method) === method &&
        new RegExp(fault.path).test(path),
    );
    if (found) found.times = (found.times ?? 1) - 1;
    return found;
  }

  #forward(
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse,
    entry: Logged,
    fault: Fault | undefined,
  ): void {
    const target = this.#targetOf(entry.path);
    const headers = { ...request.headers, host: target.host };
    const out = httpRequest(target, { method: request.method, headers, agent: false });
    out.on("error", () => request.socket.destroy());
    out.on("response", async (answer) => {
      entry.status = answer.statusCode;
      const own = answer.headers;
      if (own["content-type"]?.startsWith("text/event-stream")) {
        response.writeHead(answer.statusCode ?? 502, own);
        return void answer.pipe(response);
      }
      const whole = this.#redirectUploads(await drain(answer), fault);
      if (fault?.kind === "cut-after") return void request.socket.destroy();
      delete own["transfer-encoding"];
      delete own.connection;
      if (answer.statusCode !== 204 && answer.statusCode !== 304) {
        own["content-length"] = String(whole.length);
      }
      response.writeHead(answer.statusCode ?? 502, own);
      if (fault?.kind === "cut-during") {
        response.write(whole.subarray(0, Math.floor(whole.length / 2)), () =>
          setImmediate(() => request.socket.destroy()),
        );
        return;
      }
      response.end(request.method === "HEAD" ? undefined : whole);
    });
    out.end(body);
  }

  /** `/__store/HOST/...` is forwarded to HOST with its own Host header, which is signed. */
  #targetOf(path: string): URL {
    if (!path.startsWith(STORE)) return new URL(path, this.#target);
    return new URL(`http://${path.slice(STORE.length)}`);
  }

  /** Redirects an upload to the proxy, to inject faults there too. */
  #redirectUploads(body: Buffer, fault: Fault | undefined): Buffer {
    if (fault?.kind !== "redirect-upload") return body;
    const here = `http://localhost:${(this.#server.address() as AddressInfo).port}${STORE}`;
    return Buffer.from(body.toString().replace(/"url":\s*"http:\/\//, `"url":"${here}`));
  }

  #cutUpload(request: IncomingMessage, afterBytes: number): void {
    let seen = 0;
    request.on("data", (chunk: Buffer) => {
      seen += chunk.length;
      if (seen >= afterBytes) request.socket.destroy();
    });
  }

  #tunnel(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const far = connect(Number(this.#target.port), this.#target.hostname, () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
      }
      far.write(`${lines.join("\r\n")}\r\n\r\n`);
      far.write(head);
      socket.pipe(far).pipe(socket);
    });
    this.#tunnels.add(socket);
    socket.on("error", () => far.destroy());
    far.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#tunnels.delete(socket);
      far.destroy();
    });
  }

  #cutTunnels(): void {
    for (const socket of this.#tunnels) socket.destroy();
  }
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

async function drain(stream: AsyncIterable<Buffer>, pauseMs = 0): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (pauseMs) await new Promise((done) => setTimeout(done, pauseMs));
  }
  return Buffer.concat(chunks);
}
