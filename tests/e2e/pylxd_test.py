"""pylxd (Debian's python3-pylxd) over HTTPS: joining by password, and the life of a container."""

import os
import unittest

from https_e2e import HttpsTest
from identities import Identity

try:
    import pylxd
except ImportError:
    pylxd = None

for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # of the machine: they would go before `verify`
    os.environ.pop(name, None)

PASSWORD = "correct horse battery staple"


@unittest.skipUnless(pylxd, "needs python3-pylxd")
class PylxdTest(HttpsTest):
    def client(self, name):
        me = Identity(self.folder, name)
        return pylxd.Client(endpoint=self.url, cert=(str(me.crt), str(me.key)), verify=False)

    def test_a_password_makes_a_client_trusted(self):
        self.set("core.trust_password", PASSWORD)
        client = self.client("joins")
        self.assertFalse(client.trusted)
        with self.assertRaises(pylxd.exceptions.LXDAPIException):
            client.authenticate("wrong")
        client.authenticate(PASSWORD)
        self.assertTrue(client.trusted)
        self.assertEqual([c.name for c in client.certificates.all()], ["joins"])

    def test_the_life_of_a_container(self):
        self.set("core.trust_password", PASSWORD)
        client = self.client("works")
        client.authenticate(PASSWORD)
        name = self.daemon.name("py")
        one = client.containers.create({"name": name, "source": {"type": "image", "alias": "busybox"}}, wait=True)
        try:
            one.start(wait=True)
            self.daemon.note_cards()
            self.assertEqual(one.state().status, "Running")
            code, out, err = one.execute(["sh", "-c", "echo hello; echo oops >&2; exit 3"])
            self.assertEqual((code, out, err), (3, "hello\n", "oops\n"))
            one.files.put("/root/file", b"content")
            self.assertEqual(one.files.get("/root/file"), b"content")
            one.config["user.note"] = "x"
            one.save(wait=True)
            self.assertEqual(client.containers.get(name).config["user.note"], "x")
            with self.assertRaises(pylxd.exceptions.NotFound):
                client.containers.get("nothing")
            one.stop(force=True, wait=True)
        finally:
            self.daemon.lxc("delete", "--force", name, check=False)
        self.assertEqual(client.containers.all(), [])


if __name__ == "__main__":
    unittest.main()
