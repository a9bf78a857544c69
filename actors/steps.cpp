#include "actors/saga.hpp"

namespace troupe {
namespace {

struct step_row {
  std::string_view kind;
  role performer;
};

// Every kind of step there is, and who does and undoes it.
constexpr step_row rows[] = {
    {"image.store", role::images},        // files of an upload      undo: forget the files
    {"image.forget", role::images},       // remove an image's files (after the commit)
    {"pool.create", role::pools},         // file system, mount      undo: destroy
    {"pool.destroy", role::pools},        // (after the commit)
    {"volume.clone", role::pools},        // root volume from image  undo: destroy
    {"volume.create", role::pools},       // empty root volume       undo: destroy
    {"volume.destroy", role::pools},      // (after the commit)
    {"volume.rename", role::pools},       // undo: rename back
    {"image.unload", role::pools},        // unpacked volumes of an image (after the commit)
    {"instance.boot", role::instances},   // undo: kill
    {"instance.halt", role::instances},   // down, gracefully or not; nothing to undo
    {"instance.freeze", role::instances}, // undo: thaw
    {"instance.thaw", role::instances},   // undo: freeze
    {"instance.forget", role::instances}, // logs and leases (after the commit)
    {"network.make", role::networks},     // bridge, dnsmasq         undo: take down
    {"network.apply", role::networks},    // bridge, firewall, dnsmasq (after the commit)
    {"network.remove", role::networks},   // (after the commit)
    {"sink.apply", role::sinks},          // start, stop or start anew as the record says (after the commit)
};

} // namespace

std::optional<role> performer_of(std::string_view kind) {
  for (auto& row : rows)
    if (row.kind == kind) return row.performer;
  return std::nullopt;
}

} // namespace troupe
