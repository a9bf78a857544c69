"""Keys and certificates of clients, good and bad, for the tests of who is trusted."""

import base64
import datetime
import socket
import ssl

from troupe_e2e import run


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Identity:
    """A client's key and certificate, made with OpenSSL's own program."""

    def __init__(self, folder, name, *options, days=30, authority=None):
        self.crt, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes",
                "-keyout", self.key, "-out", self.crt, "-subj", f"/O=test/CN={name}", "-days", str(days)]
        if authority:
            make += ["-CA", authority.crt, "-CAkey", authority.key]
        run(*make, *options)

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.crt.read_text())

    @property
    def fingerprint(self):
        return run("openssl", "x509", "-in", self.crt, "-noout", "-fingerprint", "-sha256").stdout.strip().split("=")[1].replace(":", "").lower()

    @property
    def base64(self):
        return base64.b64encode(self.der).decode()


def context_of(identity=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity:
        context.load_cert_chain(identity.crt, identity.key)
    return context


def dated(folder, authority, name, start, end):
    """A certificate with these dates, which `openssl req` cannot make."""
    made = Identity(folder, name)
    work = folder / f"{name}.d"
    work.mkdir()
    (work / "index").write_text("")
    (work / "serial").write_text("01\n")
    config = work / "ca.cnf"
    config.write_text(f"[ca]\ndefault_ca=c\n[c]\nnew_certs_dir={work}\ndatabase={work}/index\nserial={work}/serial\n"
                      "default_md=sha384\npolicy=p\n[p]\ncommonName=supplied\n")
    run("openssl", "req", "-new", "-key", made.key, "-out", work / "csr", "-subj", f"/CN={name}")
    run("openssl", "ca", "-batch", "-notext", "-config", config, "-cert", authority.crt, "-keyfile", authority.key,
        "-startdate", start, "-enddate", end, "-in", work / "csr", "-out", made.crt)
    return made


def short_lived(folder, name, seconds):
    """A certificate that is good for so long from now."""
    end = datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)
    return dated(folder, Identity(folder, f"{name}-ca"), name, "20200101000000Z", end.strftime("%Y%m%d%H%M%SZ"))
