// The entry point of the page: all scenarios, by name.

import { groups } from "../live/all.js";
import { Faults } from "./faults.js";
import type { Skipped } from "./scenario.js";

declare global {
  var runScenario: (group: string, name: string) => Promise<void | Skipped>;
}

globalThis.runScenario = (group, name) => {
  const url = location.origin;
  return groups[group]![name]!({ url, faults: new Faults(url) });
};
