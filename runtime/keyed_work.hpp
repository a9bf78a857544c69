#pragma once

#include <functional>
#include <string>

namespace troupe {

/// Work for a blocking_pool that may hang because of what it works on, which `key` names: an instance whose file
/// systems are its own business. pool.submit(keyed_work{key, work}) runs it beside the pool's threads, on others, and
/// few of one key at once; the rest of that key waits its turn. So who hangs holds up himself only.
struct keyed_work {
  std::string key;
  std::function<void()> work;
  void operator()() const { work(); }
};

constexpr size_t keyed_threads_max = 64, keyed_each_max = 3, keyed_queue_max = 256; // in all; of one key

} // namespace troupe
