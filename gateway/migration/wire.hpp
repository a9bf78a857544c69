#pragma once

#include "actors/instance_receive.hpp"
#include "gateway/migration/message_channel.hpp"

#include <optional>

namespace troupe {

/// What rsync may be asked to do; what both sides can is done.
struct rsync_features {
  bool xattrs = true, remove = true, compress = false, links_and_acls = true;
  std::vector<std::string> options() const;
};

/// What a sender offers, or what a receiver takes of it.
struct transfer_header {
  bool by_rsync = true;  // can be
  bool by_btrfs = false; // streams of btrfs send: offered before rsync, or taken
  rsync_features features;
  bool features_named = false; // else what servers of old do is meant
  std::vector<std::string> snapshot_names;
  std::vector<offered_snapshot> snapshots;
  bool refresh = false;
  bool shifted_ids = false; // files have other ids than the container sees
  unsigned index_version = 0;
};

constexpr unsigned index_version_max = 1;

std::string encode(const transfer_header& header);
/// fault::invalid; nothing of it is judged yet.
outcome<transfer_header> decode_header(std::string_view bytes);
/// What both can.
rsync_features common(const transfer_header& theirs);

/// The last word on the control stream; no error: all is well.
std::string encode_verdict(const std::optional<error>& why);
/// Their verdict as ours: what they complain of, told as from them.
outcome<void> decode_verdict(std::string_view bytes);

} // namespace troupe
