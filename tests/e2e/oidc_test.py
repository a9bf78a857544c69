"""Logging in by an identity provider (OpenID Connect): a command line by the device flow, a browser by code and PKCE, and
what is believed of the tokens they bring. The provider is a real one, see oidc_provider.py."""

import base64
import http.client
import json
import pathlib
import sys
import tempfile
import time
import unittest

from https_e2e import RolesTest
from identities import context_of, free_port
from oidc_provider import Browser, Provider, certificate_in, device_login, event_stream, installed, wait_for_end
from troupe_e2e import COMMAND_SECONDS, eventually

SKIPPED = 77  # what ctest takes for "was not run"


class OidcTest(RolesTest):
    bare = True

    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.TemporaryDirectory()
        certificate, _ = certificate_in(pathlib.Path(cls.keys.name))
        cls.process_env = {"SSL_CERT_FILE": str(certificate)}  # whom the daemon trusts
        super().setUpClass()
        try:
            cls.provider = Provider(pathlib.Path(cls.keys.name), f"{cls.url}/oidc/callback")
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.provider.close()
        cls.keys.cleanup()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.configure(**{"oidc.issuer": self.provider.issuer, "oidc.client.id": "troupe", "oidc.client.secret": "between us: +/%",
                          "oidc.device.client.id": "troupe-cli", "oidc.audience": self.provider.audience,
                          "oidc.groups.claim": "groups", "oidc.scopes": "openid email profile groups offline_access"})

    def configure(self, **config):
        self.must("PATCH", "/1.0", {"config": config})

    def ask(self, path, token=None, **headers):
        """Status, JSON, headers."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context_of(), timeout=COMMAND_SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, json.loads(text) if text else None, reply.headers
        finally:
            connection.close()

    def trusted(self, token):
        status, answer, _ = self.ask("/1.0", token)
        return status == 200 and answer["metadata"]["auth"] == "trusted"

    def refusals(self):
        return [e["metadata"] for e in self.daemon.get("/1.0/events/history?entity=security//127.0.0.1")
                if e["type"] == "security" and e["metadata"]["name"] == "refused"]

    # --- the configuration

    def test_a_provider_that_is_none_changes_nothing(self):
        before = self.daemon.get("/1.0")["config"]
        wrong = (f"{self.provider.issuer}/", f"{self.provider.issuer}/other", f"https://localhost:{free_port()}")
        for issuer in wrong + ("http://localhost:1", "https://", "https://a@localhost", "https://localhost/?x"):
            self.assertNotEqual(self.daemon.outcome("PATCH", "/1.0", {"config": {"oidc.issuer": issuer}})[0], 200, issuer)
        for key, value in (("oidc.scopes", "openid"), ("oidc.session.expiry", "10M"), ("oidc.client.id", "")):
            status, error = self.daemon.outcome("PATCH", "/1.0", {"config": {key: value}})
            self.assertEqual(status, 400, error)
            self.assertIn("oidc.", error)
        self.assertEqual(self.daemon.get("/1.0")["config"], before)
        self.assertEqual(before["oidc.client.secret"], "true")

    def test_it_is_changed_and_removed_live(self):
        token = self.provider.token("ann")
        self.assertTrue(self.trusted(token))
        self.assertEqual(self.ask("/1.0")[1]["metadata"]["auth_methods"], ["tls", "oidc"])
        self.configure(**{"oidc.audience": "https://other.test"})
        self.assertEqual(self.ask("/1.0", token)[0], 401)
        self.assertTrue(self.trusted(self.provider.token("ann", aud=["x", "https://other.test"])))
        self.configure(**{"oidc.audience": self.provider.audience})
        self.group("all", ("server", "/1.0", "viewer"))
        self.must("PATCH", f"{self.IDENTITIES}/oidc/ann@example.org", {"groups": ["all"]})
        with event_stream(self.port, token) as stream:
            self.configure(**{"oidc.issuer": ""})
            wait_for_end(stream)
        status, answer, headers = self.ask("/1.0/projects", token)
        self.assertEqual((status, headers["X-LXD-OIDC-issuer"]), (403, None))
        self.assertEqual(self.ask("/1.0", token)[1]["metadata"]["auth_methods"], ["tls"])
        self.assertEqual(self.ask("/oidc/login")[0], 404)

    # --- a command line

    def test_a_command_line_logs_in_by_the_device_flow(self):
        self.provider.says("bob", groups=[])
        status, _, headers = self.ask("/1.0/projects", "")
        self.assertEqual(status, 401)
        self.assertEqual(headers["X-LXD-OIDC-clientid"], "troupe-cli")
        self.assertIn("email", json.loads(headers["X-LXD-OIDC-scopes"]))
        tokens = device_login(headers, "bob")
        token = tokens["access_token"]
        self.assertTrue(self.trusted(token))
        identity = self.daemon.get(f"{self.IDENTITIES}/oidc/bob@example.org")
        self.assertEqual((identity["type"], identity["authentication_method"], identity["groups"]), ("OIDC client", "oidc", []))
        self.assertEqual(identity["name"], "The bob")
        me = self.ask("/1.0/auth/identities/current", token)[1]["metadata"]
        self.assertEqual((me["id"], me["effective_permissions"]), ("bob@example.org", []))
        self.assertEqual(self.ask("/1.0/projects", token)[1]["metadata"], [])
        self.assertEqual(self.ask("/1.0/networks", token)[0], 404)  # nobody learns which projects there are
        self.group("lookers", ("project", "/1.0/projects/default", "viewer"))
        self.must("PATCH", f"{self.IDENTITIES}/oidc/bob@example.org", {"groups": ["lookers"]})
        self.assertEqual(self.ask("/1.0/projects", token)[1]["metadata"], ["/1.0/projects/default"])
        told = [e["metadata"]["name"] for e in self.daemon.get("/1.0/events/history?entity=security//bob@example.org") if e["type"] == "security"]
        self.assertIn("authenticated", told)

    def test_groups_of_the_provider_give_and_take_rights(self):
        self.group("lookers", ("project", "/1.0/projects/default", "viewer"))
        self.must("POST", self.MAPPINGS, {"name": "staff", "groups": ["lookers"]})
        now = self.provider.token("cleo", groups=["staff", "others"])
        self.assertEqual(self.ask("/1.0/projects", now)[1]["metadata"], ["/1.0/projects/default"])
        old = self.provider.token("cleo", groups=["staff"], iat=1)
        self.assertEqual(len(self.ask("/1.0/projects", old)[1]["metadata"]), 1)
        with event_stream(self.port, now) as stream:
            later = self.provider.token("cleo", groups=["others"], iat=_issued(now) + 1)
            self.assertEqual(self.ask("/1.0/projects", later)[1]["metadata"], [])
            wait_for_end(stream)
        for token in (now, old):  # what the provider said last counts, whichever token is brought
            self.assertEqual(self.ask("/1.0/projects", token)[1]["metadata"], [])
        for nonsense in ("staff", [1], {"staff": True}):
            token = self.provider.token("dan", groups=nonsense)
            self.assertEqual(self.ask("/1.0/projects", token)[1]["metadata"], [], nonsense)

    def test_who_is_removed_is_cut_and_an_address_stays_its_owners(self):
        token = self.provider.token("eve")
        self.assertTrue(self.trusted(token))
        self.group("all", ("server", "/1.0", "viewer"))
        url = f"{self.IDENTITIES}/oidc/eve@example.org"
        self.must("PATCH", url, {"groups": ["all"]})
        other = self.provider.token("mallory", email="eve@example.org")
        self.assertEqual(self.ask("/1.0", other)[0], 401)
        with event_stream(self.port, token) as stream:
            self.must("DELETE", url)
            wait_for_end(stream)
        self.assertTrue(self.trusted(token))  # the provider still vouches for her: known again, without rights
        self.assertEqual(self.daemon.get(url)["groups"], [])

    def test_the_end_of_a_token_cuts_what_is_open(self):
        self.group("all", ("server", "/1.0", "viewer"))
        brief = self.provider.token("gus", exp=int(time.time()) - 50)  # a minute is what clocks may be apart
        self.assertTrue(self.trusted(brief))
        self.must("PATCH", f"{self.IDENTITIES}/oidc/gus@example.org", {"groups": ["all"]})
        with event_stream(self.port, brief) as stream:
            wait_for_end(stream)
        self.assertFalse(self.trusted(brief))

    def test_tokens_that_prove_nothing_are_refused(self):
        good = self.provider.token("fay")
        head, body, signature = good.split(".")
        more = {**_json(body), "groups": ["staff"]}
        bad = {"expired": self.provider.token("fay", exp=1), "early": self.provider.token("fay", nbf=4e9),
               "endless": self.provider.token("fay", exp=None), "audience": self.provider.token("fay", aud="https://other.test"),
               "issuer": self.provider.token("fay", iss=self.provider.issuer + "/"), "client": self.provider.token("fay", client_id="other"),
               "party": self.provider.token("fay", azp="other"), "nobody": self.provider.token("fay", sub=None),
               "no address": self.provider.token("fay", email="fay"), "unverified": self.provider.token("fay", email_verified=False),
               "none": self.provider.token("fay", alg="none"), "hmac": self.provider.token("fay", alg="HS256"),
               "tampered": f"{head}.{_part(more)}.{signature}", "cut": good[:-4], "unsigned": f"{head}.{body}.",
               "nonsense": "nonsense", "long": "a" * 20_000}
        for name, token in bad.items():
            status, answer, headers = self.ask("/1.0", token)
            self.assertEqual((name, status), (name, 401))
            self.assertEqual(answer["error"], "not authenticated")
            self.assertEqual(headers["X-LXD-OIDC-issuer"], self.provider.issuer)
        self.assertEqual(self.daemon.get(f"{self.IDENTITIES}/oidc"), [])
        told = eventually(lambda: [e for e in self.refusals() if "token" in e["description"].lower()], "the refusal as an event")
        self.assertEqual(told[0]["level"], "warning")
        self.assertTrue(self.trusted(good))

    def test_keys_are_rotated(self):
        before = self.provider.token("gus")
        self.assertTrue(self.trusted(before))
        self.provider.rotate()
        after = self.provider.token("gus")
        self.assertTrue(self.trusted(after))
        self.assertEqual(self.ask("/1.0", before)[0], 401)
        self.daemon.stop()
        self.daemon.start()
        self.assertTrue(self.trusted(after))

    # --- a browser

    def test_a_browser_logs_in_and_out(self):
        self.provider.says("hal", groups=["staff"])
        self.group("lookers", ("project", "/1.0/projects/default", "viewer"))
        self.must("POST", self.MAPPINGS, {"name": "staff", "groups": ["lookers"]})
        browser = Browser()
        status, at, text = browser.log_in(f"{self.url}/oidc/login", "hal")
        self.assertEqual((status, at), (200, f"{self.url}/"), text)
        self.assertIsNone(browser.cookie("__Host-login"))
        session = browser.cookie("__Host-session")
        self.assertTrue(session.secure and session.has_nonstandard_attr("HttpOnly") and session.path == "/")
        self.assertEqual(session.get_nonstandard_attr("SameSite"), "Strict")
        projects = lambda: json.loads(browser.open(f"{self.url}/1.0/projects")[2]).get("metadata")
        self.assertEqual(projects(), ["/1.0/projects/default"])
        self.assertEqual(self.ask("/1.0/projects", Cookie=f"__Host-session={session.value}", Origin="https://evil.test")[0], 403)
        self.assertEqual(self.ask("/1.0/projects", Cookie=f"__Host-session={session.value}x")[0], 403)
        self.must("DELETE", f"{self.IDENTITIES}/oidc/hal@example.org")
        eventually(lambda: self.ask("/1.0/projects", Cookie=f"__Host-session={session.value}")[0] == 403, "the end of the session")
        browser.log_in(f"{self.url}/oidc/login", "hal")
        self.assertEqual(projects(), ["/1.0/projects/default"])
        again = browser.cookie("__Host-session").value
        browser.open(f"{self.url}/oidc/logout")
        self.assertIsNone(browser.cookie("__Host-session"))
        self.assertEqual(self.ask("/1.0/projects", Cookie=f"__Host-session={again}")[0], 403)

    def test_a_login_that_another_browser_began_is_refused(self):
        status, _, headers = self.ask("/oidc/login")
        self.assertEqual(status, 303)
        login = headers["Set-Cookie"].split(";")[0]
        for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
            self.assertIn(flag, headers["Set-Cookie"])
        query = dict(p.split("=", 1) for p in headers["Location"].split("?")[1].split("&"))
        self.assertEqual((query["code_challenge_method"], query["response_type"]), ("S256", "code"))
        self.assertNotIn("offline_access", query["scope"])
        state = query["state"]
        for cookie, path in ((None, f"?code=x&state={state}"), (login, "?code=x&state=other"), (login, f"?state={state}"), (login + "0", f"?code=x&state={state}"),
                             (login, f"?code=x&state={state}&iss=https%3A%2F%2Fother.test"), (login, f"?code=x&state={state}")):
            status, answer, headers = self.ask(f"/oidc/callback{path}", **({"Cookie": cookie} if cookie else {}))
            self.assertEqual((path, status, answer["error"]), (path, 403, "The login failed"))
            self.assertNotIn("session", headers["Set-Cookie"])
        self.assertTrue(any("browser" in e["description"] for e in self.refusals()))


def _json(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _part(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _issued(token):
    return _json(token.split(".")[1])["iat"]


if __name__ == "__main__":
    if not installed():
        print("Skipped: the identity provider of tests/e2e/oidc is not installed: ./dev test does it, by npm")
        sys.exit(SKIPPED)
    unittest.main()
