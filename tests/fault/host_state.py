"""What the host shows of a daemon's things, and what must hold between that and the records once the daemon is at rest."""

import contextlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from troupe_e2e import _command_line, _processes  # noqa: E402

ENDED = {"success", "failure", "cancelled"}
UP = ("Running", "Frozen")


def folders(path):
    """Below this folder, which may be another daemon's and go while we look."""
    with contextlib.suppress(FileNotFoundError):
        return [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    return []


class Host:
    """What the host shows of a daemon's instances."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.cards = set()  # every host side name ever recorded

    def operations(self):
        return {kind: found for kind, found in self.daemon.get("/1.0/operations?recursion=1").items() if found}

    def problems(self):
        """Of instances and of what lies beside them; sentences."""
        records = {i["name"]: i for i in self.daemon.get("/1.0/instances?recursion=1")}
        return [p for name, record in records.items() for p in self.problems_of(name, record)] + self.strangers(records)

    def names_in(self, folder):
        path = self.daemon.dir / folder
        return set(os.listdir(path)) if path.is_dir() else set()

    def monitors(self):
        """Names of the instances that have a monitor; more than one of a name shows as a name with "+"."""
        found = set()
        for pid in _processes():
            words = _command_line(pid).rstrip("\0").replace("\0", " ")
            if words.startswith(f"[lxc monitor] {self.daemon.dir}/lxc "):
                name = words.rsplit(" ", 1)[1]
                found.add(f"{name}+" if name in found else name)
        return found

    def helpers(self, program):
        own = lambda words: words and words[0].endswith(f"/{program}") and any(str(self.daemon.dir) in w for w in words[1:])
        return [pid for pid in _processes() if own(_command_line(pid).split("\0"))]

    def bridge_ports(self):
        return set(os.listdir(f"/sys/class/net/{self.daemon.bridge}/brif"))

    def cgroups(self):
        """Name of the instance -> its control groups, in all hierarchies."""
        found = {}
        for root in ("/sys/fs/cgroup", *folders("/sys/fs/cgroup")):
            for daemon in folders(root):
                for group in folders(daemon) if os.path.basename(daemon).startswith("troupe-") else ():
                    name = os.path.basename(group)
                    if self.daemon.tag in name and "." in name:
                        found.setdefault(name.split(".", 1)[1], []).append(group)
        return found

    def hosts_files(self):
        return {f.rsplit(".", 1)[0] for f in self.names_in(f"networks/{self.daemon.bridge}/dnsmasq.hosts")}

    def problems_of(self, name, record):
        """The record against the processes and the card of one instance."""
        status, monitors = record["status"], self.monitors()
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        card = record["config"].get("volatile.eth0.host_name", "")
        self.cards.add(card)
        if status in UP:
            checks = {"has a leader": pid > 0 and in_group_of(pid, name), "has one monitor": name in monitors and f"{name}+" not in monitors,
                      "has its card on the bridge": card in self.bridge_ports()}
        elif status == "Stopped":
            checks = {"has no leader": pid <= 0, "has no monitor": name not in monitors,
                      "has no card": not card or not os.path.exists(f"/sys/class/net/{card}"),
                      "has no group": name not in self.cgroups()}
        else:
            checks = {"is at rest": False}
        return [f"{name} is {status} and must be one that {what}" for what, holds in checks.items() if not holds]

    def strangers(self, records):
        """What is there of instances that are not, and the other way round."""
        names = set(records) | {self.key_of(each) for each in self.everywhere()}
        running = {n for n, r in records.items() if r["status"] in UP}
        found = {
            "volume against the records": self.of_volumes(),
            "more or fewer files of backups than backups": self.of_backups(),
            "monitor of no running instance": self.monitors() - running,
            "orphan on the bridge": self.bridge_ports() - {records[n]["config"].get("volatile.eth0.host_name") for n in running},
            "card of a gone instance": {c for c in self.cards if c and os.path.exists(f"/sys/class/net/{c}")}
                                       - {r["config"].get("volatile.eth0.host_name") for r in records.values()},
            "control group of a gone instance": set(self.cgroups()) - names,
            "DHCP host of a gone instance": self.hosts_files() - names,
            "log folder of a gone instance": {n for n in self.names_in("logs") if self.daemon.tag in n} - names,
            "spooled file": self.names_in("spool"),
            "operation that did not end": set(self.operations()) - ENDED,
            "second helper": set(map(str, self.helpers("troupe-lxc")[1:])),
            "record without or with more than one of what it says": self.of_networks() | self.of_pools() | self.of_images(),
        }
        return [f"{what}: {thing}" for what, things in found.items() for thing in sorted(things)]


    # --- what is not an instance

    def of_networks(self):
        """Managed networks against bridges, folders, firewall chains and dnsmasq."""
        records = {n["name"]: n for n in self.daemon.get("/1.0/networks?recursion=1") if n["managed"]}
        mine = lambda link: self.daemon.tag in link and pathlib.Path(f"/sys/class/net/{link}/bridge").is_dir()
        bridges = {link for link in os.listdir("/sys/class/net") if mine(link)}
        serving = [self.network_of(pid) for pid in self.helpers("dnsmasq")]
        served = {name for name, record in records.items() if record["config"].get("ipv4.address", "none") != "none"}
        found = {f"bridge {name}" for name in bridges ^ set(records)}
        found |= {f"network folder {name}" for name in self.names_in("networks") - set(records)}
        found |= {f"dnsmasq of {name}" for name in set(serving) ^ served}
        return found | {f"second dnsmasq of {name}" for name in serving if serving.count(name) > 1}

    def network_of(self, pid):
        words = _command_line(pid).split("\0")
        folder = next(word for word in words if f"{self.daemon.dir}/networks/" in word)
        return folder.split(f"{self.daemon.dir}/networks/")[1].split("/")[0]

    def everywhere(self):
        """The instances of all projects, with their snapshots."""
        return self.daemon.get("/1.0/instances?recursion=2&all-projects=true")

    @staticmethod
    def key_of(instance):
        return instance["name"] if instance["project"] == "default" else f"{instance['project']}_{instance['name']}"

    def of_volumes(self):
        """What lies in the pools against the instances in them. A snapshot's volume has a name that nobody is told, so they are counted."""
        found = set()
        for pool in self.names_in("storage-pools"):
            folder = f"storage-pools/{pool}"
            inside = [each for each in self.everywhere() if each["expanded_devices"]["root"]["pool"] == pool]
            listed = {v["name"] for v in self.daemon.get(f"/1.0/storage-pools/{pool}/volumes?recursion=1") if v["type"] == "container" and "/" not in v["name"]}
            found |= {f"{pool}: volume or record alone: {name}" for name in self.names_in(f"{folder}/containers") ^ set(map(self.key_of, inside))}
            found |= {f"{pool}: listed or record alone: {name}" for name in listed ^ {i["name"] for i in inside if i["project"] == "default"}}
            found |= {f"{pool}: {place}/{name}" for place in (".trash", ".incomplete") for name in self.names_in(f"{folder}/{place}")}
            volumes = [f"{v['project']}_{v['name']}" for v in self.daemon.get(f"/1.0/storage-pools/{pool}/volumes/custom?recursion=1")]
            custom = {name for name in volumes if "/" not in name}
            lying = self.names_in(f"{folder}/custom")
            copies = {name for name in lying if name.startswith("snapshot-")}
            found |= {f"{pool}: custom volume or record alone: {name}" for name in (lying - copies) ^ custom}
            if len(copies) != len(volumes) - len(custom):
                found.add(f"{pool}: {len(copies)} volumes for {len(volumes) - len(custom)} snapshots of volumes")
            taken, there = sum(len(i["snapshots"] or []) for i in inside), len(self.names_in(f"{folder}/snapshots"))
            if taken != there:
                found.add(f"{pool}: {there} snapshot volumes for {taken} snapshots")
        return found

    def of_backups(self):
        kept = sum(len(i["backups"] or []) for i in self.daemon.get("/1.0/instances?recursion=2"))
        there = len(self.names_in("backups"))
        return set() if kept == there else {f"{there} for {kept}"}

    def of_pools(self):
        records = {p["name"] for p in self.daemon.get("/1.0/storage-pools?recursion=1")}
        return {f"pool folder {name}" for name in self.names_in("storage-pools") ^ records}

    def of_images(self):
        """Image records against their files, and image volumes against theirs."""
        records = {i["fingerprint"] for i in self.daemon.get("/1.0/images?recursion=1")}
        files = {name for name in self.names_in("images") if not name.startswith(".")}
        volumes = {v["name"] for v in self.daemon.get("/1.0/storage-pools/default/volumes?recursion=1") if v["type"] == "image"}
        unpacked = {name for name in self.names_in("storage-pools/default/images") if not name.startswith(".")}
        found = {f"image file {name}" for name in files if name.split(".")[0] not in records}
        found |= {f"no file of image {name}" for name in records - files}
        return found | {f"image volume {name[:12]}" for name in volumes ^ unpacked}


def in_group_of(pid, name):
    with contextlib.suppress(OSError):
        return f"/payload.{name}" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    return False
