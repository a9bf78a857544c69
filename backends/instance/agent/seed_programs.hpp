#pragma once

#include <string_view>

namespace troupe::guest {

/// What lies beside the agent on a config drive, and runs inside the machine.
struct seed_program {
  std::string_view path, text;
  bool executable;
};

inline constexpr seed_program seed_programs[] = {
    {"start", R"~(#!/bin/sh
# Starts the agent from where this lies. It runs from memory of its own, so that the drive may go.
set -eu
from=$(dirname "$0")
to=/run/troupe-agent
mkdir -p "$to"
grep -q " $to " /proc/mounts || mount -t tmpfs -o mode=0755,size=32m,nosuid,nodev tmpfs "$to"
cp "$from/troupe-agent" "$to/.new"
chmod 755 "$to/.new"
mv "$to/.new" "$to/troupe-agent"
exec "$to/troupe-agent"
)~",
     true},
    {"systemd/troupe-agent-start", R"~(#!/bin/sh
# Starts the agent from the config drive, which is mounted for that moment only.
set -eu
at=/run/troupe-drive
mkdir -p "$at"
mount -o ro,nosuid,nodev /dev/disk/by-label/cidata "$at"
to=/run/troupe-agent
mkdir -p "$to"
grep -q " $to " /proc/mounts || mount -t tmpfs -o mode=0755,size=32m,nosuid,nodev tmpfs "$to"
cp "$at/troupe-agent" "$to/.new"
umount "$at"
chmod 755 "$to/.new"
mv "$to/.new" "$to/troupe-agent"
exec "$to/troupe-agent"
)~",
     true},
    {"systemd/troupe-agent.service", R"~([Unit]
Description=Troupe agent
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target cloud-init-local.service
After=systemd-tmpfiles-setup.service systemd-udevd.service
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/local/lib/troupe/troupe-agent-start
Restart=on-failure
RestartSec=2
KillMode=process
)~",
     false},
    {"systemd/90-troupe-agent.rules",
     R"~(SUBSYSTEM=="virtio-ports", ATTR{name}=="troupe.agent.0", TAG+="systemd", ENV{SYSTEMD_WANTS}+="troupe-agent.service"
SUBSYSTEM=="block", ENV{ID_FS_LABEL}=="cidata|CIDATA", SYMLINK+="disk/by-label/cidata"
)~",
     false},
    {"install.sh", R"~(#!/bin/sh
# Makes a guest with systemd start the agent by itself, now and whenever it boots with the agent's port.
set -eu
from=$(cd "$(dirname "$0")" && pwd)
[ -d /run/systemd/system ] || { echo "This guest has no systemd: run $from/start when it boots" >&2; exit 1; }
mkdir -p /usr/local/lib/troupe /etc/systemd/system /etc/udev/rules.d
cp "$from/systemd/troupe-agent-start" /usr/local/lib/troupe/
chmod 755 /usr/local/lib/troupe/troupe-agent-start
cp "$from/systemd/troupe-agent.service" /etc/systemd/system/
cp "$from/systemd/90-troupe-agent.rules" /etc/udev/rules.d/
systemctl daemon-reload
udevadm control --reload
udevadm trigger --action=add --subsystem-match=virtio-ports --subsystem-match=block
systemctl start --no-block troupe-agent.service
)~",
     true},
};

} // namespace troupe::guest
