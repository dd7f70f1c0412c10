// Compares a GraphQL schema with the one at a commit: node graphql-diff.mjs COMMIT PATH. Prints a JSON
// list of changes for `cargo xtask api-diff`.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { diff } from "@graphql-inspector/core";
import { buildSchema, getNamedType, isInterfaceType, isObjectType } from "graphql";

// "Dangerous" for graphql-inspector: our clients handle the values of unions and enums exhaustively,
// and a default is what a request without the argument means.
const BREAKING = new Set([
  "FIELD_ARGUMENT_DEFAULT_CHANGED",
  "INPUT_FIELD_DEFAULT_VALUE_CHANGED",
  "UNION_MEMBER_ADDED",
]);

const build = (text) => buildSchema(text, { assumeValidSDL: true });

/** Names of the types that responses contain. */
function responseTypes(schema) {
  const types = Object.values(schema.getTypeMap());
  const fields = types
    .filter((type) => isObjectType(type) || isInterfaceType(type))
    .flatMap((type) => Object.values(type.getFields()));
  return new Set(fields.map((field) => getNamedType(field.type).name));
}

export async function compare(old, current) {
  const schema = build(current);
  let before;
  try {
    before = build(old);
  } catch {
    // No client can have been generated from a schema that cannot be parsed.
    return [{ breaking: false, pointer: "", rule: "schema-fixed", what: "the old one is invalid" }];
  }
  const inResponses = responseTypes(schema);
  const isBreaking = ({ criticality, type, path }) =>
    criticality.level === "BREAKING" ||
    BREAKING.has(type) ||
    (type === "ENUM_VALUE_ADDED" && inResponses.has(path.split(".")[0]));
  return (await diff(before, schema)).map((change) => ({
    breaking: isBreaking(change),
    pointer: change.path ?? "",
    rule: change.type.toLowerCase().replaceAll("_", "-"),
    what: change.message,
  }));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [commit, path] = process.argv.slice(2);
  const old = execFileSync("git", ["show", `${commit}:${path}`], { encoding: "utf8" });
  console.log(JSON.stringify(await compare(old, readFileSync(path, "utf8"))));
}
