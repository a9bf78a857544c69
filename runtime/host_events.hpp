#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"
#include "runtime/loop.hpp"

#include <functional>
#include <memory>

namespace troupe {

/// Tells when devices of the host come and go, by the kernel's own messages (netlink): nothing is asked in between.
class host_events {
public:
  /// `changed` is called on the loop's thread: once for all messages that were waiting.
  static outcome<std::unique_ptr<host_events>> listen(loop& on, std::function<void()> changed);
  ~host_events();
  host_events(const host_events&) = delete;
  host_events& operator=(const host_events&) = delete;

private:
  struct data;
  host_events(loop& on, std::shared_ptr<data> it);
  loop& on_;
  std::shared_ptr<data> data_;
};

} // namespace troupe
