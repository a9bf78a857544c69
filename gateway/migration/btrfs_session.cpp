#include "gateway/migration/btrfs_session.hpp"

#include "backends/storage/btrfs_send.hpp"
#include "backends/storage/btrfs_subvolumes.hpp"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t block_bytes = 64 << 10;
constexpr std::chrono::minutes silence_max{10};

tl::unexpected<error> gone() { return fail(fault::backend_failed, "The other server has closed the connection"); }

// Until there is room; the channel tells of that and of the peer's end.
outcome<void> await_room(const message_channel& over) {
  while (!over.has_room()) {
    over.clear();
    if (over.has_room()) break;
    pollfd wait{over.changed_fd(), POLLIN, 0};
    int ready = poll(&wait, 1, static_cast<int>(std::chrono::milliseconds{silence_max}.count()));
    if (ready == 0) return fail(fault::timed_out, "The other server takes nothing more");
  }
  return {};
}

outcome<void> pass_on(int from, message_channel& over, const moved_bytes& moved) {
  for (;;) {
    if (auto room = await_room(over); !room) return room;
    std::string block(block_bytes, '\0');
    auto got = ::read(from, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "Cannot read from btrfs send");
    if (got == 0) return {};
    block.resize(static_cast<size_t>(got));
    if (moved) moved(block.size());
    if (!over.send(std::move(block))) return gone();
  }
}

} // namespace

outcome<void> send_part(message_channel& over, const std::string& path, const std::string& parent,
                        const moved_bytes& moved) {
  auto sending = sending_subvolume::begin(path, parent);
  if (!sending) return tl::unexpected{sending.error()};
  if (auto passed = pass_on(sending->output(), over, moved); !passed) return passed;
  if (auto ended = sending->finish(); !ended) return ended;
  return over.end_part() ? outcome<void>{} : gone();
}

outcome<void> receive_part_into(stream_series& series, const volume_id& into, message_channel& over,
                                const moved_bytes& moved) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno(errno, "Cannot receive");
  unique_fd ours{ends[0]}, theirs{ends[1]};
  bool ended = false;
  helper_call::feed feed{std::move(ours), over.changed_fd()};
  feed.patience = silence_max;
  feed.next = [&]() -> outcome<std::optional<std::string>> {
    over.clear();
    for (message_channel::message next;;) {
      auto now = over.take(next);
      if (now == message_channel::state::closed) return gone();
      if (now == message_channel::state::nothing) return std::nullopt;
      ended = next.ends_part();
      if (ended) return std::string{};
      if (next.data.empty()) continue;
      if (moved) moved(next.data.size());
      return std::move(next.data);
    }
  };
  auto came = series.receive({std::move(theirs), std::move(feed)}, into, nullptr, nullptr);
  if (!came) return tl::unexpected{came.error()};
  return ended ? outcome<void>{} : fail(fault::invalid, "The other server's stream has no end");
}

outcome<sealed_copy> sealed_copy::of(const std::string& path) {
  // POOL/KIND/NAME
  auto pool = path.substr(0, path.rfind('/', path.rfind('/') - 1));
  auto source = open_directory(path);
  if (!source) return tl::unexpected{source.error()};
  auto staged = pool_layout{pool.substr(pool.rfind('/') + 1), pool}.stage();
  if (!staged) return tl::unexpected{staged.error()};
  sealed_copy out{std::move(*staged)};
  if (auto made = make_snapshot(source->get(), out.path()); !made) return tl::unexpected{made.error()};
  auto made = open_directory(out.path());
  if (!made) return tl::unexpected{made.error()};
  if (!set_read_only(made->get(), true)) return fail_errno(errno, "Cannot seal " + out.path());
  return out;
}

sealed_copy::~sealed_copy() {
  if (staged_.path.empty()) return;
  auto slash = staged_.path.rfind('/');
  auto above = open_directory(staged_.path.substr(0, slash)), copy = open_directory(staged_.path);
  if (!above || !copy) return;
  set_read_only(copy->get(), false);
  delete_subvolume(above->get(), staged_.path.c_str() + slash + 1, copy->get());
}

} // namespace troupe
