#pragma once

#include "gateway/door.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// Follows the event log, and the clock, for who is trusted no more, or with less, and has his connections cut.
class trust_watch {
public:
  /// `lost(user)`, a principal's user name, runs on a blocking thread; not after `stop`.
  trust_watch(services& with, std::function<void(const std::string& user)> lost);
  ~trust_watch();
  void stop();

  /// He has been let in, by what is worth nothing from then on (seconds since 1970). Of several such the latest counts.
  /// Any thread.
  void trusts(const std::string& user, int64_t until);

private:
  struct data;
  std::shared_ptr<data> data_;
};

} // namespace troupe
