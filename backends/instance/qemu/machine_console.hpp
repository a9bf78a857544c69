#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/qemu/qmp_client.hpp"
#include "backends/instance/qemu/socket_loop.hpp"

#include <memory>
#include <mutex>
#include <string>

namespace troupe::qemu {

/// What a machine has said on its console: a bounded file. Thread-safe.
class console_record {
public:
  static constexpr size_t bytes_max = 1 << 20;
  explicit console_record(std::string path) : path_{std::move(path)} {}
  void append(std::string_view bytes);
  std::string read() const; // the last of it
  void clear();

private:
  std::string path_;
  mutable std::mutex lock_;
};

/// The serial console of a machine. While nobody is there QEMU keeps what it says in a ring buffer of its own; who sits
/// down gets it as it comes, through a socket that the loop empties for QEMU, so that the machine never waits.
class machine_console : public std::enable_shared_from_this<machine_console> {
public:
  machine_console(socket_loop& loop, std::shared_ptr<qmp_client> qmp, std::string record_path);

  /// There is one seat: a second session ends at once with a status other than 0.
  outcome<std::unique_ptr<exec_session>> sit_down();
  outcome<std::string> log(bool clear);
  /// After another daemon's end: whoever sat there has left.
  void recover();

private:
  friend class console_seat;
  outcome<void> drain();
  void leave(); // by the session's end

  socket_loop& loop_;
  std::shared_ptr<qmp_client> qmp_;
  console_record record_;
  std::mutex seat_;
  bool taken_ = false;
};

} // namespace troupe::qemu
