#pragma once

#include "messages/unique_fd.hpp"

#include <kj/async-unix.h>
#include <sys/types.h>

namespace troupe::guest {

/// A process of ours, which ends with this object.
class child {
public:
  /// Right after the fork, before the loop goes on.
  child(kj::UnixEventPort& port, pid_t pid);
  ~child();
  KJ_DISALLOW_COPY(child);

  kj::Promise<int> ended() { return ended_.addBranch(); } // as wait() tells it
  void signal(int number);
  void let_go() { kept_ = false; } // it may outlive this object

private:
  kj::Maybe<pid_t> pid_; // none once it has ended
  bool kept_ = true;
  kj::ForkedPromise<int> ended_;
};

/// For a new process: the signals as a program expects them.
void reset_signals();
/// Closes all that a new process has but 0, 1, 2 and `but`.
void close_others(int but);

} // namespace troupe::guest
