#pragma once

#include "actors/project_keys.hpp"
#include "gateway/rest/routes.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// A project without images, profiles or networks of its own uses those of project default.
struct shared_collection {
  std::string_view segment; // of the path
  feature what;
};

/// Null: that is no collection which projects share.
const shared_collection* find_shared_collection(std::string_view segment);

/// Who may only see some projects reads in `home` what his project uses. To change it he needs the right to it there:
/// it belongs to others too. fault::forbidden.
outcome<void> judge_borrowed(const principal& who, const std::string& home, const route& row,
                             const std::vector<std::string>& names, const snapshot& records);

} // namespace troupe
