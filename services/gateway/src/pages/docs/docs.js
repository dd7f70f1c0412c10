// The documentation page: one login authorises every try.
// Tokens live in this script's memory only and are gone with the page.

const SCHEME = "bearer";
const SESSIONS = "/v1/core/sessions";
// A request should not arrive just after its token has ended.
const LARGEST_MARGIN_MS = 5000;

const at = (id) => document.getElementById(id);

/** What core gave: tokens, the time when the access token must be renewed, the address. */
let session = null;
/** The refresh that is under way: a refresh token is spent once. */
let refreshing = null;
/** The page itself asks for the document; later requests for it are tries. */
let loading = true;

function say(text, wrong = false) {
  at("message").textContent = text;
  at("message").classList.toggle("wrong", wrong);
}

function show() {
  at("login").hidden = session !== null;
  at("session").hidden = session === null;
  at("who").textContent = session?.email ?? "";
}

class Refused extends Error {
  constructor(response, problem) {
    const wait = response.headers.get("retry-after");
    const reasons = (problem.errors ?? []).map((error) => `${error.pointer ?? error.parameter} ${error.detail}`);
    const parts = [problem.title ?? `The server answered ${response.status}`, ...reasons];
    super(parts.join("; ") + (wait ? `. Try again in ${wait} s.` : "."));
    this.status = response.status;
  }
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response, answer);
  return answer;
}

function keep(tokens, email) {
  const lifetime = tokens.expires_in * 1000;
  session = {
    email,
    access: tokens.access_token,
    refresh: tokens.refresh_token,
    renewAt: Date.now() + lifetime - Math.min(LARGEST_MARGIN_MS, lifetime / 2),
  };
  ui.preauthorizeApiKey(SCHEME, session.access);
  show();
}

function forget() {
  session = null;
  ui.authActions.logout([SCHEME]);
  show();
}

async function logIn(event) {
  event.preventDefault();
  const button = at("login").querySelector("button");
  const email = at("email").value.trim();
  button.disabled = true;
  say("Logging in");
  try {
    keep(await post(SESSIONS, { email, password: at("password").value }), email);
    say("Every try is now made with your access token. It is renewed when it ends.");
    at("logout").focus();
  } catch (error) {
    say(error.message, true);
  } finally {
    at("password").value = "";
    button.disabled = false;
  }
}

async function logOut() {
  const { access } = session;
  forget();
  at("email").focus();
  const response = await fetch(`${SESSIONS}/current`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${access}` },
  }).catch(() => null);
  // 401: the session had ended before.
  if (response?.ok || response?.status === 401) say("Logged out.");
  else say("This page has forgotten you, but the server did not answer: the session may still be open.", true);
}

async function renew() {
  const { refresh, email } = session;
  try {
    const tokens = await post(`${SESSIONS}/refresh`, { refresh_token: refresh });
    if (session?.refresh === refresh) keep(tokens, email);
  } catch (error) {
    if (error.status !== 401) return say(`The access token could not be renewed: ${error.message}`, true);
    if (session?.refresh === refresh) {
      forget();
      say("Your session has ended. Log in again.", true);
    }
  }
}

function renewOnce() {
  refreshing ??= renew().finally(() => { refreshing = null; });
  return refreshing;
}

/** Swagger UI has put in the token that it knows: a try gets one that is still good. */
async function beforeRequest(request) {
  const mine = session && request.headers.Authorization === `Bearer ${session.access}`;
  if (mine && Date.now() >= session.renewAt) {
    await renewOnce();
    if (session) request.headers.Authorization = `Bearer ${session.access}`;
  }
  return request;
}

/** An example that is sent unasked would ask for a page or a version that nobody has. */
function withoutOptionalExamples(text) {
  const document = JSON.parse(text);
  for (const operation of Object.values(document.paths).flatMap((item) => Object.values(item))) {
    for (const parameter of operation.parameters ?? []) {
      if (!parameter.required) delete parameter.example;
    }
  }
  return JSON.stringify(document);
}

/** Tells whether a refused try was the end of the session; deleting it is a try like others. */
async function afterResponse(response) {
  if (loading && response.ok) {
    loading = false;
    response.text = withoutOptionalExamples(response.text);
    return response;
  }
  if (response.status === 401 && session && new URL(response.url).pathname !== SESSIONS) await renewOnce();
  return response;
}

async function copyToken() {
  try {
    await navigator.clipboard.writeText(session.access);
    say("The access token is in the clipboard.");
  } catch {
    say("The browser did not allow copying.", true);
  }
}

const ui = SwaggerUIBundle({
  url: "/openapi.json",
  domNode: at("operations"),
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  // The validator is somebody else's server.
  validatorUrl: null,
  requestInterceptor: beforeRequest,
  responseInterceptor: afterResponse,
});

at("login").addEventListener("submit", logIn);
at("logout").addEventListener("click", logOut);
at("copy").addEventListener("click", copyToken);
