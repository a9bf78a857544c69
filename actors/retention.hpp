#pragma once

#include "actors/instance_snapshot.hpp"

#include <array>
#include <span>

namespace troupe {

// How long the snapshots stay that a schedule takes. Each tier (snapshots.keep.hourly, .daily, .weekly, .monthly) keeps
// the newest snapshot of each of the newest N hours, days, weeks or months (local time) that have one; what no tier
// keeps goes. Without any tier all stay. Snapshots that somebody took by hand are nobody's business here.

struct retention {
  static constexpr std::array<std::string_view, 4> names{"hourly", "daily", "weekly", "monthly"};
  std::array<int, 4> keep{-1, -1, -1, -1}; // -1: there is no such tier

  bool any() const;
};

/// What the config says; `instead` goes before it where it is not -1.
retention retention_of(const config_map& effective, const retention& instead = {});

struct retained_snapshot {
  snapshot_record taken;
  std::vector<std::string_view> kept_by; // empty: it goes
};
/// Of the scheduled ones among `taken`, newest first. A pure function but for the time zone.
std::vector<retained_snapshot> retain(const std::vector<snapshot_record>& taken, const retention& tiers);

/// The same as clients see it.
message<schema::RetainedSnapshot> view_of(const retained_snapshot& one);

/// To the instance: delete what its tiers do not keep. -> operation_record
struct prune_snapshots {
  std::shared_ptr<const header> head;
};
outcome<std::shared_ptr<saga>> plan_prune(const instance_data& me, const prune_snapshots& request);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::prune_snapshots)
