#include "backends/instance/agent/line.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <kj/debug.h>
#include <sys/random.h>
#include <unistd.h>

namespace troupe::guest {
namespace {

constexpr char mark = '\xa7';
constexpr char stands_for_itself = '\0', hello_follows = 'H', bye = 'B';
constexpr size_t nonce_digits = 32;
constexpr size_t read_bytes = 64 << 10;
// A peer that begins session after session gets one in so much time: beginning one is work.
constexpr auto least_session_time = 200 * kj::MILLISECONDS;

std::string new_nonce() {
  unsigned char bytes[nonce_digits / 2];
  // Early in a guest's boot the kernel may have no good randomness yet; it need not be secret, only new.
  if (::getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof bytes)) {
    unique_fd source{::open("/dev/urandom", O_RDONLY | O_CLOEXEC)};
    if (!source || ::read(source.get(), bytes, sizeof bytes) != static_cast<ssize_t>(sizeof bytes))
      KJ_FAIL_SYSCALL("getrandom", errno);
  }
  std::string out;
  for (auto byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

bool is_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

void append_marked(std::string& to, std::string_view plain) {
  while (!plain.empty()) {
    auto at = plain.find(mark);
    to += plain.substr(0, at);
    if (at == plain.npos) return;
    to += mark;
    to += stands_for_itself;
    plain.remove_prefix(at + 1);
  }
}

kj::Exception is_over() { return KJ_EXCEPTION(DISCONNECTED, "The session is over"); }

} // namespace

/// What a session's user reads and writes.
class line::stream final : public kj::AsyncIoStream {
public:
  explicit stream(line& of) : line_{&of} {}
  ~stream() noexcept(false) {
    if (line_ != nullptr) line_->stream_ = nullptr;
    room();
  }

  kj::Promise<size_t> tryRead(void* buffer, size_t least, size_t size) override {
    return read_to(static_cast<char*>(buffer), least, size, 0);
  }
  kj::Promise<void> write(const void* buffer, size_t size) override {
    if (line_ == nullptr) return is_over();
    return after(line_->write({static_cast<const char*>(buffer), size}));
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    if (line_ == nullptr) return is_over();
    std::string all;
    for (auto piece : pieces) all.append(piece.asChars().begin(), piece.size());
    return after(line_->write(all));
  }
  kj::Promise<void> whenWriteDisconnected() override {
    if (line_ == nullptr) return kj::READY_NOW;
    auto way = kj::newPromiseAndFulfiller<void>();
    ended_.add(kj::mv(way.fulfiller));
    return kj::mv(way.promise);
  }
  void shutdownWrite() override {} // its user is done with it, and drops it

  void hold_back(std::function<bool()> may_read) { may_read_ = std::move(may_read); }

  // For the line:
  void put(std::string_view bytes) {
    in_ += bytes;
    wake();
  }
  void end() {
    line_ = nullptr;
    in_.clear();
    for (auto& each : ended_) each->fulfill();
    wake();
    room();
  }
  bool is_full() const { return in_.size() >= full_bytes; }
  kj::Promise<void> when_room() {
    auto way = kj::newPromiseAndFulfiller<void>();
    room_ = kj::mv(way.fulfiller);
    return kj::mv(way.promise);
  }

private:
  kj::Promise<size_t> read_to(char* buffer, size_t least, size_t size, size_t got) {
    if (line_ == nullptr) return got;
    if (!may_read_ || may_read_()) {
      auto some = std::min(size - got, in_.size() - taken_);
      std::memcpy(buffer + got, in_.data() + taken_, some);
      taken_ += some;
      got += some;
      if (taken_ == in_.size() || taken_ > full_bytes) {
        in_.erase(0, taken_);
        taken_ = 0;
      }
      if (!is_full()) room();
      if (got >= least) return got;
    }
    auto way = kj::newPromiseAndFulfiller<void>();
    more_ = kj::mv(way.fulfiller);
    return way.promise.then([this, buffer, least, size, got] { return read_to(buffer, least, size, got); });
  }
  kj::Promise<void> after(kj::Promise<void> written) {
    if (!may_read_) return written;
    // Once more when all that is under way has settled: the sender takes a message off its count after its write.
    return written.then([this] {
      look_ = kj::evalLater([this] {
                wake();
              }).then([this] {
                  return kj::evalLast([this] { wake(); });
                }).eagerlyEvaluate(nullptr);
    });
  }
  void wake() {
    if (more_) {
      auto woken = kj::mv(more_);
      woken->fulfill();
    }
  }
  void room() {
    if (room_) {
      auto told = kj::mv(room_);
      told->fulfill();
    }
  }

