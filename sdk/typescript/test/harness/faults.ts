// The faults that the proxy injects, for Node.js and pages.

export type Fault = {
  /** Default: any. */
  method?: string;
  /** A regular expression. */
  path: string;
  /** Number of requests. Default: 1. */
  times?: number;
} & (
  | { /** The request never reaches the gateway. */ kind: "cut-before" }
  | { /** The request takes effect, but there is no response. */ kind: "cut-after" }
  | { /** Half of the response arrives. */ kind: "cut-during" }
  | { /** There is never a response. */ kind: "silence" }
  | { kind: "cut-upload"; afterBytes: number }
  | { /** A pause after each 64 KiB or less. */ kind: "slow-upload"; pauseMs: number }
  | { kind: "delay"; ms: number }
  | { kind: "answer"; status: number; headers?: Record<string, string>; body?: string }
  | { /** The signed URL points to the proxy. */ kind: "redirect-upload" }
);

export interface Logged {
  method: string;
  path: string;
  key: string | undefined;
  token: string | undefined;
  status: number | undefined;
}

/** Controls the proxy. */
export class Faults {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Replaces the faults and clears the log. */
  async set(...faults: Fault[]): Promise<void> {
    await this.#post("faults", JSON.stringify(faults));
  }

  /** Requests since the faults were set. */
  async log(path = "", method?: string): Promise<Logged[]> {
    const { log } = await this.#post("log", "");
    return log.filter(
      (entry) => entry.path.includes(path) && (method ?? entry.method) === entry.method,
    );
  }

  async cutSockets(): Promise<void> {
    await this.#post("cut-sockets", "");
  }

  async sockets(): Promise<number> {
    return (await this.#post("log", "")).sockets;
  }

  async #post(what: string, body: string): Promise<{ log: Logged[]; sockets: number }> {
    const response = await fetch(`${this.#url}/__test/${what}`, { method: "POST", body });
    return response.json();
  }
}
