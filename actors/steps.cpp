#include "actors/saga.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr bool cuts = true; // its act can be interrupted

// Every kind of step there is: who does it, and what undoing it does.
constexpr step_kind rows[] = {
    {"image.store", role::images, "remove the files of the upload", cuts},
    {"image.forget", role::images}, // remove an image's files (after the commit)
    {"pool.create", role::pools, "destroy the pool"},
    {"pool.destroy", role::pools}, // (after the commit)
    {"volume.clone", role::pools, "destroy the volume", cuts},
    {"volume.copy", role::pools, "destroy the volume"},
    {"volume.create", role::pools, "destroy the volume"},
    {"volume.limit", role::pools, "set the limit it had"},
    {"volume.replace", role::pools}, // another volume takes its place (after the commit)
    {"volume.destroy", role::pools}, // (after the commit)
    {"volume.rename", role::pools, "rename the volume back"},
    {"image.unload", role::pools}, // unpacked volumes of an image (after the commit)
    {"instance.boot", role::instances, "kill the instance"},
    {"instance.halt", role::instances}, // down, gracefully or not; nothing to undo
    {"instance.freeze", role::instances, "thaw the instance"},
    {"instance.thaw", role::instances, "freeze the instance"},
    {"instance.adapt", role::instances, "give the instance back what it had"},
    {"instance.receive", role::doors, "destroy the volumes", cuts},
    {"instance.settle", role::doors},     // replaced snapshots' volumes go, the sender is told (after the commit)
    {"instance.follow", role::instances}, // it gets what its profiles say now (after the commit)
    {"instance.forget", role::instances}, // logs and leases (after the commit)
    {"backup.pack", role::instances, "remove the file of the backup", cuts},
    {"backup.unpack", role::instances, "forget the upload", cuts},
    {"backup.forget", role::instances}, // remove the file (after the commit)
    {"network.make", role::networks, "take the network down"},
    {"network.apply", role::networks},  // bridge, firewall, dnsmasq (after the commit)
    {"network.remove", role::networks}, // (after the commit)
    {"door.listen", role::doors, "stop listening there"},
    {"door.apply", role::doors},    // listen where the configuration says, and nowhere else (after the commit)
    {"oidc.discover", role::doors}, // the identity provider answers, and is who it should be; nothing to undo
    {"sink.apply", role::sinks},    // start, stop or start anew as the record says (after the commit)
};

// Every kind of saga there is.
constexpr std::string_view sagas[] = {
    "auth.group",
    "auth.identity",
    "auth.mapping",
    "backup.create",
    "backup.delete",
    "backup.rename",
    "certificate.create",
    "certificate.delete",
    "certificate.update",
    "image.alias",
    "image.delete",
    "image.import",
    "image.publish",
    "image.update",
    "instance.create",
    "instance.delete",
    "instance.freeze",
    "instance.import",
    "instance.move",
    "instance.rebuild",
    "instance.refresh",
    "instance.rename",
    "instance.restart",
    "instance.restore",
    "instance.start",
    "instance.stop",
    "instance.unfreeze",
    "instance.update",
    "network.create",
    "network.delete",
    "network.rename",
    "network.update",
    "pool.create",
    "pool.delete",
    "pool.update",
    "profile.create",
    "profile.delete",
    "profile.rename",
    "profile.update",
    "project.create",
    "project.delete",
    "project.rename",
    "project.update",
    "server.update",
    "sink.create",
    "sink.delete",
    "sink.update",
    "snapshot.create",
    "snapshot.delete",
    "snapshot.prune",
    "snapshot.rename",
    "snapshot.update",
    "volume.create",
    "volume.delete",
    "volume.move",
    "volume.restore",
    "volume.snapshot.create",
    "volume.snapshot.delete",
    "volume.snapshot.rename",
    "volume.snapshot.update",
    "volume.update",
};

constexpr moment_row moment_rows[] = {
    {"accepted", false, false},                             // it is in the journal
    {"begun", true, false},                                 // the step will be asked for
    {"acted", true, false},                                 // the step was done
    {"committing", false, false},                           // the commit will be asked for
    {"committed", false, false},  {"undoing", false, true}, // the journal says so
    {"undone", true, true},                                 // the step was undone
    {"ended", false, false},                                // its end is on disk
};

} // namespace

std::span<const std::string_view> saga_kinds() { return sagas; }

bool is_saga_kind(std::string_view kind) {
  return std::find(std::begin(sagas), std::end(sagas), kind) != std::end(sagas);
}

std::span<const moment_row> moments() { return moment_rows; }

const step_kind* find_step_kind(std::string_view kind) {
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](const step_kind& row) { return row.kind == kind; });
  return at == std::end(rows) ? nullptr : at;
}

} // namespace troupe
