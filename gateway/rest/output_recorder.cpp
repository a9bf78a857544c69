#include "gateway/rest/output_recorder.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace troupe {
namespace {
constexpr int reads_per_turn = 4; // then others get the loop
}

output_recorder::output_recorder(loop& on, unique_fd pipe, unique_fd file, std::function<void()> ended)
    : on_{on}, pipe_{std::move(pipe)}, file_{std::move(file)}, ended_{std::move(ended)} {
  ::fcntl(pipe_.get(), F_SETFL, ::fcntl(pipe_.get(), F_GETFL) | O_NONBLOCK);
}

std::shared_ptr<output_recorder> output_recorder::start(loop& on, unique_fd pipe, unique_fd file,
                                                        std::function<void()> ended) {
  auto made = std::make_shared<output_recorder>(on, std::move(pipe), std::move(file), std::move(ended));
  made->watch();
  return made;
}

void output_recorder::watch() {
  watch_ = on_.watch_readable(pipe_.get(), [self = shared_from_this()] {
    for (int turn = 0; turn < reads_per_turn && self->read_some();) ++turn;
  });
  if (!watch_) end();
}

bool output_recorder::read_some() {
  if (!pipe_) return false;
  std::array<char, 64 << 10> buffer;
  auto got = ::read(pipe_.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) return end(), false;
  auto room = std::min<uint64_t>(static_cast<uint64_t>(got), bytes_max - written_);
  if (room > 0 && ::write(file_.get(), buffer.data(), room) != static_cast<ssize_t>(room)) written_ = bytes_max;
  written_ = std::min(written_ + room, bytes_max);
  return true;
}

void output_recorder::drain_and_stop() {
  auto self = shared_from_this();
  int there = 0;
  if (pipe_) ::ioctl(pipe_.get(), FIONREAD, &there);
  for (int left = there; left > 0 && read_some();) left -= 64 << 10;
  end();
}

void output_recorder::end() {
  if (!pipe_) return;
  auto self = shared_from_this();
  watch_.reset();
  pipe_.reset();
  file_.reset();
  if (auto call = std::exchange(ended_, nullptr)) call();
}

} // namespace troupe
