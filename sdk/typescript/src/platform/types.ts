/** A request with a file as its body. */
export interface PutRequest {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: Blob;
  signal: AbortSignal;
  onProgress: (sentBytes: number) => void;
}

export interface PutResponse {
  status: number;
  text: string;
}
