"""Archives as backups of instances are, well made or not."""

import io
import json
import platform
import tarfile

HEADERS = {"Content-Type": "application/octet-stream"}


def archive(entries):
    """A tarball of (name, content): bytes, None for a directory, or an entry of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            elif content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return name, entry


def description(name, **changes):
    """What backup.yaml says."""
    return {"container": {"name": name, "architecture": platform.machine(), "type": "container", "profiles": ["default"], "config": {},
                          "devices": {}, "ephemeral": False, **changes}}


def backup(name, index=None, beside=None, more=(), **fields):
    """A whole backup with an empty root; `index` and `beside`: what its two files say of the instance."""
    index = index or description(name)
    whole = {"name": name, "backend": "dir", "pool": "default", "type": "container", "optimized": False, "config": index, **fields}
    return archive([("backup/index.yaml", json.dumps(whole).encode()),
                    ("backup/container/backup.yaml", json.dumps(beside or index).encode()),
                    ("backup/container", None), ("backup/container/rootfs", None), *more])
