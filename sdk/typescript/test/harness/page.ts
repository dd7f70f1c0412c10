// What runs in the page: all scenarios, by name.

import { groups } from "../live/all.js";
import { Faults } from "./faults.js";
import type { Left } from "./scenario.js";

declare global {
  var runScenario: (group: string, name: string) => Promise<void | Left>;
}

globalThis.runScenario = (group, name) => {
  const url = location.origin;
  return groups[group]![name]!({ url, faults: new Faults(url) });
};
