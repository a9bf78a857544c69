#pragma once

#include "actors/subscription.hpp"
#include "gateway/door.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// Follows the event log for certificates that are trusted no more, or with less, and has their connections cut.
class trust_watch {
public:
  /// `lost(fingerprint)` runs on a blocking thread; not after the destructor.
  trust_watch(services& with, std::function<void(const std::string& fingerprint)> lost);
  ~trust_watch();

private:
  struct data;
  std::shared_ptr<data> data_;
};

} // namespace troupe
