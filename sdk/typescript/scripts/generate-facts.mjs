// What the document says besides its schemas.

const METHODS = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];

/** The source of `facts.gen.ts`. */
export function generateFacts(document) {
  const operations = operationsOf(document);
  // Not GraphQL: most operations are queries, and a mutation may be executed again when a replica dies
  // right after its commit. Whether that may happen is for the caller to decide, who gives the key.
  const keyed = operations
    .filter((operation) => !operation.isGraphQl && takesIdempotencyKey(document, operation))
    .map(({ method, path }) => `${method} ${path}`);
  return [
    "/** Operations that get an `Idempotency-Key` from the client. */",
    `export const KEYED_OPERATIONS: readonly string[] = ${JSON.stringify(keyed.sort(), null, 2)};`,
    "",
    "/** The problem codes of each operation, by the name of its function. */",
    "export interface ProblemCodesOf {",
    ...operations.map(({ name, codes }) => `  ${name}: ${union(codes)};`).sort(),
    "}",
    "",
    "/** All problem codes. */",
    `export type ProblemCode =\n${explained(document, operations)};`,
    "",
  ].join("\n");
}

function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      path,
      method: method.toUpperCase(),
      name: item[method].operationId.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()),
      codes: codesOf(document, item[method]),
      isGraphQl: "x-graphql-error-codes" in item[method],
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])],
    })),
  );
}

/** Problem codes, and those of GraphQL in the same spelling. */
function codesOf(document, operation) {
  const responses = Object.values(operation.responses).map((it) => resolve(document, it));
  const codes = responses.flatMap((response) => response["x-problem-codes"] ?? []);
  const graphql = operation["x-graphql-error-codes"] ?? [];
  return [...new Set([...codes, ...graphql.map((code) => code.toLowerCase())])].sort();
}

function union(codes) {
  return codes.length === 0 ? "never" : codes.map((code) => JSON.stringify(code)).join(" | ");
}

/** All codes, each with its description from the document. */
function explained(document, operations) {
  const codes = [...new Set(operations.flatMap((operation) => operation.codes))].sort();
  if (codes.length === 0) return "  never";
  return codes
    .map((code) => {
      const { summary, description } = document.components?.examples?.[code] ?? {};
      const words = [summary && `${summary}.`, description].filter(Boolean).join(" ");
      const comment = words ? `  /** ${words.replaceAll("\n", " ")} */\n` : "";
      return `${comment}  | ${JSON.stringify(code)}`;
    })
    .join("\n");
}

function takesIdempotencyKey(document, { parameters }) {
  return parameters
    .map((parameter) => resolve(document, parameter))
    .some(({ in: place, name }) => place === "header" && name.toLowerCase() === "idempotency-key");
}

function resolve(document, node) {
  if (!node.$ref) return node;
  return node.$ref
    .slice(2)
    .split("/")
    .reduce((at, key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], document);
}
