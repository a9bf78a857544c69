#include "backends/instance/agent/agent_connection.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe::guest {
namespace {

// A socket refuses between the moment at which it gets its name and the one at which QEMU listens, and while it still
// has an earlier visitor.
constexpr unsigned refusals_max = 10;
constexpr auto first_pause = 10 * kj::MILLISECONDS; // doubled each time

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

/// errno on failure. A socket's name may be longer than the kernel takes: it is named through its folder.
unique_fd connect_to(const std::string& path) {
  unique_fd folder{::open(folder_of(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return {};
  auto name = "/proc/self/fd/" + std::to_string(folder.get()) + path.substr(path.rfind('/'));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path) return errno = ENAMETOOLONG, unique_fd{};
  name.copy(address.sun_path, name.size());
  unique_fd out{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (out && ::connect(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) out.reset();
  return out;
}

} // namespace

agent_connection::agent_connection(kj::AsyncIoContext& io, std::string socket, std::function<void(bool)> heard,
                                   std::shared_ptr<std::atomic<bool>> connected)
    : io_{io}, socket_{std::move(socket)}, heard_{std::move(heard)},
      connected_{std::move(connected)}, changes_{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)}, tasks_{errors_} {
  if (changes_) {
    ::inotify_add_watch(changes_.get(), folder_of(socket_).c_str(), IN_CREATE | IN_MOVED_TO);
    changed_ =
        kj::heap<kj::UnixEventPort::FdObserver>(port(), changes_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ);
  }
  life_ = kj::evalLater([this] { return live(); }).eagerlyEvaluate(nullptr);
}

agent_connection::~agent_connection() { *connected_ = false; }

kj::Promise<void> agent_connection::live() {
  return find_socket(0).then([this] { return live(); });
}

kj::Promise<void> agent_connection::find_socket(unsigned refusals) {
  // What has changed until now is looked at now; later changes make a new edge.
  char events[4096];
  while (changes_ && ::read(changes_.get(), events, sizeof events) > 0) {
  }
  if (auto socket = connect_to(socket_)) return talk(std::move(socket));
  bool refuses = errno == ECONNREFUSED || errno == EAGAIN;
  if (refuses && refusals < refusals_max)
    return timer().afterDelay(first_pause * (1 << refusals)).then([this, refusals] {
      return find_socket(refusals + 1);
    });
  if (!changed_) return kj::NEVER_DONE; // no descriptor was left
  return changed_->whenBecomesReadable().then([this] { return find_socket(0); });
}

kj::Promise<void> agent_connection::talk(unique_fd socket) {
  line_ = kj::heap<line>(port(), timer(), std::move(socket), line::at_end::stop, *this);
  return line_->run().then([this] {
    session_ended();
    line_ = nullptr;
  });
}

void agent_connection::session_began(kj::Own<kj::AsyncIoStream> stream) {
  session_ = std::make_unique<agent_session>(++sessions_, kj::mv(stream), *line_);
  keep(session_->over().then([this, number = sessions_] {
    if (session_ && session_->number == number) line_->begin_anew();
  }));
  *connected_ = true;
  heard_(true);
}

void agent_connection::session_ended() {
  if (!session_) return;
  *connected_ = false;
  keep(kj::evalLater([gone = std::move(session_)]() mutable { gone.reset(); }));
  heard_(false);
}

} // namespace troupe::guest
