#pragma once

#include "backends/instance/qemu/socket_loop.hpp"
#include "messages/error.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace troupe::qemu {

using json = nlohmann::json;

/// A conversation with one QEMU. Thread-safe: calls of many threads are sent at once and answered in any order; the
/// socket is read and written on the loop's thread. QEMU is a stranger here: its lines are bounded, and nobody waits
/// for one longer than his patience.
///
/// `timed_out`: no answer (a stopped process); the request may be obeyed later if it was sent. `wrong_state`: QEMU has
/// gone. What QEMU says no to is `backend_failed` with its own words, or `not_found` if it knows no such device.
class qmp_client : public std::enable_shared_from_this<qmp_client> {
public:
  using event_sink = std::function<void(const std::string& event, const json& data)>;
  static constexpr std::chrono::milliseconds usual_patience{5000};

  /// `socket`: connected, not blocking. Events are told on the loop's thread.
  static std::shared_ptr<qmp_client> open(socket_loop& loop, unique_fd socket, event_sink sink);
  /// The conversation ends as well when nobody holds the client any more.
  ~qmp_client();
  void close();

  outcome<json> call(std::string_view command, json arguments = json::object(), int fd = -1,
                     std::chrono::milliseconds patience = usual_patience);
  /// Sent after what was sent before; nobody waits.
  void post(std::string_view command, json arguments = json::object(), int fd = -1);
  bool over() const;

private:
  static constexpr size_t line_max = 4 << 20, waiting_max = 256;

  struct sending {
    uint64_t id;
    std::string bytes;
    size_t sent = 0;
    unique_fd fd;
  };
  qmp_client(socket_loop& loop, unique_fd socket, event_sink sink);
  outcome<uint64_t> submit(std::string_view command, json arguments, int fd, bool wanted);
  void flush();
  void begin();
  void ready(uint32_t events);
  bool receive();
  bool obey(std::string_view line);
  void take_answer(const json& line);
  void end(std::string why);

  socket_loop& loop_;
  unique_fd socket_;
  event_sink sink_;
  // The loop's own:
  socket_loop::ticket ticket_ = 0;
  bool wants_writing_ = false;
  std::string pending_;
  // Everybody's:
  mutable std::mutex lock_;
  std::condition_variable changed_;
  std::deque<sending> out_;
  std::map<uint64_t, std::optional<outcome<json>>> waiting_;
  uint64_t last_id_ = 0;
  std::optional<std::string> over_;
};

} // namespace troupe::qemu
