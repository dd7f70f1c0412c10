// Each rule by an example: a change to a schema, and the rules that it meets, with a mark on those
// that break clients.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compare } from "./graphql-diff.mjs";

const SCHEMA = `
  type Query { thing(id: ID!, kind: Kind = A): Thing things: [Thing!]! }
  type Mutation { make(input: Input): Thing }
  type Thing implements Node { id: ID! name: String kind: Kind! any: Any }
  interface Node { id: ID! }
  enum Kind { A B }
  enum Order { ASC }
  input Input { name: String! size: Int = 1 order: Order }
  union Any = Thing
  scalar Time`;

const CASES = [
  ["scalar Time", "scalar Time", []],
  ["scalar Time", "", ["!type-removed"]],
  ["scalar Time", "scalar Time scalar Date", ["type-added"]],
  ["scalar Time", "enum Time { NOW }", ["!type-kind-changed"]],
  ["name: String kind", "kind", ["!field-removed"]],
  ["name: String kind", "name: String title: String kind", ["field-added"]],
  ["name: String kind", "name: String! kind", ["field-type-changed"]],
  ["things: [Thing!]!", "things: [Thing]!", ["!field-type-changed"]],
  ["id: ID!, kind", "kind", ["!field-argument-removed"]],
  ["id: ID!, kind", "id: ID, kind", ["field-argument-type-changed"]],
  ["kind: Kind = A", "kind: Kind! = A", ["!field-argument-type-changed"]],
  ["kind: Kind = A", "kind: Kind = B", ["!field-argument-default-changed"]],
  ["kind: Kind = A", "kind: Kind = A, n: Int", ["field-argument-added"]],
  ["kind: Kind = A", "kind: Kind = A, n: Int!", ["!field-argument-added"]],
  ["size: Int = 1", "size: Int! = 1", ["!input-field-type-changed"]],
  ["size: Int = 1", "size: Int = 2", ["!input-field-default-value-changed"]],
  ["size: Int = 1", "", ["!input-field-removed"]],
  ["size: Int = 1", "size: Int = 1 more: Int!", ["!input-field-added"]],
  ["size: Int = 1", "size: Int = 1 more: Int", ["input-field-added"]],
  ["{ A B }", "{ A }", ["!enum-value-removed"]],
  // One that responses contain, and one that only clients write.
  ["{ A B }", "{ A B C }", ["!enum-value-added"]],
  ["{ ASC }", "{ ASC DESC }", ["enum-value-added"]],
  ["union Any = Thing", "union Any = Thing | Query", ["!union-member-added"]],
  ["implements Node", "", ["!object-type-interface-removed"]],
];

for (const [from, to, expected] of CASES) {
  test(`${from} -> ${to}`, async () => {
    const changes = await compare(SCHEMA, SCHEMA.replace(from, to));
    const rules = changes.map(({ breaking, rule }) => (breaking ? "!" : "") + rule);
    assert.deepEqual(rules, expected);
  });
}

test("an old schema that cannot be parsed breaks nothing, a new one is an error", async () => {
  const [good, bad] = ["type Query { a: Int }", 'type Query { "\\" a: Int }'];
  const changes = await compare(bad, good);
  assert.deepEqual(
    changes.map(({ breaking, rule }) => [breaking, rule]),
    [[false, "schema-fixed"]],
  );
  await assert.rejects(compare(good, bad));
});
