#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

struct uv_loop_s;

namespace troupe {

/// One libuv loop on one thread of its own. `post` is for every thread; everything else only for the loop's thread
/// (inside a posted function or a callback). Callbacks must not block or throw.
class loop {
public:
  explicit loop(std::string name);
  ~loop(); // stops, runs what was posted, closes every handle, joins

  /// Runs `work` on the loop's thread, in the order of posting. Dropped, not run, once the destructor has run all else.
  void post(std::function<void()> work);
  bool on_thread() const noexcept;
  uv_loop_s* raw() noexcept;

  /// A handle that dies with its owner. Destroy it on the loop's thread, also from within its own callback, or anywhere
  /// once the loop is gone.
  class handle {
  public:
    virtual ~handle() = default;
  };
  using handle_ptr = std::unique_ptr<handle>;

  handle_ptr after(std::chrono::milliseconds delay, std::function<void()> then); // once
  handle_ptr every(std::chrono::milliseconds period, std::function<void()> then);
  /// Calls `ready` each time `fd` is readable (a pidfd: once its process ended) until the handle dies. Does not own
  /// `fd`, which must stay open as long; it is made non-blocking. One watch per descriptor; null if it cannot be
  /// polled.
  handle_ptr watch_readable(int fd, std::function<void()> ready);

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
