"""troupe audit: every finding appears with what it is about, and vanishes with it; waivers."""

import json
import pathlib
import tempfile
import unittest

from identities import Identity, free_port
from troupe_e2e import DaemonTest


class AuditTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.home))

    def findings(self, *more):
        return json.loads(self.daemon.troupe("audit", "--format", "json", *more).stdout)

    def has(self, check, subject):
        return any(f["check"] == check and f["subject"] == subject for f in self.findings())

    def appears_and_vanishes(self, check, subject, bring, take):
        self.assertFalse(self.has(check, subject), f"{check} {subject} before")
        bring()
        self.assertTrue(self.has(check, subject), f"{check} {subject}")
        take()
        self.assertFalse(self.has(check, subject), f"{check} {subject} after")

    def change(self, method, path, body=None):
        status, error = self.daemon.outcome(method, path, body)
        self.assertIn(status, (200, 201), error)

    def server(self, key, value):
        self.change("PATCH", "/1.0", {"config": {key: value}})

    def test_files_of_the_daemon(self):
        folder = self.daemon.dir
        for check, name, bad in (("state-folder", "", 0o755), ("socket", "unix.socket", 0o666), ("socket", "bus.socket", 0o660),
                                 ("secret-file", "database", 0o750)):
            path = folder / name if name else folder
            good = path.stat().st_mode & 0o777
            with self.subTest(name or "folder"):
                self.appears_and_vanishes(check, str(path), lambda: path.chmod(bad), lambda: path.chmod(good))
        mine = folder / "notes"
        self.appears_and_vanishes("state-file", str(mine), lambda: (mine.write_text("x"), mine.chmod(0o644)), mine.unlink)
        authority = folder / "server.ca"
        self.appears_and_vanishes("authority-crl", str(authority), lambda: (authority.write_text(""), authority.chmod(0o600)), authority.unlink)

    def test_the_servers_configuration(self):
        port, other = free_port(), free_port()
        for check, key, value in (("listener", "core.https_address", f":{port}"), ("listener", "core.bus_address", f"127.0.0.1:{other},[::]:{port}"),
                                  ("trust-password", "core.trust_password", "secret"), ("authority", "core.trust_ca_certificates", "true"),
                                  ("cors", "core.https_allowed_origin", "*"), ("open-metrics", "core.metrics_authentication", "false")):
            with self.subTest(key):
                self.appears_and_vanishes(check, key, lambda: self.server(key, value), lambda: self.server(key, ""))
        self.assertTrue(self.has("token-expiry", "core.remote_token_expiry"))
        self.server("core.remote_token_expiry", "1H")
        self.assertFalse(self.has("token-expiry", "core.remote_token_expiry"))
        self.server("core.remote_token_expiry", "")

    def test_certificates(self):
        me = Identity(self.folder, "audited", days=3)
        url, subject = f"/1.0/certificates/{me.fingerprint}", f"{me.fingerprint[:12]} audited"
        body = {"type": "client", "certificate": me.base64, "name": "audited"}
        self.change("POST", "/1.0/certificates", body)
        self.assertTrue(self.has("certificate", subject))
        self.assertTrue(self.has("certificate-end", subject))
        self.change("PUT", url, {"name": "audited", "type": "client", "restricted": True, "projects": ["default"]})
        self.assertFalse(self.has("certificate", subject))
        self.assertTrue(self.has("project", "default"))  # it has a tenant now
        self.change("DELETE", url)
        self.assertFalse(self.has("certificate-end", subject))
        self.assertFalse(self.has("project", "default"))

    def test_instances_and_projects(self):
        name = self.daemon.name("audited")
        path, subject = f"/1.0/instances/{name}", f"default/{name}"
        self.change("POST", "/1.0/instances", {"name": name, "source": {"type": "none"}})
        try:
            for check, key, value in (("privileged", "security.privileged", "true"), ("nesting", "security.nesting", "true"),
                                      ("raw", "raw.lxc", "lxc.environment = A=b")):
                with self.subTest(key):
                    self.appears_and_vanishes(check, subject, lambda: self.change("PATCH", path, {"config": {key: value}}),
                                              lambda: self.change("PATCH", path, {"config": {key: ""}}))
            self.appears_and_vanishes("privileged", subject,  # by way of a profile
                                      lambda: self.change("PATCH", "/1.0/profiles/default", {"config": {"security.privileged": "true"}}),
                                      lambda: self.change("PATCH", "/1.0/profiles/default", {"config": {"security.privileged": ""}}))
            self.assertTrue(self.has("shared-ids", subject))
            self.assertTrue(self.has("instance-limits", subject))
            self.change("PATCH", path, {"config": {"security.idmap.isolated": "true", "limits.memory": "64MiB", "limits.processes": "100"}})
            self.assertFalse(self.has("shared-ids", subject))
            self.assertFalse(self.has("instance-limits", subject))
        finally:
            self.change("DELETE", path)
        self.change("POST", "/1.0/projects", {"name": "audited", "config": {}})
        self.assertTrue(self.has("project", "audited"))
        self.assertTrue(self.has("project-limits", "audited"))
        limits = {"restricted": "true", "limits.instances": "3", "limits.memory": "1GiB", "limits.processes": "1000"}
        self.change("PATCH", "/1.0/projects/audited", {"config": limits})
        self.assertFalse(self.has("project", "audited"))
        self.assertFalse(self.has("project-limits", "audited"))
        self.change("DELETE", "/1.0/projects/audited")

    def test_images_and_sinks(self):
        fingerprint = self.daemon.get("/1.0/images?recursion=1")[0]["fingerprint"]
        port = free_port()
        self.server("core.https_address", f"127.0.0.1:{port}")
        self.appears_and_vanishes("public-image", fingerprint[:12],
                                  lambda: self.change("PATCH", f"/1.0/images/{fingerprint}", {"public": True}),
                                  lambda: self.change("PATCH", f"/1.0/images/{fingerprint}", {"public": False}))
        self.server("core.https_address", "")
        self.appears_and_vanishes("sink-plain", "plain",
                                  lambda: self.daemon.troupe("sink", "create", "plain", "webhook", "url=http://127.0.0.1:1/"),
                                  lambda: self.daemon.troupe("sink", "delete", "plain"))

    def test_waivers_and_forms(self):
        self.server("core.trust_password", "secret")
        self.addCleanup(self.server, "core.trust_password", "")
        file = self.daemon.dir / "audit.waivers"
        self.addCleanup(lambda: file.unlink(missing_ok=True))
        table = lambda *more: self.daemon.troupe("audit", *more).stdout
        self.assertIn("core.trust_password", table())
        self.assertIn("SEVERITY", table())
        file.write_text("# what we know\ntrust-password core.trust_password until the last client has joined\nkernel * not ours to set\n")
        file.chmod(0o600)
        self.assertNotIn("core.trust_password", table())
        self.assertIn("until the last client", table("--all"))
        waived = [f for f in self.findings() if f["waived"]]
        self.assertIn("trust-password", {f["check"] for f in waived})
        for line, why in (("trust-password core.trust_password\n", "REASON"), ("nothing * because\n", "no check")):
            file.write_text(line)
            refused = self.daemon.troupe("audit", check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(why, refused.stderr)
        file.chmod(0o666)
        self.assertIn("written to by others", self.daemon.troupe("audit", check=False).stderr)
        file.chmod(0o600)
        file.write_text('certificate "abc def" left long ago\n')
        self.assertIn("Nothing is waived", self.daemon.troupe("audit").stderr)

    def test_every_finding_has_its_parts(self):
        found = self.findings()
        self.assertTrue(found)
        order = ["high", "medium", "low"]
        ranks = [order.index(f["severity"]) for f in found]
        self.assertEqual(ranks, sorted(ranks))
        for one in found:
            for part in ("check", "subject", "finding", "remedy"):
                self.assertTrue(one[part], one)


if __name__ == "__main__":
    unittest.main()
