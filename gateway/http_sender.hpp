#pragma once

#include "gateway/http_reply.hpp"
#include "gateway/http_stream.hpp"
#include "runtime/loop.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe {

/// Sends one reply: its head and its parts in order, never holding more of a file or pipe than one buffer.
/// Loop's thread only.
class http_sender : public std::enable_shared_from_this<http_sender> {
public:
  /// `done(ok)` is called once, maybe inside start.
  http_sender(http_stream& to, std::function<void(bool ok)> done);

  void start(http_response response, reply_frame& frame); // `frame` is not used after it began to send
  void on_written(bool ok);
  void abandon();                                                // the stream is gone
  uint64_t handed_over() const noexcept { return handed_over_; } // bytes given to the stream; to see progress

private:
  void run();
  bool send_memory();
  bool send(std::string_view data);
  bool pass(std::span<const std::string_view> pieces);
  void read_range(file_range& range);
  bool read_pipe(pipe_stream& pipe, int& turns);
  void finish(bool ok);

  http_stream* to_; // null once abandoned or done
  std::function<void(bool)> done_;
  std::string head_;
  std::vector<body_part> parts_;
  size_t at_ = 0; // the part under way
  bool head_sent_ = false;
  bool chunked_ = false;
  bool end_sent_ = false;
  uint64_t handed_over_ = 0;
  std::string chunk_head_;
  std::vector<char> buffer_; // of a file or pipe; only then
  loop::handle_ptr watch_;   // of a pipe without data
};

} // namespace troupe
