#pragma once

#include "gateway/http_context.hpp"
#include "gateway/http_stream.hpp"
#include "gateway/websocket_frames.hpp"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

namespace troupe {

/// The websocket of a connection that was upgraded. Sending threads only append to `posted_`; the loop takes all of it
/// at once, so that many small messages leave in few system calls.
class websocket_connection final : public websocket,
                                   public http_stream::user,
                                   public std::enable_shared_from_this<websocket_connection>,
                                   websocket_frames::user {
public:
  using ready_call = std::function<void(std::shared_ptr<websocket>)>;
  /// Sends the 101 and hands the websocket to `ready`. `early`: bytes that came behind the request. Loop's thread.
  static void start(std::unique_ptr<http_stream> stream, const std::string& accept_key, const std::string& early,
                    const ready_call& ready);
  /// The same of a connection that we made, behind its 101; `early`: bytes that came behind that.
  static void join(std::unique_ptr<http_stream> stream, const std::string& early, const ready_call& ready);
  websocket_connection(std::unique_ptr<http_stream> stream, websocket_frames::side at);

  bool send_text(std::shared_ptr<const std::string> text) override;
  bool send_binary(std::string data) override;
  void close(uint16_t code) override;
  size_t queued_bytes() const override { return queued_; }
  void on_message(std::function<void(std::string, bool)> call) override;
  void on_close(std::function<void()> call) override;
  void on_drain(std::function<void()> call) override;
  void pause(bool reading_paused) override;
  void be_patient() override { patient_ = true; }

private:
  struct frame {
    std::string head; // or the whole of a control frame
    std::variant<std::string, std::shared_ptr<const std::string>> payload;
    bool binary = false;
    bool control = false;
    std::string_view data() const noexcept;
  };

  void on_bytes(std::string_view bytes) override;
  void on_end() override { finish(); }
  void on_written(bool ok) override;
  void on_deadline() override;
  void abort() override { finish(); }
  void on_message(std::string data, bool binary) override;
  void on_pong() override {}
  void on_control(std::string bytes) override;

  void begin(const std::string& early, const ready_call& ready);
  void on_loop(std::function<void()> work);
  bool push(frame one);
  void take_posted();
  void write_some();
  void written(size_t frames);
  void update_reading();
  void deliver_inbox();
  void drop_unsent_data();
  void check_last_bytes();
  void finish();

  const std::shared_ptr<http_door> door_;
  const size_t queue_max_;
  const websocket_frames::side side_;

  mutable std::mutex lock_;
  std::vector<frame> posted_; // guarded by lock_, as what follows
  bool posting_ = false;      // a take_posted is on its way
  bool closed_ = false;       // nothing more is taken
  bool above_low_ = false;    // on_drain is owed
  std::atomic<size_t> queued_{0};

  // The loop's thread only.
  std::unique_ptr<http_stream> stream_; // null once ended
  std::unique_ptr<websocket_frames> frames_;
  std::deque<frame> queue_;
  size_t in_flight_ = 0; // of queue_, in the write under way
  std::function<void(std::string, bool)> message_call_;
  std::vector<std::function<void()>> close_calls_;
  std::function<void()> drain_call_;
  std::deque<std::pair<std::string, bool>> inbox_; // until on_message is set
  size_t inbox_bytes_ = 0;
  int unanswered_ = 0; // pings the peer has read since it last said anything
  size_t last_bytes_left_ = 0;
  std::chrono::seconds stalled_{0};
  std::atomic<bool> patient_{false};
  bool paused_ = false;
  bool close_sent_ = false;
  bool ending_ = false; // close once the queue is written
};

} // namespace troupe
