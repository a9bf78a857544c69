#include "gateway/migration/wire.hpp"

#include "migration.pb.h"

#include <algorithm>

namespace troupe {
namespace {

constexpr int64_t second_ns = 1'000'000'000;
constexpr int64_t seconds_max = 253'402'300'799; // the year 9999
constexpr size_t complaint_max = 500;

int64_t ns_of(int64_t seconds) { return seconds <= 0 || seconds > seconds_max ? 0 : seconds * second_ns; }

template <class List>
config_map map_of(const List& pairs) {
  config_map out;
  for (auto& each : pairs) out.insert_or_assign(each.key(), each.value());
  return out;
}

template <class List>
void fill_pairs(List* into, const config_map& from) {
  for (auto& [key, value] : from) {
    auto* pair = into->Add();
    pair->set_key(key);
    pair->set_value(value);
  }
}

void fill_offer(wire::SnapshotOffer& into, const offered_snapshot& from) {
  into.set_name(from.name);
  fill_pairs(into.mutable_config(), from.config);
  for (auto& profile : from.profiles) into.add_profiles(profile);
  into.set_ephemeral(from.ephemeral);
  for (auto& [name, device] : from.devices) {
    auto* one = into.add_devices();
    one->set_name(name);
    fill_pairs(one->mutable_config(), device);
  }
  into.set_architecture(from.architecture);
  into.set_stateful(false);
  into.set_created(from.created_at / second_ns);
  into.set_last_used(from.last_used_at / second_ns);
  if (from.expires_at > 0) into.set_expires(from.expires_at / second_ns);
}

offered_snapshot read_offer(const wire::SnapshotOffer& from) {
  offered_snapshot out;
  out.name = from.name();
  out.config = map_of(from.config());
  out.profiles.assign(from.profiles().begin(), from.profiles().end());
  out.ephemeral = from.ephemeral();
  out.stateful = from.stateful();
  for (auto& device : from.devices()) {
    auto& into = out.devices[device.name()];
    for (auto& [key, value] : map_of(device.config())) into.insert_or_assign(key, value);
  }
  out.created_at = ns_of(from.created());
  out.last_used_at = ns_of(from.last_used());
  out.expires_at = ns_of(from.expires());
  return out;
}

/// Their words go into our records and logs.
std::string harmless(std::string_view text) {
  std::string out{text.substr(0, complaint_max)};
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return out;
}

} // namespace

std::vector<std::string> rsync_features::options() const {
  std::vector<std::string> out;
  if (xattrs) out.insert(out.end(), {"--xattrs", "--filter=-x security.selinux"});
  if (remove) out.push_back("--delete");
  if (compress) out.insert(out.end(), {"--compress", "--compress-level=2"});
  if (links_and_acls) out.insert(out.end(), {"--hard-links", "--acls"});
  return out;
}

std::string encode(const transfer_header& header) {
  wire::Header out;
  out.set_transport(header.by_btrfs ? wire::BTRFS : wire::RSYNC);
  if (header.by_btrfs) {
    auto* btrfs = out.mutable_btrfs();
    btrfs->set_header(true);
    btrfs->set_subvolumes(true);
    btrfs->set_uuids(true);
  }
  for (auto& name : header.snapshot_names) out.add_snapshot_names(name);
  for (auto& each : header.snapshots) fill_offer(*out.add_snapshots(), each);
  out.set_predump(false);
  auto* rsync = out.mutable_rsync();
  rsync->set_xattrs(header.features.xattrs);
  rsync->set_delete_(header.features.remove);
  rsync->set_compress(header.features.compress);
  rsync->set_bidirectional(true);
  rsync->set_links_and_acls(header.features.links_and_acls);
  out.set_refresh(header.refresh);
  out.set_index_version(header.index_version);
  return out.SerializeAsString();
}

outcome<transfer_header> decode_header(std::string_view bytes) {
  wire::Header in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(fault::invalid, "The other server's offer does not parse");
  if (in.has_processes() && in.processes() != 2)
    return fail(fault::unsupported, "Live migration of containers is not supported; use --stateless");
  transfer_header out;
  out.by_rsync = in.transport() == wire::RSYNC || in.has_rsync();
  out.by_btrfs = in.transport() == wire::BTRFS && in.btrfs().header() && in.btrfs().subvolumes();
  out.features_named = in.has_rsync() && in.rsync().bidirectional();
  out.features = {in.rsync().xattrs(), in.rsync().delete_(), in.rsync().compress(), in.rsync().links_and_acls()};
  out.snapshot_names.assign(in.snapshot_names().begin(), in.snapshot_names().end());
  for (auto& each : in.snapshots()) out.snapshots.push_back(read_offer(each));
  out.refresh = in.refresh();
  out.shifted_ids = in.idmap_size() > 0;
  out.index_version = in.index_version();
  return out;
}

rsync_features common(const transfer_header& theirs) {
  if (!theirs.features_named) return {true, true, true, false};
  rsync_features ours;
  return {ours.xattrs && theirs.features.xattrs, ours.remove && theirs.features.remove,
          ours.compress && theirs.features.compress, ours.links_and_acls && theirs.features.links_and_acls};
}

std::string encode_verdict(const std::optional<error>& why) {
  wire::Verdict out;
  out.set_success(!why);
  out.set_message(why ? why->message : "");
  return out.SerializeAsString();
}

outcome<void> decode_verdict(std::string_view bytes) {
  wire::Verdict in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(fault::backend_failed, "The other server's verdict does not parse");
  if (in.success()) return {};
  return fail(fault::backend_failed, "The other server reports: " + harmless(in.message()));
}

} // namespace troupe
