#pragma once

#include "actors/records.hpp"

namespace troupe {

/// Expands many instances of one snapshot: what a list of profiles amounts to is worked out once. One thread; the
/// snapshot must outlive it.
class expander {
public:
  explicit expander(const snapshot& from) : from_{from} {}
  expansion operator()(schema::InstanceSpec::Reader spec);
  const snapshot& records() const { return from_; }

private:
  const snapshot& from_;
  std::map<std::string, expansion> profiles_; // by project and names, each ended by a zero byte
};

} // namespace troupe
