#include "gateway/migration/transfer.hpp"

#include "backends/storage/volume_tree.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::chrono::seconds header_time{60};
constexpr std::chrono::minutes verdict_time{30}; // the target may have much to bring to its disk
constexpr size_t answer_bytes_max = 1 << 20;

transfer_header offer_of(const outgoing& what) {
  transfer_header out;
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

bool is_wanted(const transfer_header& answer, const std::string& name) {
  return !answer.refresh ||
         std::find(answer.snapshot_names.begin(), answer.snapshot_names.end(), name) != answer.snapshot_names.end();
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
  if (!answer->by_rsync) return fail(fault::unsupported, "The other server does not speak rsync");
  if (answer->index_version > 0)
    if (auto sent = send_index(to.data(), what); !sent) return sent;
  rsync_session session{rsync, common(*answer).options(), {}, what.may_change};
  for (auto& [offer, volume] : what.snapshots) {
    if (!is_wanted(*answer, offer.name)) continue;
    session.moved = [&, part = what.name + "/" + offer.name](uint64_t bytes) { progress(part, bytes); };
    if (auto sent = send_volume(what, volume, session, to.data()); !sent) return sent;
  }
  session.moved = [&](uint64_t bytes) { progress(what.name, bytes); };
  if (auto sent = send_volume(what, what.volume, session, to.data()); !sent) return sent;
  auto verdict = control.receive(verdict_time);
  if (!verdict) return tl::unexpected{verdict.error()};
  return decode_verdict(verdict->data);
}

} // namespace troupe
