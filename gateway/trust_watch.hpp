#pragma once

#include "gateway/door.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// Follows the event log for who is trusted no more, or with less, and has his connections cut.
class trust_watch {
public:
  /// `lost(user)`, a principal's user name, runs on a blocking thread; not after the destructor.
  trust_watch(services& with, std::function<void(const std::string& user)> lost);
  ~trust_watch();

private:
  struct data;
  std::shared_ptr<data> data_;
};

} // namespace troupe
