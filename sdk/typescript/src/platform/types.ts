/** One request that carries a file. */
export interface PutRequest {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: Blob;
  signal: AbortSignal;
  onProgress: (sentBytes: number) => void;
}

export interface PutAnswer {
  status: number;
  text: string;
}