  line* line_; // null: the session is over
  std::string in_;
  size_t taken_ = 0;
  std::function<bool()> may_read_;
  kj::Own<kj::PromiseFulfiller<void>> more_, room_;
  kj::Vector<kj::Own<kj::PromiseFulfiller<void>>> ended_;
  kj::Promise<void> look_ = nullptr;

  friend class line;
};

void line::hold_back(std::function<bool()> may_read) {
  if (stream_ != nullptr) stream_->hold_back(std::move(may_read));
}

line::line(kj::UnixEventPort& port, kj::Timer& timer, unique_fd pipe, at_end how, user& of)
    : timer_{timer}, pipe_{std::move(pipe)}, how_{how}, user_{of},
      observer_{port, pipe_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE},
      began_{timer.now() - kj::SECONDS}, buffer_{kj::heapArray<char>(read_bytes)} {
  ::fcntl(pipe_.get(), F_SETFL, ::fcntl(pipe_.get(), F_GETFL) | O_NONBLOCK);
}

line::~line() {
  if (stream_ != nullptr) stream_->end();
}

kj::Promise<void> line::run() {
  begin_anew();
  return read_on();
}

// ---- what comes

kj::Promise<void> line::read_on() {
  if (broken_) return kj::READY_NOW;
  auto got = ::read(pipe_.get(), buffer_.begin(), buffer_.size());
  // Behind what is ready now, so that no pipe keeps the others waiting.
  if (got > 0)
    return take({buffer_.begin(), static_cast<size_t>(got)}).then([this] {
      return kj::evalLater([this] { return read_on(); });
    });
  if (got < 0 && errno == EINTR) return read_on();
  if (got < 0 && errno != EAGAIN) return kj::READY_NOW;
  if (got == 0) {
    if (how_ == at_end::stop) return kj::READY_NOW;
    // The kernel says POLLHUP until the host connects. KJ watches for edges, and the port wakes who waits for it when
    // that happens and when something comes: nothing turns in the meantime.
    end_session();
    theirs_.clear();
  }
  return observer_.whenBecomesReadable().then([this] { return read_on(); });
}

kj::Promise<void> line::take(std::string_view bytes) {
  while (!bytes.empty()) {
    switch (state_) {
      case reading::plain: {
        auto plain = bytes.substr(0, bytes.find(mark));
        take_plain(plain);
        bytes.remove_prefix(plain.size());
        if (bytes.empty()) break;
        state_ = reading::marked;
        bytes.remove_prefix(1);
        break;
      }
      case reading::marked:
        take_marked(bytes[0]);
        bytes.remove_prefix(1);
        break;
      case reading::hello:
        take_hello(bytes[0]);
        bytes.remove_prefix(1);
        if (due_) return begin_in_time().then([this, bytes] { return take(bytes); });
    }
  }
  if (stream_ != nullptr && stream_->is_full()) return stream_->when_room();
  return kj::READY_NOW;
}

kj::Promise<void> line::begin_in_time() {
  auto soonest = began_ + least_session_time;
  auto in_time = timer_.now() >= soonest ? kj::Promise<void>{kj::READY_NOW} : timer_.atTime(soonest);
  return in_time.then([this] {
    if (due_) begin_session();
  });
}

void line::take_plain(std::string_view bytes) {
  if (in_session_ && stream_ != nullptr) stream_->put(bytes);
}

void line::take_marked(char what) {
  state_ = what == hello_follows ? reading::hello : what == mark ? reading::marked : reading::plain;
  hello_.clear();
  if (what == stands_for_itself) return take_plain({&mark, 1});
  if (what == bye) {
    end_session();
    theirs_.clear();
  }
}

void line::take_hello(char digit) {
  if (digit == mark) {
    state_ = reading::marked;
    return;
  }
  if (!is_digit(digit)) {
    state_ = reading::plain;
    return;
  }
  hello_ += digit;
  if (hello_.size() < 2 * nonce_digits) return;
  state_ = reading::plain;
  auto both = std::move(hello_);
  heard_hello(std::string_view{both}.substr(0, nonce_digits), std::string_view{both}.substr(nonce_digits));
}

void line::heard_hello(std::string_view theirs, std::string_view ours) {
  if (theirs != theirs_) {
    end_session();
    theirs_ = theirs;
    put_hello();
  }
  due_ = ours == mine_ && !in_session_;
}

// ---- sessions

void line::begin_session() {
  due_ = false;
  in_session_ = true;
  began_ = timer_.now();
  auto made = kj::heap<stream>(*this);
  stream_ = made.get();
  user_.session_began(kj::mv(made));
}

void line::end_session() {
  due_ = false;
  if (!in_session_) return;
  in_session_ = false;
  if (stream_ != nullptr) {
    stream_->end();
    stream_ = nullptr;
  }
  user_.session_ended();
}

void line::begin_anew() {
  end_session();
  mine_ = new_nonce();
  theirs_.clear();
  put_hello();
}

void line::put_hello() {
  // What was to be written belonged to a session that is over; half of it may be out, which a mark ends.
  out_.clear();
  written_ = 0;
  if (all_out_) {
    all_out_->reject(is_over());
    all_out_ = nullptr;
  }
  out_ += mark;
  out_ += hello_follows;
  out_ += mine_;
  out_ += theirs_.empty() ? std::string(nonce_digits, '0') : theirs_;
  push_out();
}

kj::Promise<void> line::say_bye() {
  if (all_out_) all_out_->reject(is_over());
  out_ = {mark, bye};
  written_ = 0;
  auto way = kj::newPromiseAndFulfiller<void>();
  all_out_ = kj::mv(way.fulfiller);
  push_out();
  return kj::mv(way.promise);
}

// ---- what goes

kj::Promise<void> line::write(std::string_view plain) {
  append_marked(out_, plain);
  push_out();
  if (out_.empty()) return kj::READY_NOW;
  if (all_out_) all_out_->fulfill(); // of one writer who did not wait; there is one at a time
  auto way = kj::newPromiseAndFulfiller<void>();
  all_out_ = kj::mv(way.fulfiller);
  return kj::mv(way.promise);
}

void line::push_out() {
  if (waiting_) return;
  waiting_ = true;
  // What can go goes at once.
  writing_ = write_on().eagerlyEvaluate(nullptr);
}

kj::Promise<void> line::write_on() {
  while (!broken_ && written_ < out_.size()) {
    auto put = ::write(pipe_.get(), out_.data() + written_, out_.size() - written_);
    if (put >= 0)
      written_ += static_cast<size_t>(put);
    else if (errno == EAGAIN)
      return observer_.whenBecomesWritable().then([this] { return write_on(); });
    else if (errno != EINTR)
      broken_ = true; // reading tells, too
  }
  waiting_ = false;
  out_.clear();
  written_ = 0;
  if (!all_out_) return kj::READY_NOW;
  auto told = kj::mv(all_out_);
  if (broken_)
    told->reject(is_over());
  else
    told->fulfill();
  return kj::READY_NOW;
}

} // namespace troupe::guest
