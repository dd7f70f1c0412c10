// What the proxy can be told, from Node.js and from a page alike.

export type Fault = {
  /** Default: any. */
  method?: string;
  /** A regular expression. */
  path: string;
  /** How often. Default: once. */
  times?: number;
} & (
  | { /** The request never reaches the gateway. */ kind: "cut-before" }
  | { /** It is done, and nobody hears of it. */ kind: "cut-after" }
  | { /** Half of the answer arrives. */ kind: "cut-during" }
  | { /** Nothing ever comes. */ kind: "silence" }
  | { kind: "cut-upload"; afterBytes: number }
  | { /** A pause after each 64 KiB or less. */ kind: "slow-upload"; pauseMs: number }
  | { kind: "delay"; ms: number }
  | { kind: "answer"; status: number; headers?: Record<string, string>; body?: string }
  | { /** The signed address leads here. */ kind: "redirect-upload" }
);

export interface Logged {
  method: string;
  path: string;
  key: string | undefined;
  token: string | undefined;
  status: number | undefined;
}

/** The proxy's other side. */
export class Faults {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** From now on these, and a new log. */
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
