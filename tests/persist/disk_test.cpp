#include "disk_faults.hpp"
#include "store_fixture.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <dlfcn.h>
#include <fcntl.h>
#include <random>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

using namespace troupe;
using namespace troupe::test;

namespace {

std::atomic<int> countdown{0}; // 0: no faults
int fault_number = 0;          // errno; 0: kill
bool fault_stays = false;
bool keeps_log = false;
bool tears = false; // the write that is struck is half done
std::atomic<bool> lies{false};
unsigned power_seed = 0;
std::atomic<bool> happened{false};

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

struct unsynced {
  int fd;
  ino_t file;
  off_t at;
  std::string before;
};
std::vector<unsynced> unsynced_writes; // oldest first; of one thread

using pwrite_function = ssize_t(int, const void*, size_t, off_t);
pwrite_function* real_pwrite() {
  static auto* real = next<pwrite_function>("pwrite");
  return real;
}

ino_t file_of(int fd) {
  struct stat st {};
  ::fstat(fd, &st);
  return st.st_ino;
}

// Before a write: what was there.
void log_write(int fd, size_t count, off_t at) {
  if (!keeps_log || (::fcntl(fd, F_GETFL) & O_DSYNC)) return;
  std::string before(count, '\0');
  if (::pread(fd, before.data(), count, at) < 0) before.clear();
  unsynced_writes.push_back({fd, file_of(fd), at, before});
}

void cut_power() {
  std::mt19937 dice{power_seed};
  for (size_t i = unsynced_writes.size(); i-- > 0;) {
    const unsynced& w = unsynced_writes[i];
    if (power_seed == 0 || dice() % 2) real_pwrite()(w.fd, w.before.data(), w.before.size(), w.at);
  }
}

bool strikes() {
  int left = countdown.load();
  if (left == 0) return false;
  if (left > 1) {
    --countdown;
    return false;
  }
  happened = true;
  if (fault_number == 0) {
    cut_power();
    ::raise(SIGKILL);
  }
  if (!fault_stays) countdown = 0;
  errno = fault_number;
  return true;
}

} // namespace

// These take the place of the C library's for liblmdb, too.
extern "C" {
ssize_t pwrite(int fd, const void* bytes, size_t count, off_t at) {
  if (lies.exchange(false)) {
    real_pwrite()(fd, bytes, count, at);
    errno = EIO;
    return -1;
  }
  if (countdown == 1 && tears && count > 1) real_pwrite()(fd, bytes, count / 2, at);
  if (strikes()) return -1;
  log_write(fd, count, at);
  return real_pwrite()(fd, bytes, count, at);
}
ssize_t writev(int fd, const iovec* parts, int count) {
  static auto* real = next<ssize_t(int, const iovec*, int)>("writev");
  if (strikes()) return -1;
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
  log_write(fd, bytes, keeps_log ? ::lseek(fd, 0, SEEK_CUR) : 0);
  return real(fd, parts, count);
}
int fdatasync(int fd) {
  static auto* real = next<int(int)>("fdatasync");
  if (strikes()) return -1;
  int code = real(fd);
  if (keeps_log) std::erase_if(unsynced_writes, [file = file_of(fd)](const unsynced& w) { return w.file == file; });
  return code;
}
}

namespace troupe::test::disk_faults {

void fail_at(int n, int number, bool from_then_on) {
  happened = false;
  fault_number = number;
  fault_stays = from_then_on;
  countdown = n;
}
void kill_at(int n) { fail_at(n, 0, false); }
void tear_at(int n) {
  tears = true;
  kill_at(n);
}
void write_then_fail() { lies = true; }
void cut_power_at(int n, unsigned seed) {
  kill_at(n);
  keeps_log = true;
  power_seed = seed;
}
bool clear() {
  countdown = 0;
  return happened.exchange(false);
}

} // namespace troupe::test::disk_faults

TEST_CASE("a failing disk fails the whole commit and changes nothing") {
  int number = GENERATE(EIO, ENOSPC);
  bool stays = GENERATE(false, true);
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  int made = 0, failed = 0;
  for (int round = 0; round < 120; ++round) { // the log turns around and needs a checkpoint on the way
    int at = 1 + round % 7;
    INFO("round " << round << ", call " << at << ", errno " << number << (stays ? ", from then on" : ""));
    auto instances = contents(*s, table::instances);
    auto events = contents(*s, table::events);
    disk_faults::fail_at(at, number, stays);
    auto done = s->commit(std::vector<batch>{numbered_batch(made, 5000), numbered_batch(made + 1, 5000)});
    disk_faults::clear();
    REQUIRE(done[0].has_value() == done[1].has_value());
    if (done[0]) {
      made += 2;
    } else {
      ++failed;
      REQUIRE(done[0].error().code == fault::backend_failed);
      REQUIRE(done[1].error().code == fault::backend_failed);
      REQUIRE(contents(*s, table::events) == events);
      REQUIRE(contents(*s, table::instances) == instances);
    }
    REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
    if (round % 9 == 0) {
      s.reset();
      s = open_store(folder.path, by_hand);
      REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
    }
  }
  REQUIRE(failed >= 15);
  REQUIRE(made >= 60);
}

