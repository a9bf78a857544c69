#include "gateway/syscall_door.hpp"

#include "runtime/log.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr int connection_fd = 3, backlog = 64; // as troupe-syscalls expects it
constexpr size_t handlers_max = 4096;

outcome<unique_fd> listen_at(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path)
    return fail(fault::too_large, "The path " + path + " is too long for a socket");
  std::memcpy(to.sun_path, path.data(), path.size());
  unique_fd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  ::unlink(path.c_str());
  auto before = ::umask(0177);
  bool good = socket && ::bind(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 &&
              ::listen(socket.get(), backlog) == 0;
  int problem = errno;
  ::umask(before);
  if (!good) return fail_errno(problem, "Cannot listen on " + path);
  return socket;
}

bool is_root(int connection) {
  ucred who{};
  socklen_t length = sizeof who;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 && who.uid == 0;
}

} // namespace

struct syscall_door::data {
  loop& io;
  std::string program;
  unique_fd socket;
  loop::handle_ptr handle;
  std::map<uint64_t, std::unique_ptr<child>> handlers;
  uint64_t next = 1;
  bool closed = false;

  void welcome(const std::shared_ptr<data>& self) {
    for (;;) {
      unique_fd connection{::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      if (!connection) return;
      if (!is_root(connection.get()) || handlers.size() >= handlers_max) continue;
      child_spec spec;
      spec.command = {program};
      spec.descriptors = {{connection.get(), connection_fd}};
      auto number = next++;
      std::weak_ptr<data> weak = self;
      auto started = spawn(io, spec, [weak, number](child_exit) {
        if (auto alive = weak.lock()) alive->handlers.erase(number);
      });
      if (started)
        handlers[number] = std::move(*started);
      else
        log().error("{}", started.error().message);
    }
  }
};

syscall_door::syscall_door(services& with)
    : io_{with.io}, data_{std::make_shared<data>(data{with.io, {}, {}, {}, {}})} {
  data_->program = std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/troupe-syscalls";
  auto socket = listen_at(with.dir.lxc + "/.syscalls");
  if (!socket) {
    log().error("{}", socket.error().message);
    return;
  }
  data_->socket = std::move(*socket);
  io_.post([d = data_] {
    if (d->closed) return;
    d->handle = d->io.watch_readable(d->socket.get(), [weak = std::weak_ptr{d}] {
      if (auto alive = weak.lock()) alive->welcome(alive);
    });
  });
}

syscall_door::~syscall_door() {
  io_.post([d = std::move(data_)] {
    d->closed = true;
    d->handle.reset();
    d->handlers.clear(); // they go on
  });
}

} // namespace troupe
