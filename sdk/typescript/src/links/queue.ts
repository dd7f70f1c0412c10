/** Beyond this number of unread items the oldest is dropped. */
const MAX_WAITING = 1000;

/** Items that were pushed and not read yet, as an async iterable. */
export class Queue<Item> implements AsyncIterable<Item> {
  readonly #waiting: Item[] = [];
  #ended: { error?: unknown } | undefined;
  #wake = () => {};

  push(item: Item): void {
    this.#waiting.push(item);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    this.#wake();
  }

  /** Ends the iteration after the items that were pushed. */
  end(): void {
    this.#ended ??= {};
    this.#wake();
  }

  /** Ends the iteration with an error, without the items that were pushed. */
  fail(error: unknown): void {
    this.#waiting.length = 0;
    this.#ended ??= { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    for (;;) {
      if (this.#waiting.length > 0) {
        yield this.#waiting.shift()!;
      } else if (this.#ended) {
        if ("error" in this.#ended) throw this.#ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
