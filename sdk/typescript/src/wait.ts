/** Waits, or throws the reason of the signal if that is aborted first. */
export function wait(ms: number, signal?: AbortSignal | null): Promise<void> {
  return orAbort(new Promise((resolve) => setTimeout(resolve, ms)), signal);
}

/** The outcome of the promise, or the reason of the signal if that is aborted first. */
export function orAbort<T>(promise: Promise<T>, signal?: AbortSignal | null): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
