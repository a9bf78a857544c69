#include "backends/instance/qemu/machine_console.hpp"

#include "backends/instance/lxc/proc_facts.hpp"
#include "backends/instance/qemu/qmp_values.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace troupe::qemu {
namespace {

constexpr size_t drain_bytes = 64 << 10;

json ring_buffer() { return {{"type", "ringbuf"}, {"data", {{"size", console_record::bytes_max}}}}; }
json socket_named(const std::string& name) {
  return {{"type", "socket"}, {"data", {{"addr", {{"type", "fd"}, {"data", {{"str", name}}}}}, {"server", false}}}};
}

/// QEMU's base64, which is its own and well formed; anything else ends the text.
std::string decode_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char c : text) {
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z')
      value = c - 'A';
    else if (c >= 'a' && c <= 'z')
      value = c - 'a' + 26;
    else if (c >= '0' && c <= '9')
      value = c - '0' + 52;
    else if (c == '+' || c == '/')
      value = c == '+' ? 62 : 63;
    else
      break;
    bits = bits << 6 | value;
    if ((count += 6) < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

struct pair {
  unique_fd ours, theirs;
};
outcome<pair> make_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return pair{unique_fd{fds[0]}, unique_fd{fds[1]}};
}

/// Joins QEMU's end with the reader's; lives on the loop.
struct joint : std::enable_shared_from_this<joint> {
  socket_loop& loop;
  console_record& record;
  std::shared_ptr<machine_console> owner; // keeps `record`; until the end
  unique_fd machine, reader, done;
  socket_loop::ticket machine_ticket = 0, reader_ticket = 0;
  std::string typed; // read from the reader, not taken by the machine yet

  joint(socket_loop& l, console_record& r, std::shared_ptr<machine_console> o)
      : loop{l}, record{r}, owner{std::move(o)}, done{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {}

  void begin() {
    machine_ticket =
        loop.watch(machine.get(), EPOLLIN, [self = shared_from_this()](uint32_t e) { self->machine_ready(e); });
    reader_ticket =
        loop.watch(reader.get(), EPOLLIN, [self = shared_from_this()](uint32_t e) { self->reader_ready(e); });
  }
  /// The machine's words are recorded until QEMU has its ring buffer back.
  void leave() {
    loop.forget(reader_ticket);
    reader.reset();
  }
  void end() {
    loop.forget(machine_ticket);
    loop.forget(reader_ticket);
    if (reader) ::shutdown(reader.get(), SHUT_RDWR);
    ::eventfd_write(done.get(), 1);
    owner.reset();
  }
  void machine_ready(uint32_t events) {
    std::array<char, 16 << 10> block;
    if (events & EPOLLOUT) push();
    if (!(events & ~static_cast<uint32_t>(EPOLLOUT))) return;
    auto n = ::recv(machine.get(), block.data(), block.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return end();
    std::string_view said{block.data(), static_cast<size_t>(n)};
    record.append(said);
    if (reader && ::send(reader.get(), said.data(), said.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return; // dropped
  }
  void reader_ready(uint32_t) {
    std::array<char, 4 << 10> block;
    auto n = ::recv(reader.get(), block.data(), block.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return loop.forget(reader_ticket); // nobody types any more
    typed.assign(block.data(), static_cast<size_t>(n));
    push();
  }
  /// What the machine does not take yet waits, and with it whoever types.
  void push() {
    auto n = ::send(machine.get(), typed.data(), typed.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) typed.erase(0, static_cast<size_t>(n));
    loop.change(machine_ticket, typed.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
    loop.change(reader_ticket, typed.empty() ? uint32_t{EPOLLIN} : 0);
  }
};

/// For whom there was no seat.
class no_seat final : public exec_session {
public:
  no_seat() : done_{::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)} {}
  int done_fd() const noexcept override { return done_.get(); }
  int pty() const noexcept override { return -1; }
  outcome<int> result() override { return 1; }
  outcome<void> signal(int) override { return {}; }
  outcome<void> resize(uint16_t, uint16_t) override { return {}; }

private:
  unique_fd done_;
};

} // namespace

class console_seat final : public exec_session {
public:
  console_seat(std::shared_ptr<machine_console> owner, std::shared_ptr<joint> between, unique_fd pty)
      : owner_{std::move(owner)}, joint_{std::move(between)}, pty_{std::move(pty)} {}
  ~console_seat() override {
    owner_->loop_.post([between = joint_] { between->leave(); });
    owner_->leave();
  }
  int done_fd() const noexcept override { return joint_->done.get(); }
  int pty() const noexcept override { return pty_.get(); }
  outcome<int> result() override { return 0; }
  outcome<void> signal(int) override { return fail(fault::unsupported, "A console takes no signals"); }
  outcome<void> resize(uint16_t, uint16_t) override { return {}; } // a serial line has no size

private:
  std::shared_ptr<machine_console> owner_;
  std::shared_ptr<joint> joint_;
  unique_fd pty_;
};

void console_record::append(std::string_view bytes) {
  std::lock_guard hold{lock_};
  struct stat st {};
  bool full = ::stat(path_.c_str(), &st) == 0 && static_cast<size_t>(st.st_size) + bytes.size() > 2 * bytes_max;
  std::string all{bytes};
  if (full) all = (lxc::read_small(path_) + all).substr(static_cast<size_t>(st.st_size) + bytes.size() - bytes_max);
  unique_fd file{
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (full ? O_TRUNC : O_APPEND), 0600)};
  if (file && ::write(file.get(), all.data(), all.size()) < 0) return; // a record, nothing depends on it
}

std::string console_record::read() const {
  std::lock_guard hold{lock_};
  auto text = lxc::read_small(path_);
  if (text.size() > bytes_max) text.erase(0, text.size() - bytes_max);
  return text;
}

void console_record::clear() {
  std::lock_guard hold{lock_};
  ::unlink(path_.c_str());
}

machine_console::machine_console(socket_loop& loop, std::shared_ptr<qmp_client> qmp, std::string record_path)
    : loop_{loop}, qmp_{std::move(qmp)}, record_{std::move(record_path)} {}

outcome<void> machine_console::drain() {
  for (size_t left = console_record::bytes_max; left > 0;) {
    auto part = qmp_->call("ringbuf-read", {{"device", "console"}, {"size", drain_bytes}, {"format", "base64"}});
    if (!part) return tl::unexpected{part.error()};
    if (!part->is_string()) return fail(fault::backend_failed, "QEMU's ring buffer cannot be read");
    auto bytes = decode_base64(part->get_ref<const std::string&>());
    record_.append(bytes);
    if (bytes.size() < drain_bytes) return {};
    left -= std::min(left, bytes.size());
  }
  return {};
}

outcome<std::string> machine_console::log(bool clear) {
  std::lock_guard hold{seat_};
  if (!taken_)
    if (auto done = drain(); !done) return tl::unexpected{done.error()};
  auto text = record_.read();
  if (clear) record_.clear();
  return text;
}

void machine_console::recover() {
  std::lock_guard hold{seat_};
  if (taken_) return;
  auto devices = qmp_->call("query-chardev");
  if (!devices) return; // one that does not answer has other troubles
  for (const auto& each : *devices)
    if (text_of(each, "label") == "console" && text_of(each, "filename") != "ringbuf")
      qmp_->post("chardev-change", {{"id", "console"}, {"backend", ring_buffer()}});
}

outcome<std::unique_ptr<exec_session>> machine_console::sit_down() {
  std::lock_guard hold{seat_};
  if (taken_) return std::make_unique<no_seat>();
  auto to_machine = make_pair(), to_reader = make_pair();
  if (!to_machine) return tl::unexpected{to_machine.error()};
  if (!to_reader) return tl::unexpected{to_reader.error()};
  if (auto done = drain(); !done) return tl::unexpected{done.error()};
  auto passed = qmp_->call("getfd", {{"fdname", "console"}}, to_machine->theirs.get());
  if (!passed) return tl::unexpected{passed.error()};
  auto changed = qmp_->call("chardev-change", {{"id", "console"}, {"backend", socket_named("console")}});
  if (!changed) return tl::unexpected{changed.error()};
  auto between = std::make_shared<joint>(loop_, record_, shared_from_this());
  between->machine = std::move(to_machine->ours);
  between->reader = std::move(to_reader->ours);
  loop_.post([between] { between->begin(); });
  taken_ = true;
  return std::make_unique<console_seat>(shared_from_this(), std::move(between), std::move(to_reader->theirs));
}

void machine_console::leave() {
  std::lock_guard hold{seat_};
  qmp_->post("chardev-change", {{"id", "console"}, {"backend", ring_buffer()}});
  taken_ = false;
}

} // namespace troupe::qemu
