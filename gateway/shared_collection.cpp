#include "gateway/shared_collection.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr shared_collection rows[] = {
    {"images", feature::images}, {"profiles", feature::profiles}, {"networks", feature::networks}};

} // namespace

const shared_collection* find_shared_collection(std::string_view segment) {
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](auto& row) { return row.segment == segment; });
  return at == std::end(rows) ? nullptr : at;
}

outcome<void> judge_borrowed(const principal& who, const std::string& home, const route& row,
                             const std::vector<std::string>& names, const snapshot& records) {
  bool may = who.level == trust::granted ? judge_access(who, home, row, names, records).has_value() : who.may_see(home);
  if (may) return {};
  return fail(fault::forbidden,
              "The project uses what belongs to project \"" + std::string{home} + "\": it can be read only");
}

} // namespace troupe
