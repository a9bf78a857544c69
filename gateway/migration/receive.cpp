#include "gateway/migration/transfer.hpp"

#include "backends/storage/pool_layout.hpp"
#include "backends/storage/size.hpp"
#include "backends/storage/tree.hpp"
#include "backends/storage/volume_tree.hpp"
#include "gateway/migration/btrfs_session.hpp"

#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::chrono::seconds header_time{60};
constexpr size_t index_bytes_max = 16 << 20;
constexpr uint64_t stream_bytes_max = uint64_t{1} << 44; // the disk is the limit, as with rsync

outcome<void> check_offer(const transfer_header& offer, const saga_step& step) {
  if (!offer.by_rsync && !offer.by_btrfs) return fail(fault::unsupported, "The other server does not speak rsync");
  if (offer.shifted_ids)
    return fail(fault::unsupported,
                "The other server stores this container's files with shifted ids, which cannot be received");
  if (offer.snapshot_names.size() != offer.snapshots.size())
    return fail(fault::unsupported, "The other server tells of its snapshots by their names only");
  if (!offer.snapshots.empty() && get(step.args, "snapshots").empty())
    return fail(fault::invalid, "The other server sends snapshots that were not asked for");
  for (size_t i = 0; i < offer.snapshots.size(); ++i)
    if (offer.snapshots[i].name != offer.snapshot_names[i])
      return fail(fault::invalid, "The other server's two lists of snapshots differ");
  return {};
}

transfer_header answer_to(const transfer_header& offer, const rsync_features& features, bool by_btrfs, bool refresh,
                          const std::vector<snapshot_record>& wanted) {
  transfer_header out;
  out.by_btrfs = by_btrfs;
  out.features = features;
  out.refresh = refresh;
  out.index_version = std::min(offer.index_version, index_version_max);
  for (auto& each : wanted) {
    auto name = each.read([](auto s) { return text(s.getName()); });
    for (auto& one : offer.snapshots)
      if (one.name == name) out.snapshots.push_back(one);
    out.snapshot_names.push_back(std::move(name));
  }
  return out;
}

outcome<void> receive_index(message_channel& data, bool refresh) {
  auto index = data.receive_part(header_time, index_bytes_max);
  if (!index) return tl::unexpected{index.error()};
  if (!nlohmann::json::accept(*index)) return fail(fault::invalid, "The other server's index does not parse");
  auto answer = nlohmann::json{{"StatusCode", 200}, {"Error", ""}, {"Refresh", refresh}}.dump();
  if (data.send(std::move(answer)) && data.end_part()) return {};
  return fail(fault::backend_failed, "The other server has closed the connection");
}

// Which streams follow: one for each snapshot and one for the instance, and none of subvolumes inside.
outcome<void> receive_list(message_channel& data, size_t streams) {
  auto said = data.receive_part(header_time, index_bytes_max);
  if (!said) return tl::unexpected{said.error()};
  auto json = parse_json_text(*said);
  if (!json || !json->is_object() || !json->contains("subvolumes") || !(*json)["subvolumes"].is_array())
    return fail(fault::invalid, "The other server's list of subvolumes does not parse");
  auto& list = (*json)["subvolumes"];
  for (auto& each : list)
    if (!each.is_object() || each.value("path", nlohmann::json{}) != "/")
      return fail(fault::unsupported, "The other server sends subvolumes inside of its instance");
  if (list.size() == streams) return {};
  return fail(fault::invalid, "The other server sends other subvolumes than it has offered");
}

/// The stages one after the other, each a later state of the one before.
class stages {
public:
  stages(message_channel& data, storage_driver& driver, rsync_session session, std::optional<volume_id> base)
      : data_{data}, driver_{driver}, session_{std::move(session)}, base_{std::move(base)} {}

  outcome<void> receive(const volume_id& into, std::function<void(uint64_t)> moved) {
    session_.moved = std::move(moved);
    bool came = false;
    auto done = driver_.fill_volume(into, [&](const std::string& directory) {
      came = true;
      return fill(directory);
    });
    if (done && !came)
      return fail(fault::already_exists, "The volume " + into.kind + "/" + into.name + " is there already");
    base_ = into;
    return done;
  }

private:
  outcome<void> fill(const std::string& directory) {
    if (base_) {
      auto root = driver_.root(*base_);
      if (!root) return tl::unexpected{root.error()};
      auto from = open_volume_tree(*root);
      if (!from) return tl::unexpected{from.error()};
      auto copied = copy_tree("/proc/self/fd/" + std::to_string(from->get()) + "/.", directory);
      if (!copied) return copied;
    }
    auto tree = open_directory(directory);
    if (!tree) return tl::unexpected{tree.error()};
    if (auto came = session_.run(rsync_session::way::receive, std::move(*tree), data_); !came) return came;
    auto settled = settle_received(directory); // LXD's own description of it is not ours
    return settled ? outcome<void>{} : tl::unexpected{settled.error()};
  }

