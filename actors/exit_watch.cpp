#include "actors/exit_watch.hpp"

namespace troupe {

struct exit_watch::data {
  unique_fd pidfd;
  loop::handle_ptr handle;
  std::function<void()> ended;
};

exit_watch::exit_watch(loop& on, unique_fd pidfd, std::function<void()> ended)
    : on_{on}, data_{std::make_shared<data>(data{std::move(pidfd), nullptr, std::move(ended)})} {
  on.post([&on, d = data_] {
    if (!d->ended) return; // dropped before it began
    d->handle = on.watch_readable(d->pidfd.get(), [weak = std::weak_ptr{d}] {
      auto d = weak.lock();
      if (!d) return;
      auto call = std::exchange(d->ended, nullptr);
      d->handle.reset();
      if (call) call();
    });
  });
}

exit_watch::~exit_watch() {
  on_.post([d = std::move(data_)] {
    d->ended = nullptr;
    d->handle.reset();
  });
}

} // namespace troupe
