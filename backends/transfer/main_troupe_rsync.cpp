// Runs rsync where it sees one volume and nothing else. Descriptors: 2 complaints, 3 the tree, 4 the wire (a socket).
//   troupe-rsync send PARENT OPTION...     sends what is in the tree
//   troupe-rsync receive PARENT OPTION...  makes the tree what is sent
// As a program that rsync takes for its remote shell (no other way leads to its protocol on the sending side), it joins
// its standard input and output with the wire.

#include "backends/transfer/helper/confine.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <vector>

using namespace troupe;

namespace {

constexpr int tree_fd = 3, wire_fd = 4;
constexpr const char* program = "/usr/bin/rsync";

int refuse(const error& why) {
  std::fprintf(stderr, "%s\n", why.message.c_str());
  return 1;
}

bool is_option(std::string_view word) {
  for (std::string_view known : {"--xattrs", "--filter=-x security.selinux", "--delete", "--compress",
                                 "--compress-level=2", "--hard-links", "--acls"})
    if (word == known) return true;
  return false;
}

[[noreturn]] void execute(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char locale[] = "LC_ALL=C", path[] = "PATH=/usr/bin:/bin";
  char* environment[] = {locale, path, nullptr};
  execve(program, argv.data(), environment);
  std::fprintf(stderr, "Cannot run rsync: %s\n", std::strerror(errno));
  std::exit(127);
}

int work(std::string_view verb, int parent, const std::vector<std::string>& options) {
  bool receives = verb == "receive";
  auto ready = transfer::die_with(parent).and_then([&] { return transfer::confine(unique_fd{tree_fd}, receives); });
  if (ready) ready = transfer::die_with(parent); // a change of identity clears the death signal
  if (!ready) return refuse(ready.error());
  std::vector<std::string> words{program};
  if (receives) {
    if (dup2(wire_fd, 0) < 0 || dup2(wire_fd, 1) < 0 || close(wire_fd) != 0) return 1;
    // Nanoseconds count: else a file of the same size and second would be taken for unchanged.
    words.insert(words.end(), {"--server", "--modify-window=-1", "-vlogDtpre.iLsfx", "--numeric-ids", "--devices",
                               "--partial", "--sparse", "--super"});
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {".", "./"});
  } else {
    words.insert(words.end(), {"-a", "--devices", "--numeric-ids", "--partial", "--sparse"});
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"-e", transfer::own_path, "./", "localhost:."});
  }
  execute(std::move(words));
}

/// One direction of bytes between two descriptors.
struct flow {
  int from, to;
  bool over = false;
  size_t begin = 0, end = 0;
  std::array<char, 128 << 10> bytes{};

  short wants_read() const { return !over && begin == end ? POLLIN : 0; }
  short wants_write() const { return !over && begin < end ? POLLOUT : 0; }
  void finish() {
    over = true;
    if (to == wire_fd)
      shutdown(wire_fd, SHUT_WR);
    else
      close(to);
  }
  void read_some() {
    auto got = ::read(from, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) return finish();
    begin = 0;
    end = static_cast<size_t>(got);
  }
  void write_some() {
    auto put = ::write(to, bytes.data() + begin, end - begin);
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (put <= 0) return finish();
    begin += static_cast<size_t>(put);
  }
};

int join() {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  std::signal(SIGPIPE, SIG_IGN);
  static flow out{0, wire_fd}, in{wire_fd, 1};
  while (!in.over) { // rsync keeps its end open until we are gone
    pollfd waits[3] = {{out.over ? -1 : 0, out.wants_read(), 0},
                       {wire_fd, static_cast<short>(out.wants_write() | in.wants_read()), 0},
                       {in.over ? -1 : 1, in.wants_write(), 0}};
    if (poll(waits, 3, -1) < 0 && errno != EINTR) return 1;
    constexpr short ends = POLLHUP | POLLERR;
    if (out.wants_read() && waits[0].revents & (POLLIN | ends)) out.read_some();
    if (out.wants_write() && waits[1].revents & (POLLOUT | ends)) out.write_some();
    if (in.wants_read() && waits[1].revents & (POLLIN | ends)) in.read_some();
    if (in.wants_write() && waits[2].revents & (POLLOUT | ends)) in.write_some();
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 1 || std::string_view{argv[0]} == transfer::own_path) return join();
  std::string_view verb = argc > 2 ? argv[1] : "";
  if (verb != "send" && verb != "receive") return 2;
  std::vector<std::string> options{argv + 3, argv + argc};
  for (auto& option : options)
    if (!is_option(option)) return refuse({fault::invalid, "Not an option: " + option});
  return work(verb, std::atoi(argv[2]), options);
}
