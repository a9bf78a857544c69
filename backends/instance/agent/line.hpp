#pragma once

#include "messages/unique_fd.hpp"

#include <functional>
#include <kj/async-io.h>
#include <kj/async-unix.h>
#include <string>
#include <string_view>

namespace troupe::guest {

/// Makes sessions of a pipe that has none: a virtio serial port loses what is written while nobody has it open at the
/// other side, and still brings what was written in an earlier life of that side.
///
/// A session is a pair of nonces, one of each side. A side that begins says hello with its own nonce and the one that
/// it has heard, none at first; who hears a nonce that is new to it drops what it had and answers with both. A session
/// has begun for a side that hears its own nonce: the other side knows of it then, and all bytes from there on are
/// meant for this session. What comes before is thrown away.
///
/// So that a hello is known anywhere, even within half a message, the byte `mark` stands in the pipe for nothing else:
///   mark 0          the byte `mark` itself
///   mark 'H' A B    hello; A: the nonce of who says it, B: the one that it has heard, or zeros; 32 digits each
///   mark 'B'        the side goes; its session is over
///
/// On one event loop's thread. Whatever the other side sends costs `full_bytes` at most.
class line {
public:
  /// Who uses the sessions. There is one at most.
  class user {
  public:
    /// The stream fails, and ends, when its session does. It may be dropped before or after that.
    virtual void session_began(kj::Own<kj::AsyncIoStream> stream) = 0;
    virtual void session_ended() = 0;

  protected:
    ~user() = default;
  };
  enum class at_end : uint8_t {
    stop, // read() gives 0: the other side has closed, for ever
    wait  // it says that the host is not connected now
  };
  static constexpr size_t full_bytes = 256 << 10; // not yet read by the session's user; then the pipe is not read from

  line(kj::UnixEventPort& port, kj::Timer& timer, unique_fd pipe, at_end how, user& of);
  ~line();
  KJ_DISALLOW_COPY(line);

  /// Reads until the pipe ends or breaks. Drop it before the line.
  kj::Promise<void> run();
  /// Drops the session, if there is one, and says hello again.
  void begin_anew();
  /// From now on this session's stream is read only while `may_read` says so, which is asked again after each write.
  void hold_back(std::function<bool()> may_read);
  /// Tells the other side that this one goes; the last thing to be done with a line.
  kj::Promise<void> say_bye();

private:
  class stream;
  enum class reading : uint8_t { plain, marked, hello };

  kj::Promise<void> read_on();
  kj::Promise<void> take(std::string_view bytes);
  void take_plain(std::string_view bytes);
  void take_marked(char what);
  void take_hello(char digit);
  kj::Promise<void> begin_in_time();
  void heard_hello(std::string_view theirs, std::string_view ours);
  void begin_session();
  void end_session();
  void put_hello();
  kj::Promise<void> write(std::string_view plain);
  void push_out();
  kj::Promise<void> write_on();

  kj::Timer& timer_;
  unique_fd pipe_;
  const at_end how_;
  user& user_;
  kj::UnixEventPort::FdObserver observer_;
  std::string mine_, theirs_;
  reading state_ = reading::plain;
  std::string hello_;                     // as far as it has come
  bool in_session_ = false, due_ = false; // due: one may begin
  kj::TimePoint began_;
  stream* stream_ = nullptr; // the session's, while its user has it
  kj::Array<char> buffer_;

  std::string out_; // to be written
  size_t written_ = 0;
  bool waiting_ = false; // until the pipe takes more
  bool broken_ = false;
  kj::Own<kj::PromiseFulfiller<void>> all_out_; // of who waits for `out_` to be gone
  kj::Promise<void> writing_ = nullptr;
};

} // namespace troupe::guest
