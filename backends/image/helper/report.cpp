#include "backends/image/helper/report.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr uint64_t told_again = 8 << 20; // bytes
constexpr uint64_t steps = 200;          // few enough lines to fit a pipe that nobody reads yet

void say(std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1); // nobody listens: the daemon is gone
    text.remove_prefix(static_cast<size_t>(n));
  }
}

} // namespace

void report::read_up_to(uint64_t offset, uint64_t base) {
  done_ = std::max(done_, std::min(base + offset, total_));
  if (done_ - told_ < total_ / steps + 1) return;
  told_ = done_;
  say("p " + std::to_string(done_) + " " + std::to_string(total_) + "\n");
}

void report::read_more(uint64_t bytes) {
  done_ += bytes;
  if (done_ - told_ < told_again) return;
  told_ = done_;
  say("p " + std::to_string(done_) + " 0\n");
}

void report::kind(bool virtual_machine) { say(virtual_machine ? "k vm\n" : "k container\n"); }

void report::disk(uint64_t size) { say("v " + std::to_string(size) + "\n"); }

void report::text(const std::string& content) { say("m " + std::to_string(content.size()) + "\n" + content); }

void report::done() { say("d\n"); }

void report::failed(const error& why) {
  auto text = why.message.substr(0, 1000);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  say("e " + std::to_string(static_cast<unsigned>(why.code)) + " " + text + "\n");
}

} // namespace troupe::unpack
