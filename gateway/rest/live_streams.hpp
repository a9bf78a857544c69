#pragma once

#include "gateway/rest/request.hpp"
#include "runtime/loop.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace troupe {

/// Of a terminal, in characters; 0: as it is.
struct window_size {
  uint16_t width = 0, height = 0;
};

/// The websockets of one running operation (exec): who may connect, and what happens when all are there.
class stream_set {
public:
  virtual ~stream_set() = default;
  /// `name` of the stream ("0", "1", "2", "control"); on the loop's thread.
  virtual void connected(const std::string& name, std::shared_ptr<websocket> socket) = 0;
  /// Whether that stream may be connected again and again.
  virtual bool stays_open(const std::string&) const { return false; }
  /// Nobody connected in time.
  virtual void abandoned() = 0;
  /// Whoever it was opened for is not trusted any more: end it, with what it runs.
  virtual void cut() = 0;
  /// Another takes a seat here: once all of these have connected. Error: there is none to take.
  virtual outcome<std::vector<std::string>> offer_seat(window_size) {
    return fail(fault::unsupported, "Not such an operation");
  }
  /// That other is not trusted any more: only he goes.
  virtual void dismiss() {}
  /// The daemon ends: what can go on without it goes on.
  virtual void let_go() {}
};

/// Keeps the stream sets of running operations. Secrets live only here and in the answer to the one who asked.
/// Any thread.
class live_streams {
public:
  explicit live_streams(loop& on);
  ~live_streams();

  /// `owner`: the user it is opened for. `secrets`: stream name -> secret. `required`: must be connected in that time.
  /// Both empty: nothing is to be connected, and it is there to be cut.
  void open(const std::string& operation, const std::string& owner, std::map<std::string, std::string> secrets,
            std::vector<std::string> required, std::shared_ptr<stream_set> streams,
            std::chrono::seconds within = std::chrono::seconds{5});
  void close(const std::string& operation);
  void cut(const std::string& owner); // everything of that user
  void let_go();                      // of everything
  /// New secrets for the streams of what runs already, for another user; the old ones count no more. `then` runs on the
  /// loop's thread.
  using secret_map = std::map<std::string, std::string>;
  void attach(const std::string& operation, const std::string& user, window_size size,
              std::function<void(outcome<secret_map>)> then);
  /// Answers a websocket request for an operation's stream.
  void connect(const rest_request& from, const std::string& operation, const std::string& secret);
  /// A timer on the loop; it dies with this object. The answer is for `cancel`.
  uint64_t after(std::chrono::milliseconds delay, std::function<void()> then);
  void cancel(uint64_t timer);

private:
  struct data;
  loop& on_;
  std::shared_ptr<data> data_;
};

} // namespace troupe
