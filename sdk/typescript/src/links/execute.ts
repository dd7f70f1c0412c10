import { executeGraphql } from "../generated/sdk.gen.js";
import type { QuartetClient } from "../client.js";
import { errorOfGraphQl, type GraphQlErrorBody } from "../transport/answers.js";
import type { During } from "../options.js";
import type { GraphQlDocument } from "./document.js";

interface GraphQlAnswer {
  data?: unknown;
  errors?: GraphQlErrorBody[] | null;
}

/** Executes a query or mutation. Throws if any part of it failed. */
export async function execute<Answer, Variables>(
  client: QuartetClient,
  document: GraphQlDocument<Answer, Variables>,
  variables: Variables,
  { meta, ...during }: During = {},
): Promise<Answer> {
  const answer = (await executeGraphql({
    client,
    body: { query: document, variables: variables as Record<string, unknown> },
    headers: { accept: "application/graphql-response+json" },
    // A mutation is done once; what only reads may be asked again.
    meta: { repeatable: !/\bmutation\b/.test(document), ...meta },
    ...during,
  })) as GraphQlAnswer;
  if (answer.errors?.length) throw errorOfGraphQl(answer.errors, { status: 200 });
  return answer.data as Answer;
}