TEST_CASE("a checkpoint on a failing disk loses nothing, and the next one succeeds") {
  int number = GENERATE(EIO, ENOSPC);
  bool stays = GENERATE(false, true);
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  int made = 0, failed = 0;
  for (int at = 1, reached = 1; reached; ++at) {
    INFO("call " << at << ", errno " << number << (stays ? ", from then on" : ""));
    REQUIRE(commit_one(*s, numbered_batch(made++)));
    REQUIRE(commit_one(*s, {{}, {{table::instances, "x", "1"}, {table::statuses, "x", "1"}}, {}}));
    REQUIRE(commit_one(*s, {{}, {{table::instances, "x", {}}, {table::statuses, "x", {}}}, {}}));
    disk_faults::fail_at(at, number, stays);
    auto done = s->checkpoint();
    reached = disk_faults::clear();
    if (!done) ++failed;
    REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
    if (at % 3 == 0) REQUIRE(s->checkpoint());
    if (at % 4 == 0) {
      s.reset();
      s = open_store(folder.path, by_hand);
    }
    REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
  }
  REQUIRE(failed >= 6);
}

TEST_CASE("a commit that failed is not found by the next start") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  REQUIRE(commit_one(*s, numbered_batch(0)));
  disk_faults::write_then_fail();
  REQUIRE(!commit_one(*s, numbered_batch(1))); // though the disk has it
  disk_faults::clear();
  SECTION("after an end in order") { s.reset(); }
  SECTION("after another commit") { REQUIRE(commit_one(*s, numbered_batch(2))); }
  bool another = s != nullptr;
  if (s) REQUIRE(s->checkpoint());
  s.reset();
  s = open_store(folder.path);
  REQUIRE(require_in_step(*s) == (another ? 2u : 1u));
  REQUIRE(!s->read().get(table::instances, "i1"));
}

TEST_CASE("a full disk fails commits and changes nothing, and the store goes on when there is room again") {
  scratch_folder folder;
  REQUIRE(::mount("troupe-persist", folder.path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=6m,mode=0700") == 0);
  struct unmounted {
    const std::string& path;
    ~unmounted() { ::umount2(path.c_str(), MNT_DETACH); }
  } at_end{folder.path};
  auto s = open_store(folder.path);
  int made = 0;
  outcome<committed> done;
  while ((done = commit_one(*s, numbered_batch(made, 40'000)))) ++made;
  REQUIRE(done.error().code == fault::backend_failed);
  REQUIRE(done.error().message.find("No space left") != std::string::npos);
  REQUIRE(made > 10);
  REQUIRE(require_in_step(*s) == static_cast<size_t>(made));

  SECTION("it can be opened while it is full") {
    s.reset();
    s = open_store(folder.path);
    REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
    REQUIRE(!commit_one(*s, numbered_batch(made, 400'000)));
  }
  SECTION("it goes on when the disk is larger") {
    REQUIRE(::mount("troupe-persist", folder.path.c_str(), "tmpfs", MS_REMOUNT, "size=12m,mode=0700") == 0);
    for (int i = 0; i < 5; ++i) REQUIRE(commit_one(*s, numbered_batch(made++, 40'000)));
  }
  SECTION("small failures do not add up") {
    for (int i = 0; i < 50; ++i)
      if (commit_one(*s, numbered_batch(made, 20'000))) ++made;
  }
  REQUIRE(require_in_step(*s) == static_cast<size_t>(made));
}

TEST_CASE("a first start on a full disk fails and leaves no half database") {
  scratch_folder folder;
  REQUIRE(::mount("troupe-persist", folder.path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=16k,mode=0700") == 0);
  struct unmounted {
    const std::string& path;
    ~unmounted() { ::umount2(path.c_str(), MNT_DETACH); }
  } at_end{folder.path};
  auto refused = store::open(folder.path, "m1");
  REQUIRE(!refused);
  REQUIRE(::mount("troupe-persist", folder.path.c_str(), "tmpfs", MS_REMOUNT, "size=8m,mode=0700") == 0);
  REQUIRE(commit_one(*open_store(folder.path), numbered_batch(1)));
}
