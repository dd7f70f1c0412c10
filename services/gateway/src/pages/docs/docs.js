// API documentation: one login authorizes every request sent from the page.
// Tokens are kept in memory only, so closing the page discards them.

const SCHEME = "bearer";
const SESSIONS = "/v1/core/sessions";
// A token must not expire while a request is on its way.
const MAX_MARGIN_MS = 5000;

const at = (id) => document.getElementById(id);

/** Tokens, the email, and the time at which the access token must be refreshed. */
let session = null;
/** The refresh in progress: a refresh token can be used only once. */
let refreshing = null;
/** True until the page itself has loaded the document. */
let loading = true;

function showMessage(text, isError = false) {
  at("message").textContent = text;
  at("message").classList.toggle("error", isError);
}

function showSession() {
  at("login").hidden = session !== null;
  at("session").hidden = session === null;
  at("who").textContent = session?.email ?? "";
}

class ProblemError extends Error {
  constructor(response, problem) {
    const wait = response.headers.get("retry-after");
    const reasons = (problem.errors ?? []).map((error) => `${error.pointer ?? error.parameter} ${error.detail}`);
    const parts = [problem.title ?? `HTTP status ${response.status}`, ...reasons];
    super(parts.join("; ") + (wait ? `. Retry in ${wait} s.` : "."));
    this.status = response.status;
  }
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new ProblemError(response, content);
  return content;
}

function startSession(tokens, email) {
  const lifetime = tokens.expires_in * 1000;
  session = {
    email,
    access: tokens.access_token,
    refresh: tokens.refresh_token,
    refreshAt: Date.now() + lifetime - Math.min(MAX_MARGIN_MS, lifetime / 2),
  };
  ui.preauthorizeApiKey(SCHEME, session.access);
  showSession();
}

function endSession() {
  session = null;
  ui.authActions.logout([SCHEME]);
  showSession();
}

async function logIn(event) {
  event.preventDefault();
  const button = at("login").querySelector("button");
  const email = at("email").value.trim();
  button.disabled = true;
  showMessage("Logging in…");
  try {
    startSession(await post(SESSIONS, { email, password: at("password").value }), email);
    showMessage("Logged in. Requests are sent with your access token, which is refreshed automatically.");
    at("logout").focus();
  } catch (error) {
    showMessage(error.message, true);
  } finally {
    at("password").value = "";
    button.disabled = false;
  }
}

async function logOut() {
  const { access } = session;
  endSession();
  at("email").focus();
  const response = await fetch(`${SESSIONS}/current`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${access}` },
  }).catch(() => null);
  // 401: the session had already ended.
  if (response?.ok || response?.status === 401) showMessage("Logged out.");
  else showMessage("Tokens discarded, but the server could not be reached: the session may still be active.", true);
}

async function refresh() {
  const { refresh: token, email } = session;
  try {
    const tokens = await post(`${SESSIONS}/refresh`, { refresh_token: token });
    if (session?.refresh === token) startSession(tokens, email);
  } catch (error) {
    if (error.status !== 401) return showMessage(`Cannot refresh the access token: ${error.message}`, true);
    if (session?.refresh === token) {
      endSession();
      showMessage("Your session has ended. Please log in again.", true);
    }
  }
}

function refreshOnce() {
  refreshing ??= refresh().finally(() => { refreshing = null; });
  return refreshing;
}

/** Replaces the token that Swagger UI has set if it is about to expire. */
async function beforeRequest(request) {
  const isOwn = session && request.headers.Authorization === `Bearer ${session.access}`;
  if (isOwn && Date.now() >= session.refreshAt) {
    await refreshOnce();
    if (session) request.headers.Authorization = `Bearer ${session.access}`;
  }
  return request;
}

/** Swagger UI would send examples of optional parameters, such as a cursor that does not exist. */
function withoutOptionalExamples(text) {
  const document = JSON.parse(text);
  for (const operation of Object.values(document.paths).flatMap((item) => Object.values(item))) {
    for (const parameter of operation.parameters ?? []) {
      if (!parameter.required) delete parameter.example;
    }
  }
  return JSON.stringify(document);
}

/** Refreshes the session after a 401, to find out whether it has ended. */
async function afterResponse(response) {
  if (loading && response.ok) {
    loading = false;
    response.text = withoutOptionalExamples(response.text);
    return response;
  }
  if (response.status === 401 && session && new URL(response.url).pathname !== SESSIONS) await refreshOnce();
  return response;
}

async function copyToken() {
  try {
    await navigator.clipboard.writeText(session.access);
    showMessage("Access token copied to the clipboard.");
  } catch {
    showMessage("The browser does not allow copying.", true);
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
  // The validator is on another origin.
  validatorUrl: null,
  requestInterceptor: beforeRequest,
  responseInterceptor: afterResponse,
});

at("login").addEventListener("submit", logIn);
at("logout").addEventListener("click", logOut);
at("copy").addEventListener("click", copyToken);
