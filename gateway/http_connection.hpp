#pragma once

#include "gateway/http_context.hpp"
#include "gateway/http_parser.hpp"
#include "gateway/http_sender.hpp"
#include "gateway/http_spool.hpp"
#include "gateway/http_stream.hpp"

#include <atomic>
#include <memory>
#include <string>

namespace troupe {

class http_connection;

/// What all copies of one responder share.
struct responder::state {
  std::shared_ptr<http_door> door;
  std::weak_ptr<http_connection> connection; // looked at on the loop's thread only
  uint64_t serial = 0;                       // which of the connection's requests
  std::atomic<bool> answered{false};
  std::atomic<bool> gone{false};
  std::function<void()> on_gone;                            // loop's thread only
  std::vector<std::pair<std::string, std::string>> headers; // go along; set before anybody answers

  ~state();
  void went_away();
};

/// One HTTP connection: one request at a time, in order. Loop's thread only; lives in the context's list until it ends
/// or becomes a websocket.
class http_connection final : public http_stream::user,
                              public std::enable_shared_from_this<http_connection>,
                              http_parser::sink {
public:
  static void start(std::unique_ptr<http_stream> stream);
  explicit http_connection(std::unique_ptr<http_stream> stream);
  ~http_connection() override;

  /// Ignored unless that request still waits for its answer.
  void answer(uint64_t serial, http_response response);
  void upgrade(uint64_t serial, std::function<void(std::shared_ptr<websocket>)> ready);
  void hand_over(uint64_t serial, const std::string& protocol, unique_fd ours);
  bool waits_for(uint64_t serial) const noexcept;

private:
  std::unique_ptr<http_stream> let_go();
  enum class phase { head, body, spooling, handling, replying };

  /// One request from its first byte to the last of its reply; a waiting connection has none.
  struct exchange {
    explicit exchange(uint64_t number, size_t header_bytes_max) : serial{number}, parser{request, header_bytes_max} {}
    uint64_t serial;
    phase at = phase::head;
    bool timed = false; // the head's time-out runs
    http_request request;
    http_parser parser;
    reply_frame frame;
    body_rule rule;
    uint64_t body_bytes = 0;
    uint64_t seen_progress = 0; // at the last look of the write time-out
    std::string accept_key;     // of a websocket handshake
    std::shared_ptr<http_spool> spool;
    std::weak_ptr<responder::state> waiting;
    std::shared_ptr<http_sender> sender;
  };

  void on_bytes(std::string_view bytes) override;
  void on_end() override;
  void on_written(bool ok) override;
  void on_deadline() override;
  void abort() override;
  void unwelcome() override;
  bool idle() const override { return !exchange_ || exchange_->at == phase::head; }
  uint64_t rested_at() const override { return rested_at_; }
  void on_body(std::string_view bytes) override;

  size_t consume(std::string_view bytes);
  void consume_pending();
  size_t feed(std::string_view bytes);
  bool reading_request() const noexcept;
  bool discards() const noexcept;
  void head_done();
  void apply_rule(bool more_follows);
  void body_moved();
  void spool_moved();
  void request_done();
  void dispatch();
  void reply(http_response response);
  void refuse(int status, std::string_view sentence);
  void replied(bool ok);
  void linger();
  void close();
  void tell_gone();
  void check_reply_progress();

  http_context& context_;
  std::unique_ptr<http_stream> stream_; // null once ended
  std::unique_ptr<exchange> exchange_;
  std::string pending_; // read but not used: half a head, or the next requests
  uint64_t serial_ = 0;
  uint64_t rested_at_ = 0;
  bool consuming_ = false;
  bool half_closed_ = false; // the peer sends no more, but may still read
  bool body_left_ = false;   // the rest of a refused request is still coming
  bool lingering_ = false;
};

} // namespace troupe
