// An OpenID Connect provider of others, with its own pages, at which a gateway is registered.

import Provider from 'oidc-provider'

// Shorter than what the gateway needs: it refreshes before each use.
const ACCESS_TOKEN_SECONDS = 20

// `site`: the base URL of the login at the gateway. `events`: handlers by oidc-provider's names of the events. The
// gateway is notified of logouts if there is one for that.
export async function startProvider (server, issuer, secret, site, events = {}) {
  const notifies = 'backchannel.success' in events
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'gateway',
      client_secret: secret,
      redirect_uris: [`${site}/auth/callback`],
      post_logout_redirect_uris: [`${site}/auth/logged_out`],
      ...(notifies && { backchannel_logout_uri: `${site}/auth/backchannel`, backchannel_logout_session_required: true }),
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code']
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['a key of this test alone'] },
    features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true }, revocation: { enabled: true } },
    // Its own one asks no address of this machine.
    fetch: (url, { method, headers, body }) => fetch(url, { method, headers, body }),
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: true, preferred_username: id })
    }),
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    pkce: { required: () => true },
    ttl: { AccessToken: ACCESS_TOKEN_SECONDS }
  })
  provider.on('backchannel.error', (_, error) => { console.error(error) })
  provider.on('server_error', (_, error) => { console.error(error) })
  for (const [name, handler] of Object.entries(events)) provider.on(name, handler)
  server.on('request', provider.callback())
  await new Promise(resolve => server.listen(Number(new URL(issuer).port), '127.0.0.1', resolve))
}

// In the pages of the provider: login, then consent.
export async function logIn (tab, name) {
  await tab.until('!!document.querySelector("input[name=login]")')
  await tab.evaluate(`
    document.querySelector('input[name=login]').value = ${JSON.stringify(name)}
    document.querySelector('input[name=password]').value = 'any'
    document.querySelector('button[type=submit]').click()
  `)
  await tab.until('document.title === "app" || !!document.querySelector("input[name=prompt][value=consent]")')
  await tab.evaluate('document.querySelector("input[name=prompt][value=consent]")?.form.querySelector("button").click()')
}
