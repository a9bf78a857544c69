"""A real identity provider on loopback (oidc/provider.mjs), and enough of a browser and of a command line to log in at it."""

import contextlib
import html.parser
import http.client
import http.cookiejar
import json
import pathlib
import select
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from identities import context_of
from troupe_e2e import COMMAND_SECONDS, run

FOLDER = pathlib.Path(__file__).resolve().parent / "oidc"
CLI = "troupe-cli"
STARTS, START_SECONDS = 3, 60


def installed():
    return (FOLDER / "node_modules" / "oidc-provider").is_dir()


class Provider:
    """Knows everybody who logs in as NAME@example.org."""

    def __init__(self, folder, redirect):
        self.certificate, key = certificate_in(folder)
        told = None
        for _ in range(STARTS):  # node has been seen to wait for itself before it runs a line
            self.process = subprocess.Popen(["node", "provider.mjs", self.certificate, key, redirect], cwd=FOLDER, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if select.select([self.process.stdout], [], [], START_SECONDS)[0]:
                told = self._read()
                break
            self.process.kill()
            self.process.wait()
        assert told, "the provider does not start"
        self.issuer, self.audience = told["issuer"], told["audience"]

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError("the identity provider has ended")

    def _tell(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self):
        self.process.stdin.close()
        self.process.wait(COMMAND_SECONDS)
        self.process.stdout.close()

    def rotate(self):
        self._tell(rotate=True)

    def says(self, name, **claims):
        self._tell(account=name, claims=claims)

    def token(self, name, alg=None, **claims):
        """An access token as the provider would sign it, but for these claims."""
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": self.audience, "sub": name, "client_id": CLI, "iat": now, "exp": now + 600,
                 "email": f"{name}@example.org", "email_verified": True}
        return self._tell(sign={k: v for k, v in {**usual, **claims}.items() if v is not None}, **({"alg": alg} if alg else {}))["token"]


def certificate_in(folder):
    certificate, key = folder / "provider.crt", folder / "provider.key"
    if not certificate.exists():
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate,
            "-subj", "/CN=localhost", "-days", "30", "-addext", "subjectAltName=DNS:localhost")
    return certificate, key


class _Form(html.parser.HTMLParser):
    """The first form of a page: where it goes, and its fields."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self.inside = None, {}, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        at = dict(attributes)
        if tag == "form" and self.action is None:
            self.action, self.inside = at.get("action", ""), True
        if tag == "input" and self.inside and at.get("name"):
            self.fields[at["name"]] = at.get("value", "")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "form"


class Browser:
    """Keeps cookies, follows redirects, and fills in what it is asked for."""

    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), urllib.request.HTTPSHandler(context=context_of()))

    def open(self, url, fields=None):
        """Status, address and text of the page where it ends."""
        body = urllib.parse.urlencode(fields).encode() if fields is not None else None
        try:
            with self.opener.open(url, body, COMMAND_SECONDS) as reply:
                return reply.status, reply.url, reply.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.url, refused.read().decode()

    def log_in(self, url, name):
        """From page to page, as long as there is a form."""
        status, at, text = self.open(url)
        for _ in range(10):
            form = _Form(text)
            if status != 200 or form.action is None:
                break
            fields = {**form.fields, **{k: name for k in ("login", "password") if k in form.fields}}
            status, at, text = self.open(urllib.parse.urljoin(at, form.action), fields)
        return status, at, text

    def cookie(self, name):
        return next((c for c in self.jar if c.name == name), None)


def device_login(headers, name):
    """What a command line does with the headers of a 401; the user says yes in a browser. The tokens."""
    issuer, client = headers["X-LXD-OIDC-issuer"], headers["X-LXD-OIDC-clientid"]
    browser = Browser()
    facts = json.loads(browser.open(f"{issuer}/.well-known/openid-configuration")[2])
    scopes = " ".join(json.loads(headers["X-LXD-OIDC-scopes"]))
    asked = {"client_id": client, "scope": scopes, "audience": headers["X-LXD-OIDC-audience"]}
    device = json.loads(browser.open(facts["device_authorization_endpoint"], asked)[2])
    browser.log_in(device["verification_uri_complete"], name)
    status, _, text = browser.open(facts["token_endpoint"], {"grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                                                             "client_id": client, "device_code": device["device_code"]})
    assert status == 200, text
    return json.loads(text)


@contextlib.contextmanager
def event_stream(port, token):
    """A websocket of /1.0/events that somebody with this token has open."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context_of(), timeout=COMMAND_SECONDS)
    try:
        connection.request("GET", "/1.0/events", headers={"Authorization": f"Bearer {token}", "Connection": "Upgrade", "Upgrade": "websocket",
                                                          "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        reply = connection.getresponse()
        assert reply.status == 101, reply.read()
        yield connection.sock
    finally:
        connection.close()


def wait_for_end(sock):
    """Returns when the other side has closed; what comes before is read away."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass
