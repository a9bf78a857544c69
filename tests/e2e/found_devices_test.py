"""Devices that the host finds: usb, unix-hotplug and gpu. The host of the tests has none, so the daemon sees a /sys/bus of ours
(in a mount namespace of its own) with a USB and graphics cards; the nodes are those of /dev/null and its neighbours. The kernel's
messages are real: whoever may administer the host can have it send them.
"""

import os
import pathlib
import shutil
import socket
import struct
import unittest

from troupe_e2e import BIN, Daemon, DaemonTest, eventually


class Bus:
    """A /sys/bus with what the daemon reads of it."""

    def __init__(self, folder):
        self.at = pathlib.Path(folder)
        for name in ("usb/devices", "pci/devices"):
            (self.at / name).mkdir(parents=True)

    def file(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def node(self, folder, name, numbers, subsystem):
        major, minor = numbers
        self.file(folder / "uevent", f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}")
        self.file(folder / "dev", f"{major}:{minor}")
        (folder / "subsystem").symlink_to(f"/nowhere/{subsystem}")

    def plug_usb(self, port, vendor, product, serial, number, numbers, child=None):
        folder = self.at / "usb/devices" / port
        for name, text in {"idVendor": vendor, "idProduct": product, "serial": serial, "busnum": "1", "devnum": str(number)}.items():
            self.file(folder / name, text)
        self.node(folder, f"bus/usb/001/{number:03}", numbers, "usb")
        if child:
            self.node(folder / f"{port}:1.0/{child[0]}", child[0], child[1], child[2])
        self.tell("add", f"bus/usb/001/{number:03}", numbers)

    def unplug_usb(self, port, number, numbers):
        shutil.rmtree(self.at / "usb/devices" / port)
        self.tell("remove", f"bus/usb/001/{number:03}", numbers)

    def plug_gpu(self, address, vendor, product, card, numbers):
        folder = self.at / "pci/devices" / address
        self.file(folder / "vendor", f"0x{vendor}")
        self.file(folder / "device", f"0x{product}")
        self.node(folder / f"drm/card{card}", f"dri/card{card}", numbers[0], "drm")
        self.node(folder / f"drm/renderD{128 + card}", f"dri/renderD{128 + card}", numbers[1], "drm")

    @staticmethod
    def tell(action, name, numbers):
        """The kernel sends it on to everybody, as its own."""
        fields = [f"{action}@/devices/test/{name}", f"ACTION={action}", f"DEVPATH=/devices/test/{name}", "SUBSYSTEM=usb",
                  f"MAJOR={numbers[0]}", f"MINOR={numbers[1]}", f"DEVNAME={name}"]
        body = b"".join(field.encode() + b"\0" for field in fields)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as kernel:
            kernel.bind((0, 0))
            kernel.sendto(struct.pack("IHHII", 16 + len(body), 16, 1, 0, 0) + body, (0, 0))


class FoundDevicesTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.daemon = Daemon("dir")  # without mounts of its own, which a new namespace would not have
        cls.bus = Bus(cls.daemon.home / "bus")
        wrapper = cls.daemon.home / "trouped"
        wrapper.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {cls.bus.at} /sys/bus && exec {BIN / 'trouped'} \"$@\"' sh \"$@\"\n")
        wrapper.chmod(0o755)
        cls.daemon.program = wrapper
        try:
            cls.daemon.start().set_up()
            cls.daemon.troupe("image", "build", "busybox")
            # With part of /sys covered, the kernel lets no user namespace mount its own.
            cls.c = cls.daemon.launch("found", "busybox", "-c", "security.privileged=true")
        except BaseException:
            cls.daemon.close()
            raise

    def add(self, device, kind, *options, check=True):
        return self.daemon.lxc("config", "device", "add", self.c, device, kind, *options, check=check)

    def remove(self, device):
        self.daemon.lxc("config", "device", "remove", self.c, device)

    def inside(self, *command):
        return self.daemon.exec(self.c, *command, check=False).stdout.strip()

    def node(self, path):
        """(numbers in hex, mode, owner, group) inside; empty when there is none."""
        return self.inside("stat", "-c", "%t:%T %a %u %g", path)

    def test_usb_devices_come_and_go(self):
        self.add("stick", "usb", "vendorid=1d6b", "productid=0a0B", "mode=0640", "uid=5", "gid=6")
        self.assertEqual(self.inside("find", "/dev/bus", "-type", "c"), "")
        self.bus.plug_usb("1-1", "1d6b", "0a0b", "one", 7, (1, 3))
        path = "/dev/bus/usb/001/007"
        eventually(lambda: self.node(path) == "1:3 640 5 6", "the node of what was plugged in")
        self.assertEqual(self.inside("sh", "-c", f"chmod 666 {path}; echo x >{path} && echo written"), "written")
        self.bus.plug_usb("1-2", "1d6b", "ffff", "two", 8, (1, 5))  # another product
        self.daemon.lxc("restart", "-f", self.c)
        self.assertEqual(self.node(path), "1:3 640 5 6")
        self.assertEqual(self.node("/dev/bus/usb/001/008"), "")
        self.daemon.stop(9)
        self.bus.unplug_usb("1-1", 7, (1, 3))  # nobody listens
        self.daemon.start()
        eventually(lambda: self.node(path) == "", "the end of what is not there any more")
        self.bus.plug_usb("1-1", "1d6b", "0a0b", "one", 9, (1, 3))
        eventually(lambda: self.node("/dev/bus/usb/001/009"), "what was plugged in again")
        self.bus.unplug_usb("1-1", 9, (1, 3))
        eventually(lambda: not self.node("/dev/bus/usb/001/009"), "what was taken out")
        history = self.daemon.troupe("history", f"instance/default/{self.c}")
        self.assertIn("instance-device-plugged", history.stdout)
        self.assertIn("instance-device-unplugged", history.stdout)
        self.remove("stick")
        self.bus.unplug_usb("1-2", 8, (1, 5))

    def test_usb_devices_are_told_apart(self):
        self.bus.plug_usb("1-3", "abcd", "0001", "serial-1", 11, (1, 3))
        self.bus.plug_usb("1-4", "abcd", "0001", "serial-2", 12, (1, 5))
        first, second = "/dev/bus/usb/001/011", "/dev/bus/usb/001/012"
        for options, wanted in ((("serial=serial-2",), (False, True)), (("busnum=1", "devnum=11"), (True, False)),
                                (("vendorid=abcd",), (True, True)), ((), (True, True)), (("vendorid=0000",), (False, False))):
            self.add("one", "usb", *options)
            self.assertEqual((bool(self.node(first)), bool(self.node(second))), wanted, options)
            self.remove("one")
            self.assertEqual(self.node(first) + self.node(second), "")
        refused = self.add("one", "usb", "vendorid=0000", "required=true", check=False)
        self.assertIn("no such usb device", refused.stderr)
        self.assertIn("hexadecimal", self.add("one", "usb", "vendorid=xyz", check=False).stderr)
        self.bus.unplug_usb("1-3", 11, (1, 3))
        self.bus.unplug_usb("1-4", 12, (1, 5))

    def test_what_drivers_make_of_usb_devices(self):
        self.add("line", "unix-hotplug", "vendorid=0403", "productid=6001", "subsystem=tty", "mode=0600", "uid=3", "gid=4")
        self.bus.plug_usb("1-5", "0403", "6001", "tty", 20, (1, 3), ("ttyUSB0", (1, 5), "tty"))
        eventually(lambda: self.node("/dev/ttyUSB0") == "1:5 600 3 4", "the terminal")
        self.assertEqual(self.node("/dev/bus/usb/001/020"), "")
        self.bus.unplug_usb("1-5", 20, (1, 3))
        eventually(lambda: not self.node("/dev/ttyUSB0"), "its end")
        self.remove("line")
        self.assertIn("needs a", self.add("line", "unix-hotplug", check=False).stderr)
        self.assertIn("no such", self.add("line", "unix-hotplug", "vendorid=0403", "required=true", check=False).stderr)

    def test_graphics_cards(self):
        self.assertIn("no such gpu", self.add("card", "gpu", check=False).stderr)
        self.bus.plug_gpu("0000:00:02.0", "8086", "1234", 0, ((1, 3), (1, 5)))
        self.bus.plug_gpu("0000:01:00.0", "10de", "5678", 1, ((1, 7), (1, 8)))
        first, second = ("/dev/dri/card0", "/dev/dri/renderD128"), ("/dev/dri/card1", "/dev/dri/renderD129")
        for options, wanted in ((("pci=0000:01:00.0",), (False, True)), (("id=0",), (True, False)), (("vendorid=10de", "productid=5678"), (False, True)),
                                (("gputype=physical",), (True, True))):
            self.add("card", "gpu", *options, "mode=0606", "uid=1", "gid=2")
            for paths, there in zip((first, second), wanted):
                for path in paths:
                    self.assertEqual(self.node(path).endswith(" 606 1 2"), there, (options, path))
            self.remove("card")
            self.assertEqual("".join(self.node(path) for path in first + second), "")
        self.assertNotEqual(self.add("card", "gpu", "gputype=mig", check=False).returncode, 0)
        self.assertIn("whole cards", self.add("card", "gpu", "mdev=x", check=False).stderr)

    def test_tenants_get_them_only_if_their_project_says_so(self):
        project = self.daemon.name("p")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false", "-c", "restricted=true")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        name = self.daemon.name("tenant")
        self.daemon.lxc("--project", project, "init", "busybox", name)
        self.addCleanup(self.daemon.lxc, "--project", project, "delete", "-f", name, check=False)
        for kind, options in (("usb", ()), ("unix-hotplug", ("vendorid=0403",)), ("gpu", ())):
            add = lambda: self.daemon.lxc("--project", project, "config", "device", "add", name, "d", kind, *options, check=False)
            self.assertIn(f"restricted.devices.{kind}", add().stderr)
            self.daemon.lxc("project", "set", project, f"restricted.devices.{kind}=allow")
            self.assertEqual(add().returncode, 0)
            self.daemon.lxc("--project", project, "config", "device", "remove", name, "d")
            self.daemon.lxc("project", "set", project, f"restricted.devices.{kind}=block")


if __name__ == "__main__":
    unittest.main(verbosity=2)
