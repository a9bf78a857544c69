#include "disk_faults.hpp"
#include "messages/unique_fd.hpp"
#include "store_fixture.hpp"

#include <fcntl.h>
#include <poll.h>
#include <random>
#include <sys/wait.h>

using namespace troupe;
using namespace troupe::test;

namespace {

struct child {
  pid_t pid = -1;

  template <class Work>
  explicit child(Work&& work) : pid{::fork()} {
    if (pid != 0) return;
    work();
    ::_exit(0);
  }
  ~child() {
    if (pid > 0) ::kill(pid, SIGKILL), wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid, -1), &status, 0);
    return status;
  }
};

bool killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

// Commits from `next` on until it is killed; writes each acknowledged number into the pipe.
void commit_forever(const std::string& folder, int next, int acked) {
  auto s = store::open(folder, "m1", {.map_bytes = 1 << 20});
  if (!s) ::_exit(3);
  for (;;) {
    std::vector<batch> batches;
    for (int i = 0; i < 1 + next % 3; ++i) batches.push_back(numbered_batch(next + i, 700));
    batches.push_back({{}, {{table::journal, "j", std::to_string(next)}}, {}});
    for (const auto& result : (*s)->commit(batches))
      if (!result) ::_exit(4);
    next += static_cast<int>(batches.size()) - 1;
    if (::write(acked, &next, sizeof next) != sizeof next) ::_exit(5);
  }
}

} // namespace

TEST_CASE("kill -9 at any time loses nothing that was acknowledged and tears nothing apart") {
  scratch_folder folder;
  std::mt19937 dice{std::random_device{}()};
  int next = 0; // everything below is acknowledged
  for (int round = 0; round < 30; ++round) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    unique_fd from{ends[0]}, to{ends[1]};
    child writer{[&] { commit_forever(folder.path, next, to.get()); }};
    to.reset();
    // Let some commits pass, then strike somewhere within the next.
    for (unsigned passed = dice() % 12; passed > 0; --passed) REQUIRE(::read(from.get(), &next, sizeof next) == 4);
    ::usleep(dice() % 3000);
    ::kill(writer.pid, SIGKILL);
    REQUIRE(killed(writer.wait()));
    while (::read(from.get(), &next, sizeof next) == 4) {
    }

    auto s = open_store(folder.path);
    auto instances = contents(*s, table::instances);
    for (int i = 0; i < next; ++i) REQUIRE(instances.count(record_name(i)) == 1);
    // Committed, but killed before the acknowledgement: go on behind it.
    next = static_cast<int>(instances.size());
    REQUIRE(require_in_step(*s) == instances.size());
  }
  REQUIRE(next > 30);
}

TEST_CASE("a daemon killed at each write and sync of a commit or checkpoint, and again of its recovery, is whole") {
  bool reached = true;
  size_t with_change = 0, without = 0;
  for (int at = 1; reached; ++at) {
    for (int again_at = 1; again_at <= 4; again_at += 1) {
      INFO("killed at call " << at << ", then at call " << again_at << " of the next start");
      scratch_folder folder{medium::memory};
      for (int i = 0; i < 3; ++i) REQUIRE(commit_one(*open_store(folder.path), numbered_batch(i)));
      child writer{[&] {
        auto s = store::open(folder.path, "m1", by_hand);
        disk_faults::tear_at(at);
        (*s)->commit(std::vector<batch>{numbered_batch(3), numbered_batch(4)});
        (void)(*s)->checkpoint();
        ::_exit(0);
      }};
      reached = killed(writer.wait());
      child opener{[&] {
        auto s = store::open(folder.path, "m1", by_hand);
        disk_faults::kill_at(again_at);
        ::_exit(s && (*s)->checkpoint() ? 0 : 1);
      }};
      int status = opener.wait();
      REQUIRE((killed(status) || status == 0));
      auto s = open_store(folder.path);
      size_t found = require_in_step(*s);
      REQUIRE((found == 3 || found == 5));
      found == 5 ? ++with_change : ++without;
      if (at > 1) REQUIRE(found == 5);
      REQUIRE(commit_one(*s, numbered_batch(9)));
      REQUIRE(require_in_step(*s) == found + 1);
    }
  }
  REQUIRE(with_change > 20);
  REQUIRE(without > 2);
}

TEST_CASE("a first start killed at any write starts well the next time") {
  for (int at = 1, reached = 1; reached; ++at) {
    INFO("killed at call " << at);
    scratch_folder folder{medium::memory};
    child opener{[&] {
      disk_faults::kill_at(at);
      auto s = store::open(folder.path, "m1");
      ::_exit(s ? 0 : 1);
    }};
    reached = killed(opener.wait());
    auto s = open_store(folder.path);
    REQUIRE(commit_one(*s, numbered_batch(1)));
    REQUIRE(require_in_step(*s) == 1);
  }
}

TEST_CASE("a power cut takes back nothing that was acknowledged and tears nothing apart") {
  bool reached = true;
  for (int at = 1; reached; ++at) {
    for (unsigned seed : {0u, 1u, 2u}) {
      INFO("cut at call " << at << ", seed " << seed);
      scratch_folder folder{medium::memory};
      int ends[2];
      REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
      unique_fd from{ends[0]}, to{ends[1]};
      REQUIRE(commit_one(*open_store(folder.path), numbered_batch(0)));
      child writer{[&] {
        auto s = store::open(folder.path, "m1", by_hand);
        disk_faults::cut_power_at(at, seed);
        for (int next = 1; next < 9; ++next) {
          // Both environments most of the time, one of the two now and then; every third commit is followed by a
          // checkpoint.
          if (next % 3 == 0 && !(*s)->checkpoint()) ::_exit(1);
          batch b = numbered_batch(next);
          if (next == 4) b = {{}, {{table::journal, "j", "4"}}, {make_event("a", record_name(0))}};
          if (next == 6) b = {{}, {{table::config, "k", "6"}}, {}};
          if (!commit_one(**s, b) || ::write(to.get(), &next, sizeof next) != sizeof next) ::_exit(1);
        }
        ::_exit(0);
      }};
      to.reset();
      reached = killed(writer.wait());
      int acked = 0;
      while (::read(from.get(), &acked, sizeof acked) == 4) {
      }
      if (at % 5 == 0) { // and another cut in the recovery
        child opener{[&] {
          disk_faults::cut_power_at(1 + at % 7, seed);
          auto s = store::open(folder.path, "m1", by_hand);
          ::_exit(s && (*s)->checkpoint() ? 0 : 1);
        }};
        int status = opener.wait();
        REQUIRE((killed(status) || status == 0));
      }
      auto s = open_store(folder.path);
      auto instances = contents(*s, table::instances);
      for (int i = 0; i <= acked; ++i) REQUIRE((i == 4 || i == 6 || instances.count(record_name(i)) == 1));
      if (acked >= 4) REQUIRE(s->read().get(table::journal, "j") == "4");
      if (acked >= 6) REQUIRE(s->read().get(table::config, "k") == "6");
      REQUIRE(contents(*s, table::statuses) == instances);
      uint64_t expected = 2 * instances.size() + contents(*s, table::journal).size();
      REQUIRE(s->last_seq() == expected);
      REQUIRE(contents(*s, table::events).size() == expected);
      REQUIRE(contents(*s, table::history).size() == expected);
    }
  }
}
