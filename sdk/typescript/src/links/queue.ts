/** More that nobody reads is forgotten, the oldest first. */
const MAX_WAITING = 1000;

/** What was pushed and not yet read, as an async iterable. */
export class Queue<Item> implements AsyncIterable<Item> {
  readonly #waiting: Item[] = [];
  #over: { error?: unknown } | undefined;
  #wake = () => {};

  push(item: Item): void {
    this.#waiting.push(item);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    this.#wake();
  }

  /** Ends it after what was pushed. */
  end(): void {
    this.#over ??= {};
    this.#wake();
  }

  /** Ends it at once. */
  fail(error: unknown): void {
    this.#waiting.length = 0;
    this.#over ??= { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    for (;;) {
      if (this.#waiting.length > 0) {
        yield this.#waiting.shift()!;
      } else if (this.#over) {
        if ("error" in this.#over) throw this.#over.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
