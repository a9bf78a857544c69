#include "backends/instance/qemu/qmp_client.hpp"

#include "backends/instance/qemu/qmp_values.hpp"
#include "messages/json_read.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace troupe::qemu {
namespace {

/// One write of a message; its descriptor goes with the first byte. -1: not now, or never (errno).
ssize_t send_part(int socket, std::string_view bytes, int fd) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    auto* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  ssize_t n = 0;
  do n = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n;
}

tl::unexpected<error> gone(const std::string& why) { return fail(fault::wrong_state, why); }
tl::unexpected<error> silent() { return fail(fault::timed_out, "The virtual machine's QEMU does not answer"); }

error read_problem(const json& problem) {
  bool unknown = text_of(problem, "class") == "DeviceNotFound";
  return {unknown ? fault::not_found : fault::backend_failed, "QEMU: " + text_of(problem, "desc")};
}

} // namespace

std::shared_ptr<qmp_client> qmp_client::open(socket_loop& loop, unique_fd socket, event_sink sink) {
  std::shared_ptr<qmp_client> client{new qmp_client{loop, std::move(socket), std::move(sink)}};
  loop.post([weak = std::weak_ptr{client}] {
    if (auto self = weak.lock()) self->begin();
  });
  client->post("qmp_capabilities");
  return client;
}

qmp_client::qmp_client(socket_loop& loop, unique_fd socket, event_sink sink)
    : loop_{loop}, socket_{std::move(socket)}, sink_{std::move(sink)} {}

// The socket is closed after the loop has forgotten it.
qmp_client::~qmp_client() {
  loop_.post([&loop = loop_, ticket = ticket_, socket = std::make_shared<unique_fd>(std::move(socket_))] {
    loop.forget(ticket);
    socket->reset();
  });
}

void qmp_client::close() {
  loop_.post([self = shared_from_this()] { self->end("The virtual machine is not running"); });
}

void qmp_client::begin() {
  ticket_ = loop_.watch(socket_.get(), EPOLLIN, [weak = weak_from_this()](uint32_t events) {
    if (auto self = weak.lock()) self->ready(events);
  });
  flush();
}

bool qmp_client::over() const {
  std::lock_guard hold{lock_};
  return over_.has_value();
}

outcome<uint64_t> qmp_client::submit(std::string_view command, json arguments, int fd, bool wanted) {
  std::unique_lock hold{lock_};
  if (over_) return gone(*over_);
  if (out_.size() >= waiting_max || waiting_.size() >= waiting_max)
    return fail(fault::busy, "The virtual machine's QEMU has too much to answer");
  auto id = ++last_id_;
  json request{{"execute", command}, {"id", id}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  sending message{id, request.dump(-1, ' ', false, json::error_handler_t::replace) + "\n", 0, {}};
  if (fd >= 0) {
    message.fd.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!message.fd) return fail_errno(errno, "Cannot pass a descriptor to QEMU");
  }
  out_.push_back(std::move(message));
  if (wanted) waiting_.emplace(id, std::nullopt);
  hold.unlock();
  loop_.post([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->flush();
  });
  return id;
}

void qmp_client::post(std::string_view command, json arguments, int fd) {
  static_cast<void>(submit(command, std::move(arguments), fd, false)); // whoever has gone obeys no more
}

outcome<json> qmp_client::call(std::string_view command, json arguments, int fd, std::chrono::milliseconds patience) {
  auto id = submit(command, std::move(arguments), fd, true);
  if (!id) return tl::unexpected{id.error()};
  std::unique_lock hold{lock_};
  changed_.wait_for(hold, patience, [&] { return over_ || waiting_[*id]; });
  auto answer = std::move(waiting_[*id]);
  waiting_.erase(*id);
  if (answer) return std::move(*answer);
  if (over_) return gone(*over_);
  for (auto at = out_.begin(); at != out_.end(); ++at) // who gives up does not want it any more, as far as that goes
    if (at->id == *id && at->sent == 0) {
      out_.erase(at);
      break;
    }
  return silent();
}

void qmp_client::flush() {
  std::unique_lock hold{lock_};
  if (ticket_ == 0 || over_) return;
  while (!out_.empty()) {
    auto& first = out_.front();
    auto n = send_part(socket_.get(), std::string_view{first.bytes}.substr(first.sent),
                       first.sent == 0 ? first.fd.get() : -1);
    if (n < 0) break;
    first.sent += static_cast<size_t>(n);
    if (first.sent == first.bytes.size()) out_.pop_front();
  }
  bool wants = !out_.empty();
  hold.unlock();
  if (wants != wants_writing_) loop_.change(ticket_, wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
  wants_writing_ = wants;
}

void qmp_client::ready(uint32_t events) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
    if (!receive()) return;
  if (events & EPOLLOUT) flush();
}

/// False: it is over.
bool qmp_client::receive() {
  std::array<char, 64 << 10> block;
  auto n = ::recv(socket_.get(), block.data(), block.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return end("The virtual machine is not running"), false;
  auto searched = pending_.size();
  pending_.append(block.data(), static_cast<size_t>(n));
  size_t begin = 0;
  for (auto at = pending_.find('\n', searched); at != std::string::npos; at = pending_.find('\n', begin)) {
    if (!obey(std::string_view{pending_}.substr(begin, at - begin)))
      return end("The virtual machine's QEMU answers nonsense"), false;
    begin = at + 1;
  }
  pending_.erase(0, begin);
  if (pending_.size() > line_max) return end("The virtual machine's QEMU answers too much"), false;
  return true;
}

bool qmp_client::obey(std::string_view text) {
  auto line = parse_json_text(text);
  if (!line || !line->is_object()) return false;
  if (auto event = line->find("event"); event != line->end()) {
    if (!event->is_string()) return false;
    if (sink_) sink_(event->get<std::string>(), member_of(*line, "data"));
    return true;
  }
  if (line->contains("QMP")) return true; // it greets before it has made its machine
  take_answer(*line);
  return true;
}

void qmp_client::take_answer(const json& line) {
  auto id = line.find("id");
  if (id == line.end() || !id->is_number_unsigned()) return; // to something we never asked
  std::lock_guard hold{lock_};
  auto at = waiting_.find(id->get<uint64_t>());
  if (at == waiting_.end()) return; // nobody waits any more
  if (auto answer = line.find("return"); answer != line.end()) {
    at->second = *answer;
  } else {
    at->second = tl::unexpected{read_problem(member_of(line, "error"))};
  }
  changed_.notify_all();
}

void qmp_client::end(std::string why) {
  loop_.forget(ticket_);
  ::shutdown(socket_.get(), SHUT_RDWR);
  event_sink none;
  {
    std::lock_guard hold{lock_};
    if (!over_) over_ = std::move(why);
    out_.clear();
    none.swap(sink_);
    changed_.notify_all();
  }
}

} // namespace troupe::qemu
