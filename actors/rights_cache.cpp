#include "actors/rights_cache.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr size_t entries_max = 64; // then all are forgotten: there are seldom more sets of groups than that

} // namespace

std::shared_ptr<const rights> rights_cache::of(const snapshot& records, const std::vector<std::string>& groups) {
  std::vector<std::string_view> now;
  for (auto& name : groups) now.push_back(records.get(table::auth_groups, name).value_or(std::string_view{}));
  std::shared_ptr<const entry> known;
  {
    std::lock_guard guard{lock_};
    if (auto at = by_groups_.find(groups); at != by_groups_.end()) known = at->second;
  }
  if (known && std::equal(now.begin(), now.end(), known->records.begin(), known->records.end())) return known->given;
  auto fresh = std::make_shared<const entry>(
      entry{{now.begin(), now.end()}, std::make_shared<const rights>(rights_of(records, groups))});
  std::lock_guard guard{lock_};
  if (by_groups_.size() >= entries_max) by_groups_.clear();
  by_groups_.insert_or_assign(groups, fresh);
  return fresh->given;
}

} // namespace troupe
