import { executeGraphql } from "../generated/sdk.gen.js";
import type { QuartetClient } from "../client.js";
import { errorOfGraphQl, type GraphQlErrorBody } from "../transport/responses.js";
import type { During } from "../options.js";
import type { GraphQlDocument } from "./document.js";

interface GraphQlResponse {
  data?: unknown;
  errors?: GraphQlErrorBody[] | null;
}

/** Executes a query or mutation. Throws if any part of it failed. */
export async function execute<Data, Variables>(
  client: QuartetClient,
  document: GraphQlDocument<Data, Variables>,
  variables: Variables,
  { meta, ...during }: During = {},
): Promise<Data> {
  const response = (await executeGraphql({
    client,
    body: { query: document, variables: variables as Record<string, unknown> },
    headers: { accept: "application/graphql-response+json" },
    // Queries are safe to retry, mutations are not.
    meta: { repeatable: !/\bmutation\b/.test(document), ...meta },
    ...during,
  })) as GraphQlResponse;
  if (response.errors?.length) throw errorOfGraphQl(response.errors, { status: 200 });
  return response.data as Data;
}
