#pragma once

#include <kj/async-io.h>
#include <kj/function.h>
#include <memory>
#include <thread>

namespace troupe::guest {

/// One KJ event loop on a thread of its own. Nothing that runs there may block.
class agent_loop {
public:
  agent_loop();
  ~agent_loop(); // what still lives on the loop must have gone before
  agent_loop(const agent_loop&) = delete;
  agent_loop& operator=(const agent_loop&) = delete;

  /// Runs `work` there and waits for its end; from any thread, also the loop's own.
  void run(kj::Function<void(kj::AsyncIoContext&)> work);

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe::guest
