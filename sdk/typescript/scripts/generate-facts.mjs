// What the document says that types cannot tell at run time.

const METHODS = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];

/** The source of `facts.gen.ts`. */
export function generateFacts(document) {
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      path,
      method: method.toUpperCase(),
      operation: item[method],
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])],
    })),
  );
  const keyed = operations
    .filter((entry) => takesIdempotencyKey(document, entry))
    .map((entry) => `${entry.method} ${entry.path}`)
    .sort();
  const codes = [...new Set(codesIn(document))].sort();
  return [
    "/** Operations that take an `Idempotency-Key`. */",
    `export const KEYED_OPERATIONS: readonly string[] = ${list(keyed)};`,
    "",
    "/** Codes of all problems that the document knows. */",
    `export const PROBLEM_CODES = ${list(codes)} as const;`,
    "",
  ].join("\n");
}

function list(values) {
  return `[\n${values.map((value) => `  ${JSON.stringify(value)},\n`).join("")}]`;
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

/** Every code that an answer of the document names, by its examples or as an enumeration. */
function codesIn(document) {
  const codes = document.components?.schemas?.Problem?.properties?.code?.enum ?? [];
  const answers = Object.values(document.paths)
    .flatMap((item) => METHODS.map((method) => item[method]))
    .flatMap((operation) => Object.values(operation?.responses ?? {}))
    .map((answer) => resolve(document, answer).content?.["application/problem+json"])
    .filter(Boolean);
  return [...codes, ...answers.flatMap((answer) => codesOf(document, answer))].sort();
}

function codesOf(document, { example, examples = {} }) {
  const values = Object.values(examples).map((named) => resolve(document, named).value);
  return [example, ...values].map((value) => value?.code).filter(Boolean);
}
