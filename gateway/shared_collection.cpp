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

outcome<void> judge_borrowed(const principal& who, std::string_view home, bool reads) {
  if (reads || who.may_see(home)) return {};
  return fail(fault::forbidden,
              "The project uses what belongs to project \"" + std::string{home} + "\": it can be read only");
}

} // namespace troupe
