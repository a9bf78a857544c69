#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace troupe {

class http_context;

/// A request body on its way into an unnamed file, with bounded memory: the owner stops reading above `full_bytes` and
/// goes on when `on_progress` says so. Loop's thread only.
class http_spool : public std::enable_shared_from_this<http_spool> {
public:
  static constexpr size_t full_bytes = 1 << 20;

  /// `on_progress` is called after each write, and with an error set once if it failed.
  http_spool(std::shared_ptr<http_context> context, std::function<void()> on_progress);

  void append(std::string_view bytes);
  void finish(); // on_progress, then finished() is true
  void abandon();

  bool full() const noexcept { return waiting_.size() + writing_.size() > full_bytes; }
  bool busy() const noexcept { return job_; }
  bool finished() const noexcept { return finishing_ && !job_ && waiting_.empty() && !failure_; }
  int failure() const noexcept { return failure_; } // errno
  uint64_t size() const noexcept { return size_; }
  unique_fd take(); // rewound

private:
  void run();
  void ended(ssize_t result);

  std::shared_ptr<http_context> context_;
  std::function<void()> on_progress_;
  unique_fd file_;
  std::string waiting_, writing_;
  size_t written_ = 0; // of writing_
  uint64_t size_ = 0;  // in the file
  int failure_ = 0;
  bool job_ = false;
  bool finishing_ = false;
};

} // namespace troupe
