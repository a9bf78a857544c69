#include "tests/backends/qemu_fixture.hpp"

#include "backends/instance/lxc/proc_facts.hpp"
#include "backends/instance/qemu/launch.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <set>
#include <sys/socket.h>

using namespace troupe;
using namespace troupe::qemu;
using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

/// A program in QEMU's place, which talks to the test over descriptor 5.
struct stand_in {
  fs::path place;
  unique_fd ours, output, pidfd;
  machine_process process;

  explicit stand_in(const std::string& script) : place{"/tmp/trtest-sandbox-" + std::to_string(::getpid())} {
    fs::create_directories(place);
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    ours.reset(fds[0]);
    machine_command command;
    command.words = {"/bin/busybox", "sh", "-c", script};
    command.descriptors.emplace_back(fds[1]);
    auto room = bounded_output();
    REQUIRE(room);
    output = std::move(*room);
    auto started = launch(qemu_world::helper(), false, {}, std::move(command), place, output);
    INFO((started ? "" : started.error().message));
    REQUIRE(started);
    process = *started;
  }
  ~stand_in() {
    if (process.pid > 0) ::kill(process.pid, SIGKILL);
    std::error_code ignored;
    fs::remove_all(place, ignored);
  }
  fs::path proc() const { return "/proc/" + std::to_string(process.pid); }
};

} // namespace

TEST_CASE("what stands in QEMU's place has its descriptors and nothing else", "[qemu]") {
  if (::access("/bin/busybox", X_OK) != 0) return;
  stand_in qemu{"b=/bin/busybox; exec >&5 2>&1; echo root: $($b ls /) ; echo pid $$;"
                "$b cat /etc/passwd && echo BAD; $b ls /root /home /tmp /dev /proc /sys && echo BAD;"
                "$b touch /x /usr/x /usr/lib/x /lib/x && echo BAD; $b mount -t tmpfs none /run && echo BAD;"
                "$b mknod /run/n c 1 3 && echo BAD; $b chroot / $b true && echo BAD;"
                "$b touch /run/mine && echo own; echo done; $b cat <&5"};
  auto said = read_until(qemu.ours.get(), "done\n");
  INFO(said);
  CHECK(said.find("BAD") == std::string::npos);
  CHECK(said.find("pid 1\n") != std::string::npos);
  CHECK(said.find("own\n") != std::string::npos);
  CHECK(said.find("etc") == said.find("etc/passwd"));

  auto status = [&](const char* field) { return lxc::read_status(qemu.process.pid, field); };
  for (auto set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) CHECK(status(set) == "0000000000000000");
  CHECK(status("NoNewPrivs") == "1");
  auto uid = std::to_string(0xff000000ULL + static_cast<unsigned>(qemu.process.pid));
  for (auto field : {"Uid", "Gid"}) CHECK(status(field) == uid + "\t" + uid + "\t" + uid + "\t" + uid);
  for (auto kind : {"mnt", "net", "ipc", "uts", "pid", "cgroup"})
    CHECK(fs::read_symlink(qemu.proc() / "ns" / kind) != fs::read_symlink(fs::path{"/proc/self/ns"} / kind));
  std::set<std::string> open;
  for (const auto& fd : fs::directory_iterator{qemu.proc() / "fd"}) open.insert(fd.path().filename());
  CHECK(open == std::set<std::string>{"0", "1", "2", "5"});
  CHECK(lxc::read_proc(qemu.process.pid).parent != ::getpid()); // it outlives us
}

TEST_CASE("what QEMU prints is kept up to a bound", "[qemu]") {
  if (::access("/bin/busybox", X_OK) != 0) return;
  stand_in qemu{"echo first; i=0; while [ $i -lt 9000 ]; do echo 0123456789; i=$((i+1)); done; echo done >&5; "
                "/bin/busybox cat <&5"};
  read_until(qemu.ours.get(), "done\n");
  auto said = read_output(qemu.output);
  CHECK(said.starts_with("first\n0123456789\n"));
  CHECK(said.size() <= 64 << 10);
}

TEST_CASE("a program that cannot be executed is an error with its reason", "[qemu]") {
  auto place = fs::path{"/tmp/trtest-noexec-" + std::to_string(::getpid())};
  fs::create_directories(place);
  qemu_world::put(place / "text", "no program");
  auto output = bounded_output();
  auto started = launch(qemu_world::helper(), false, {}, {{place / "text"}, {}}, place, *output);
  REQUIRE_FALSE(started);
  CHECK(started.error().code == fault::backend_failed);
  CHECK(started.error().message.find("Cannot run") != std::string::npos);
  CHECK_FALSE(read_process(place));
  started = launch(qemu_world::helper(), false, {"/sys/fs/cgroup/there-is-none"}, {{"/bin/true"}, {}}, place, *output);
  CHECK(started.error().message.find("there-is-none") != std::string::npos);
  fs::remove_all(place);
}

TEST_CASE("the probe tells within a second whether /dev/kvm runs guests", "[qemu]") {
  auto found = probe(qemu_world::helper());
  if (found) return;
  INFO(found.error().message);
  CHECK(
      (found.error().code == fault::unsupported || found.error().code == fault::invalid)); // the latter: it was killed
}
