#pragma once

#include "actors/project_keys.hpp"
#include "messages/envelope.hpp"

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

/// Who may only see some projects reads in `home` what his project uses, and changes nothing: it belongs to others too.
/// fault::forbidden.
outcome<void> judge_borrowed(const principal& who, std::string_view home, bool reads);

} // namespace troupe