  message_channel& data_;
  storage_driver& driver_;
  rsync_session session_;
  std::optional<volume_id> base_;
};

outcome<void> limit(storage_driver& driver, const volume_id& volume, const saga_step& step) {
  auto size = get(step.args, "size");
  if (size.empty()) return {};
  auto bytes = parse_size(size);
  if (!bytes) return tl::unexpected{bytes.error()};
  auto used = driver.usage(volume);
  if (used && *used > *bytes) return fail(fault::too_large, "What was sent does not fit into the root disk's size");
  return driver.limit_volume(volume, *bytes);
}

} // namespace

outcome<received> receive_instance(transfer_link& from, store& db, storage_driver& driver, const saga_step& step,
                                   const std::string& rsync, const transfer_progress& progress) {
  auto said = from.control().receive(header_time);
  if (!said) return tl::unexpected{said.error()};
  auto offer = decode_header(said->data);
  if (!offer) return tl::unexpected{offer.error()};
  if (auto good = check_offer(*offer, step); !good) return tl::unexpected{good.error()};
  auto taken = judge_offer(db.read(), step, offer->snapshots);
  if (!taken) return tl::unexpected{taken.error()};
  auto base = get(step.args, "base");
  bool refresh = !base.empty();
  auto features = common(*offer);
  // A refreshed volume is a later state of what is here, which need not be what the other server's stream builds on.
  bool by_btrfs = offer->by_btrfs && driver.traits().name == "btrfs" && !refresh;
  if (!by_btrfs && !offer->by_rsync) return fail(fault::unsupported, "The other server does not speak rsync");
  if (!from.control().send(encode(answer_to(*offer, features, by_btrfs, refresh, *taken))))
    return fail(fault::backend_failed, "The other server has closed the connection");
  if (offer->index_version > 0)
    if (auto came = receive_index(from.data(), refresh); !came) return tl::unexpected{came.error()};

  std::string name{get(step.args, "name")};
  if (by_btrfs)
    if (auto listed = receive_list(from.data(), taken->size() + 1); !listed) return tl::unexpected{listed.error()};
  stream_series series{driver, stream_bytes_max};
  stages by_rsync{from.data(), driver, rsync_session{rsync, features.options(), {}, true},
                  refresh ? std::optional{volume_named(base)} : std::nullopt};
  auto receive = [&](const volume_id& into, const std::string& part) {
    auto moved = [&progress, part](uint64_t bytes) { progress(part, bytes); };
    return by_btrfs ? receive_part_into(series, into, from.data(), moved) : by_rsync.receive(into, moved);
  };
  for (size_t i = 0; i < taken->size(); ++i) {
    auto part = name + "/" + (*taken)[i].read([](auto s) { return text(s.getName()); });
    auto came = receive(volume_named(received_volume(step, i)), part);
    if (!came) return tl::unexpected{came.error()};
  }
  auto volume = volume_named(get(step.args, "volume"));
  if (auto came = receive(volume, name); !came) return tl::unexpected{came.error()};
  if (auto fits = limit(driver, volume, step); !fits) return tl::unexpected{fits.error()};
  return received{std::move(*taken), std::move(offer->snapshots)};
}

outcome<void> undo_receiving(storage_driver& driver, const saga_step& step) {
  auto there = driver.list();
  if (!there) return tl::unexpected{there.error()};
  auto prefix = received_prefix(step);
  if (prefix.size() != 24) return fail(fault::internal, "A step without a series");
  outcome<void> first;
  auto destroy = [&](const volume_id& volume) {
    if (auto gone = driver.destroy_volume(volume); !gone && first) first = gone;
  };
  for (auto& volume : *there)
    if (volume.kind == "snapshots" && volume.name.starts_with(prefix)) destroy(volume);
  destroy(volume_named(get(step.args, "volume")));
  return first;
}

} // namespace troupe
