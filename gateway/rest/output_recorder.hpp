#pragma once

#include "messages/unique_fd.hpp"
#include "runtime/loop.hpp"

#include <cstdint>
#include <functional>
#include <memory>

namespace troupe {

/// Writes what a pipe gives into a file, until the pipe's end. Beyond `bytes_max` it reads and throws away: a command
/// must not fill the host's disk. Loop's thread only; keeps itself alive until it ends.
class output_recorder : public std::enable_shared_from_this<output_recorder> {
public:
  static constexpr uint64_t bytes_max = 64 << 20;

  static std::shared_ptr<output_recorder> start(loop& on, unique_fd pipe, unique_fd file, std::function<void()> ended);
  output_recorder(loop& on, unique_fd pipe, unique_fd file, std::function<void()> ended);
  /// Takes what is in the pipe now, and no more (the command ended, but a grandchild holds the pipe).
  void drain_and_stop();

private:
  void watch();
  bool read_some(); // false: the end, or nothing there
  void end();

  loop& on_;
  unique_fd pipe_, file_;
  std::function<void()> ended_;
  loop::handle_ptr watch_;
  uint64_t written_ = 0;
};

} // namespace troupe
