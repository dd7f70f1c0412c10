// Types and documents of the operations in src/links/operations.graphql.

import { codegen } from "@graphql-codegen/core";
import * as operationsPlugin from "@graphql-codegen/typescript-operations";
import { Kind, parse, print, stripIgnoredCharacters, visit } from "graphql";

const CONFIG = {
  scalars: { DateTime: "string", ID: "string" },
  enumType: "string-literal",
  skipTypename: true,
};

/** The source of `links.gen.ts`. */
export async function generateLinks(schemaText, operationsText) {
  const document = parse(operationsText);
  const types = await codegen({
    filename: "links.gen.ts",
    schema: parse(schemaText),
    documents: [{ location: "operations.graphql", document }],
    config: CONFIG,
    plugins: [{ operations: {} }],
    pluginMap: { operations: operationsPlugin },
  });
  const operations = document.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  return [
    'import type { GraphQlDocument } from "../links/document.js";\n',
    types,
    ...operations.map((operation) => constant(document, operation)),
    "",
  ].join("\n");
}

/** A typed document as a string: nothing is parsed at run time. */
function constant(document, operation) {
  const name = operation.name.value;
  const kind = operation.operation[0].toUpperCase() + operation.operation.slice(1);
  const definitions = [operation, ...fragmentsOf(document, operation)];
  const text = stripIgnoredCharacters(definitions.map(print).join("\n"));
  const type = `GraphQlDocument<${name}${kind}, ${name}${kind}Variables>`;
  return `\nexport const ${name}Document = ${JSON.stringify(text)} as ${type};`;
}

function fragmentsOf(document, operation) {
  const names = new Set();
  const collect = (node) =>
    visit(node, {
      FragmentSpread(spread) {
        if (names.has(spread.name.value)) return;
        names.add(spread.name.value);
        collect(fragment(document, spread.name.value));
      },
    });
  collect(operation);
  return [...names].sort().map((name) => fragment(document, name));
}

function fragment(document, name) {
  return document.definitions.find(
    (definition) => definition.kind === Kind.FRAGMENT_DEFINITION && definition.name.value === name,
  );
}
