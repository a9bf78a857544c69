#pragma once

#include "messages/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::qemu {

/// One thread that waits for all sockets of a driver. Who watches is told on that thread, and must not block there.
class socket_loop {
public:
  using handler = std::function<void(uint32_t events)>; // of epoll
  using ticket = uint64_t;

  socket_loop();
  ~socket_loop(); // nothing is called any more
  socket_loop(const socket_loop&) = delete;
  socket_loop& operator=(const socket_loop&) = delete;

  /// Runs `work` on the thread, soon; on any thread.
  void post(std::function<void()> work);

  // On the loop's thread only:
  /// Until `forget`, which comes before `fd` is closed.
  ticket watch(int fd, uint32_t events, handler tell);
  void change(ticket which, uint32_t events);
  void forget(ticket which);

private:
  struct watched {
    int fd;
    std::shared_ptr<handler> tell;
  };
  void run();
  void take_posted();

  unique_fd epoll_, wake_;
  std::unordered_map<ticket, watched> watched_;
  ticket last_ = 0; // 0 is `wake_`
  std::mutex lock_;
  std::vector<std::function<void()>> posted_;
  bool ends_ = false;
  std::thread thread_;
};

} // namespace troupe::qemu
