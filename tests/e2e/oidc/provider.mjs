// The identity provider that oidc_test.py logs in at: oidc-provider on loopback, with two clients and whoever logs in.
// Commands come on stdin, a JSON object a line, and are answered by one on stdout:
//   {"rotate": true}                   sign with another key from now on; those of before are gone
//   {"account": "a", "claims": {...}}  what it says of somebody
//   {"sign": {...}, "alg": "none"}     a token with these claims, by the present key (or by none)
import https from 'node:https'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { generateKeyPairSync, randomUUID, sign, webcrypto } from 'node:crypto'

// Debian 12 has Node.js 18, and the provider is written for later ones.
globalThis.crypto ??= webcrypto
globalThis.CustomEvent ??= class extends Event {}
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base)
  } catch {
    return null
  }
}
const { default: Provider } = await import('oidc-provider')

const [certificate, key, redirect] = process.argv.slice(2)
const audience = 'https://troupe.test'
const accounts = new Map()
const scopes = { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] }

const claimsOf = (id) => ({ sub: id, email: `${id}@example.org`, email_verified: true, name: `The ${id}`, ...accounts.get(id) })

function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' }
}

let jwk = newKey()
let serve

function start(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys: [jwk] },
    clients: [
      { client_id: 'troupe', client_secret: 'between us: +/%', redirect_uris: [redirect], id_token_signed_response_alg: 'ES256' },
      {
        client_id: 'troupe-cli',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        response_types: [],
        redirect_uris: [],
        id_token_signed_response_alg: 'ES256',
      },
    ],
    claims: scopes,
    cookies: { keys: ['only a test'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => claimsOf(id) }),
    extraTokenClaims: (_, token) => (token.accountId && token.aud === audience ? claimsOf(token.accountId) : undefined),
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_, client) => (client.clientId === 'troupe-cli' ? audience : undefined),
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: '', audience, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
      },
    },
  })
  serve = provider.callback()
}

const part = (json) => Buffer.from(JSON.stringify(json)).toString('base64url')

function signed(claims, alg) {
  const body = `${part({ alg: alg ?? 'ES256', typ: 'at+jwt', kid: jwk.kid })}.${part(claims)}`
  if (alg === 'none') return `${body}.`
  return `${body}.${sign('sha256', Buffer.from(body), { key: jwk, format: 'jwk', dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

function obey(command, issuer) {
  if (command.rotate) {
    jwk = newKey()
    start(issuer)
  }
  if (command.account) accounts.set(command.account, command.claims)
  return command.sign ? { token: signed(command.sign, command.alg) } : {}
}

const server = https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => serve(request, response))
server.listen(0, '127.0.0.1', () => {
  const issuer = `https://localhost:${server.address().port}`
  start(issuer)
  console.log(JSON.stringify({ issuer, audience }))
  createInterface({ input: process.stdin })
    .on('line', (line) => console.log(JSON.stringify(obey(JSON.parse(line), issuer))))
    .on('close', () => process.exit(0))
})
