import type { Credentials } from "./generated/types.gen.js";
import { Account, login, logout } from "./accounts.js";
import { createClient, type QuartetClient, type QuartetOptions } from "./client.js";
import { Links } from "./links/links.js";
import { Media } from "./media/media.js";
import type { During } from "./options.js";

/**
 * All of Quartet behind one URL.
 *
 *     const quartet = new Quartet({ url: "https://api.example.com" });
 *     await quartet.login({ email, password });
 */
export class Quartet {
  /** For the generated functions: `getMe({ client: quartet.client })`. */
  readonly client: QuartetClient;
  readonly account: Account;
  readonly media: Media;
  readonly links: Links;

  constructor(options: QuartetOptions) {
    this.client = createClient(options);
    this.account = new Account(this.client);
    this.media = new Media(this.client);
    this.links = new Links(this.client);
  }

  login(credentials: Credentials, during?: During): Promise<void> {
    return login(this.client, credentials, during);
  }

  logout(during?: During): Promise<void> {
    return logout(this.client, during);
  }
}
