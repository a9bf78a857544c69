#include "backends/instance/qemu/socket_loop.hpp"

#include <array>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace troupe::qemu {

socket_loop::socket_loop() : epoll_{::epoll_create1(EPOLL_CLOEXEC)}, wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::thread{[this] { run(); }};
}

socket_loop::~socket_loop() {
  post([this] { ends_ = true; });
  thread_.join();
  watched_.clear(); // what goes with it may still post
}

void socket_loop::post(std::function<void()> work) {
  {
    std::lock_guard hold{lock_};
    posted_.push_back(std::move(work));
  }
  uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) < 0) return; // it is awake already
}

socket_loop::ticket socket_loop::watch(int fd, uint32_t events, handler tell) {
  auto which = ++last_;
  watched_.emplace(which, watched{fd, std::make_shared<handler>(std::move(tell))});
  epoll_event event{};
  event.events = events;
  event.data.u64 = which;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  return which;
}

void socket_loop::change(ticket which, uint32_t events) {
  auto at = watched_.find(which);
  if (at == watched_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = which;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, at->second.fd, &event);
}

void socket_loop::forget(ticket which) {
  auto at = watched_.find(which);
  if (at == watched_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, at->second.fd, nullptr);
  watched_.erase(at);
}

void socket_loop::take_posted() {
  uint64_t count = 0;
  while (::read(wake_.get(), &count, sizeof count) > 0) {
  }
  std::vector<std::function<void()>> work;
  {
    std::lock_guard hold{lock_};
    work.swap(posted_);
  }
  for (auto& each : work) each();
}

void socket_loop::run() {
  std::array<epoll_event, 64> events;
  while (!ends_) {
    int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      auto which = events[static_cast<size_t>(i)].data.u64;
      if (which == 0) {
        take_posted();
      } else if (auto at = watched_.find(which); at != watched_.end()) {
        auto tell = at->second.tell; // it may forget itself
        (*tell)(events[static_cast<size_t>(i)].events);
      }
    }
  }
}

} // namespace troupe::qemu
