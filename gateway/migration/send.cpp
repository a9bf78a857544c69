#include "gateway/migration/transfer.hpp"

#include "backends/storage/btrfs_send.hpp"
#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/volume_tree.hpp"
#include "gateway/migration/btrfs_session.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::chrono::seconds header_time{60};
constexpr std::chrono::minutes verdict_time{30}; // the target may have much to bring to its disk
constexpr size_t answer_bytes_max = 1 << 20;

// A stream holds one subvolume, without those that a guest has made inside.
bool can_stream(const outgoing& what) {
  if (what.driver->traits().name != "btrfs") return false;
  auto whole = [&](const volume_id& volume) {
    auto opened = open_directory(what.driver->path(volume));
    return opened && is_subvolume(opened->get()) && !has_nested_subvolumes(opened->get());
  };
  return whole(what.volume) &&
         std::all_of(what.snapshots.begin(), what.snapshots.end(), [&](auto& each) { return whole(each.second); });
}

transfer_header offer_of(const outgoing& what) {
  transfer_header out;
  out.by_btrfs = can_stream(what);
  out.index_version = index_version_max;
  for (auto& [offer, volume] : what.snapshots) {
    out.snapshot_names.push_back(offer.name);
    out.snapshots.push_back(offer);
  }
  return out;
}

/// LXD's table of what comes; ours reads the header only.
std::string index_of(const outgoing& what) {
  auto volume = [](const std::string& name) {
    return nlohmann::json{{"config", nlohmann::json::object()},
                          {"description", ""},
                          {"name", name},
                          {"type", "container"},
                          {"used_by", nullptr},
                          {"location", ""},
                          {"content_type", "filesystem"}};
  };
  auto snapshots = nlohmann::json::array();
  for (auto& [offer, where] : what.snapshots)
    snapshots.push_back({{"config", nlohmann::json::object()},
                         {"description", ""},
                         {"name", offer.name},
                         {"content_type", "filesystem"}});
  return nlohmann::json{{"config",
                         {{"Container", nullptr},
                          {"Snapshots", nullptr},
                          {"Pool", nullptr},
                          {"Profiles", nullptr},
                          {"Volume", volume(what.name)},
                          {"VolumeSnapshots", snapshots}}}}
      .dump();
}

outcome<void> send_index(message_channel& data, const outgoing& what) {
  if (!data.send(index_of(what)) || !data.end_part())
    return fail(fault::backend_failed, "The other server has closed the connection");
  auto answer = data.receive_part(header_time, answer_bytes_max);
  if (!answer) return tl::unexpected{answer.error()};
  auto json = nlohmann::json::parse(*answer, nullptr, false);
  if (!json.is_object()) return fail(fault::backend_failed, "The other server's answer does not parse");
  return {};
}

outcome<void> send_volume(const outgoing& what, const volume_id& volume, const rsync_session& session,
                          message_channel& data) {
  auto root = what.driver->root(volume);
  if (!root) return tl::unexpected{root.error()};
  auto tree = open_volume_mount(*root);
  if (!tree) return tl::unexpected{tree.error()};
  return session.run(rsync_session::way::send, std::move(*tree), data);
}

struct part {
  std::string snapshot; // empty: the instance
  std::string path;
};

outcome<void> send_list(message_channel& data, const std::vector<part>& parts) {
  auto list = nlohmann::json::array();
  for (auto& each : parts) {
    auto uuid = subvolume_uuid(each.path);
    if (!uuid) return tl::unexpected{uuid.error()};
    list.push_back({{"path", "/"}, {"snapshot", each.snapshot}, {"readonly", !each.snapshot.empty()}, {"uuid", *uuid}});
  }
  if (data.send(nlohmann::json{{"subvolumes", list}}.dump()) && data.end_part()) return {};
  return fail(fault::backend_failed, "The other server has closed the connection");
}

// Each as what it has besides the one before.
outcome<void> send_streams(const outgoing& what, message_channel& data, const transfer_progress& progress) {
  auto sealed = sealed_copy::of(what.driver->path(what.volume));
  if (!sealed) return tl::unexpected{sealed.error()};
  std::vector<part> parts;
  for (auto& [offer, volume] : what.snapshots) parts.push_back({offer.name, what.driver->path(volume)});
  parts.push_back({"", sealed->path()});
  if (auto sent = send_list(data, parts); !sent) return sent;
  std::string parent;
  for (auto& each : parts) {
    auto name = each.snapshot.empty() ? what.name : what.name + "/" + each.snapshot;
    auto sent = send_part(data, each.path, parent, [&](uint64_t bytes) { progress(name, bytes); });
    if (!sent) return sent;
    parent = each.path;
  }
  return {};
}

bool is_wanted(const transfer_header& answer, const std::string& name) {
  return !answer.refresh ||
         std::find(answer.snapshot_names.begin(), answer.snapshot_names.end(), name) != answer.snapshot_names.end();
}

outcome<void> send_by_rsync(const outgoing& what, const transfer_header& answer, const std::string& rsync,
                            message_channel& data, const transfer_progress& progress) {
  rsync_session session{rsync, common(answer).options(), {}, what.may_change};
  for (auto& [offer, volume] : what.snapshots) {
    if (!is_wanted(answer, offer.name)) continue;
    session.moved = [&, name = what.name + "/" + offer.name](uint64_t bytes) { progress(name, bytes); };
    if (auto sent = send_volume(what, volume, session, data); !sent) return sent;
  }
  session.moved = [&](uint64_t bytes) { progress(what.name, bytes); };
  return send_volume(what, what.volume, session, data);
}

} // namespace

outcome<void> send_instance(transfer_link& to, const outgoing& what, const std::string& rsync,
                            const transfer_progress& progress) {
  auto& control = to.control();
  if (!control.send(encode(offer_of(what))))
    return fail(fault::backend_failed, "The other server has closed the connection");
  auto reply = control.receive(header_time);
  if (!reply) return tl::unexpected{reply.error()};
  auto answer = decode_header(reply->data);
  if (!answer) return tl::unexpected{answer.error()};
  bool by_btrfs = answer->by_btrfs && !answer->refresh && can_stream(what);
  if (!by_btrfs && !answer->by_rsync) return fail(fault::unsupported, "The other server does not speak rsync");
  if (answer->index_version > 0)
    if (auto sent = send_index(to.data(), what); !sent) return sent;
  auto sent =
      by_btrfs ? send_streams(what, to.data(), progress) : send_by_rsync(what, *answer, rsync, to.data(), progress);
  if (!sent) return sent;
  auto verdict = control.receive(verdict_time);
  if (!verdict) return tl::unexpected{verdict.error()};
  return decode_verdict(verdict->data);
}

} // namespace troupe
