#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/inotify.h>

namespace troupe {
namespace {

using namespace std::chrono;
namespace fs = std::filesystem;

/// A refused connection tells nothing when `listen` follows: there is no event to wait for, so ask again, slower each
/// time.
constexpr milliseconds first_pause{5}, longest_pause{250};

/// Wakes when something appears or changes on the way to `DIR/unix.socket`: in DIR, or in its nearest parent that
/// exists.
class arrival {
public:
  explicit arrival(fs::path dir) : dir_{std::move(dir)}, fd_{inotify_init1(IN_CLOEXEC | IN_NONBLOCK)} {}

  /// Must be called before looking, so that nothing falls between looking and waiting.
  void watch() {
    fs::path at = fs::absolute(dir_);
    constexpr uint32_t changes = IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    while (inotify_add_watch(fd_.get(), at.c_str(), changes) < 0 && at.has_relative_path()) at = at.parent_path();
  }

  void wait(milliseconds at_most) {
    pollfd watched{fd_.get(), POLLIN, 0};
    int limit = at_most == milliseconds::max() ? -1 : static_cast<int>(std::clamp<long>(at_most.count(), 0, 1 << 30));
    if (::poll(&watched, 1, limit) <= 0) return;
    char seen[4096];
    while (::read(fd_.get(), seen, sizeof seen) > 0) {
    }
  }

private:
  fs::path dir_;
  unique_fd fd_;
};

} // namespace

outcome<void> run_waitready(const invocation& call) {
  auto seconds_max = call.number("--timeout", -1);
  if (!seconds_max) return tl::unexpected{seconds_max.error()};
  auto start = steady_clock::now();
  auto left = [&]() -> milliseconds {
    if (*seconds_max < 0) return milliseconds::max();
    return std::max(milliseconds{0}, duration_cast<milliseconds>(start + seconds{*seconds_max} - steady_clock::now()));
  };
  server daemon{call.dir};
  arrival change{call.dir};
  for (auto pause = first_pause;; pause = std::min(pause * 2, longest_pause)) {
    change.watch();
    http_call ask{.target = "/1.0"};
    if (*seconds_max >= 0) ask.timeout_ms = static_cast<int>(std::clamp<long>(left().count(), 1, 1 << 30));
    auto facts = daemon.request(ask);
    if (facts) return {};
    if (left() == milliseconds{0})
      return fail(fault::timed_out, "The daemon is not ready after " + std::to_string(*seconds_max) +
                                        " seconds: " + facts.error().message);
    bool absent = facts.error().code == fault::not_found;
    change.wait(absent ? left() : std::min(pause, left()));
  }
}

} // namespace troupe
