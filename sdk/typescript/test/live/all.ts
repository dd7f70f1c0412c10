import type { Scenarios } from "../harness/scenario.js";
import { accounts } from "./accounts.js";
import { cuts } from "./cuts.js";
import { links } from "./links.js";
import { sessions } from "./sessions.js";
import { uploads } from "./uploads.js";

export const groups: Record<string, Scenarios> = { accounts, sessions, cuts, uploads, links };
