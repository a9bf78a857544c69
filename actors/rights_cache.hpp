#pragma once

#include "actors/identities.hpp"

#include <map>
#include <memory>
#include <mutex>

namespace troupe {

/// What groups give, worked out once for as long as their records stay as they are: it is asked for with every request,
/// and a group can have thousands of permissions. Any thread.
class rights_cache {
public:
  std::shared_ptr<const rights> of(const snapshot& records, const std::vector<std::string>& groups);

private:
  struct entry {
    std::vector<std::string> records; // of the groups, in their order
    std::shared_ptr<const rights> given;
  };
  std::mutex lock_;
  std::map<std::vector<std::string>, std::shared_ptr<const entry>> by_groups_; // guarded by lock_
};

} // namespace troupe
