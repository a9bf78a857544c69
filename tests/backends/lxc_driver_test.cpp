#include "tests/backends/lxc_fixture.hpp"

#include "backends/instance/lxc/proc_facts.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <sys/syscall.h>

using namespace troupe;
using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

std::string slurp(const fs::path& path) { return lxc::read_small(path); }

/// Directories of this test's cgroups that still exist, in any hierarchy.
size_t count_cgroups(const std::string& id) {
  size_t n = 0;
  for (const auto& h : fs::directory_iterator{"/sys/fs/cgroup"}) {
    std::error_code none;
    n += fs::exists(h.path() / id, none) + (h.path().filename() == id);
  }
  return n;
}

boot_result boot(lxc_world& world, const boot_plan& plan) {
  auto started = world.driver->start(plan);
  INFO((started ? "" : started.error().message) << slurp(world.place / "log/lxc.log"));
  REQUIRE(started);
  return std::move(*started);
}

void take_down(lxc_world& world, const boot_result& run) {
  REQUIRE(world.driver->kill("c1", run.leader));
  REQUIRE(readable(run.monitor_pidfd.get()));
}

/// Waits for a file inside without looking at a clock: the container is asked to wait for it itself.
void await_boot(lxc_world& world, pid_t leader) {
  world.shell(leader, "while [ ! -e /run/booted ]; do sleep 0.05; done");
}

} // namespace

TEST_CASE("a container starts, is found, stops when asked and leaves nothing", "[lxc]") {
  lxc_world world{"life"};
  auto run = boot(world, world.plan());
  CHECK(lxc::read_proc(run.leader).parent == run.monitor);
  CHECK(lxc::read_proc(run.monitor).start == run.monitor_start);
  auto found = world.driver->find("c1");
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->leader == run.leader);
  CHECK((*found)->monitor == run.monitor);
  CHECK((*found)->monitor_start == run.monitor_start);
  CHECK_FALSE((*found)->frozen);
  auto again = world.driver->start(world.plan());
  REQUIRE_FALSE(again);
  CHECK(again.error().code == fault::wrong_state);

  await_boot(world, run.leader);
  REQUIRE(world.driver->request_stop("c1", run.leader));
  REQUIRE(readable(run.leader_pidfd.get()));
  REQUIRE(readable(run.monitor_pidfd.get()));
  auto gone = world.driver->find("c1");
  REQUIRE(gone);
  CHECK_FALSE(*gone);
  world.driver->sweep("c1");
  world.driver = nullptr;
  CHECK(count_cgroups(world.id) == 0);
  world.driver = world.make();
  CHECK(world.driver->kill("c1", run.leader)); // repeating is harmless
}

TEST_CASE("a killed container leaves no cgroup of its own", "[lxc]") {
  lxc_world world{"kill"};
  auto run = boot(world, world.plan());
  take_down(world, run);
  for (const auto& h :
       fs::recursive_directory_iterator{"/sys/fs/cgroup", fs::directory_options::skip_permission_denied}) {
    INFO(h.path().string());
    CHECK_FALSE(
        (h.is_directory() && h.path().parent_path().filename() == world.id && h.path().filename() != "lxc.pivot"));
  }
}

TEST_CASE("the configuration reaches the container", "[lxc]") {
  lxc_world world{"config"};
  auto plan = world.plan();
  plan.name = "guest-name";
  plan.config = {{"environment.COLOUR", "green"},
                 {"limits.memory", "64MiB"},
                 {"limits.processes", "77"},
                 {"limits.cpu", "1"},
                 {"limits.cpu.allowance", "25ms/100ms"},
                 {"linux.sysctl.net.ipv4.ip_forward", "1"},
                 {"limits.kernel.nofile", "1000:2000"},
                 {"raw.lxc", "# a comment\nlxc.environment = RAW=yes\n"}};
  plan.files = {{"/etc/made/deep/by-template", "content\n", false},
                {"/etc/passwd", "never\n", true},
                {"/etc/inittab", "::respawn:/bin/sleep 5000\n", false}};
  ::chmod((world.place / "c1/rootfs/etc/inittab").c_str(), 0600);
  auto run = boot(world, plan);
  auto seen = world.shell(run.leader, "cat /proc/sys/kernel/hostname; cat /proc/1/environ; cat "
                                      "/etc/made/deep/by-template; ls -ln /etc/inittab /etc/made/deep; "
                                      "cat /proc/sys/net/ipv4/ip_forward; cat /proc/1/limits; head -1 /etc/passwd");
  INFO(seen);
  CHECK(seen.starts_with("guest-name\n"));
  CHECK(seen.find("COLOUR=green") != seen.npos);
  CHECK(seen.find("RAW=yes") != seen.npos);
  CHECK(seen.find("container=lxc") != seen.npos);
  CHECK(seen.find("content\n") != seen.npos);
  CHECK(seen.find("-rw-------    1 0        0") != seen.npos);
  CHECK(seen.find("-rw-r--r--    1 0        0") != seen.npos);
  CHECK(seen.find("Max open files            1000                 2000") != seen.npos);
  CHECK(seen.find("root:x:0:0") != seen.npos);
  auto map = slurp("/proc/" + std::to_string(run.leader) + "/uid_map");
  CHECK(map.find("2000000") != map.npos);
  auto memory = "/sys/fs/cgroup/memory/" + world.id + "/payload.c1/";
  if (fs::exists("/sys/fs/cgroup/memory")) {
    CHECK(slurp(memory + "memory.limit_in_bytes") == "67108864\n");
    CHECK(slurp("/sys/fs/cgroup/pids/" + world.id + "/payload.c1/pids.max") == "77\n");
    CHECK(slurp("/sys/fs/cgroup/cpu/" + world.id + "/payload.c1/cpu.cfs_quota_us") == "25000\n");
  }
  auto usage = world.driver->measure("c1", run.leader);
  CHECK(usage.processes >= 1);
  CHECK(usage.cpu_ns > 0);
  CHECK(usage.memory > 0);
  CHECK(usage.memory_peak >= usage.memory);
  take_down(world, run);
}

TEST_CASE("a network card is attached to its bridge and goes with the container", "[lxc]") {
  lxc_world world{"nic"};
  auto bridge = "tl" + std::to_string(::getpid()) + "b", host_name = "tl" + std::to_string(::getpid()) + "v";
  REQUIRE(run_program({"ip", "link", "add", bridge, "type", "bridge"}) == 0);
  auto plan = world.plan();
  plan.nics = {{bridge, host_name, "eth7", "00:16:3e:11:22:33", 1400}};
  auto started = world.driver->start(plan);
  std::string seen;
  if (started) {
    CHECK(fs::exists("/sys/class/net/" + bridge + "/brif/" + host_name));
    seen = world.shell(started->leader, "cat /sys/class/net/eth7/address /sys/class/net/eth7/mtu");
    take_down(world, *started);
    CHECK_FALSE(fs::exists("/sys/class/net/" + host_name));
  }
  run_program({"ip", "link", "del", bridge});
  REQUIRE(started);
  CHECK(seen == "00:16:3e:11:22:33\n1400\n");
}

TEST_CASE("a failed start says why and leaves nothing", "[lxc]") {
  lxc_world world{"fail"};
  auto plan = world.plan();
  std::string expected;
  SECTION("without init") {
    fs::remove(world.place / "c1/rootfs/sbin/init");
    expected = "init";
  }
  SECTION("with a bridge that does not exist") {
    plan.nics = {{"no-such-bridge", "tl" + std::to_string(::getpid()) + "x", "eth0", "", 0}};
    expected = "bridge";
  }
  SECTION("with a raw key that liblxc refuses") {
    plan.config["raw.lxc"] = "lxc.nonsense = 1";
    expected = "lxc.nonsense";
  }
  SECTION("with a template that would leave the root") {
    fs::remove_all(world.place / "c1/rootfs/etc");
    fs::create_symlink("/dev/null/x", world.place / "c1/rootfs/etc");
    plan.files = {{"/etc/hostname", "x", false}};
    expected = "/etc";
  }
  auto started = world.driver->start(plan);
  REQUIRE_FALSE(started);
  INFO(started.error().message);
  CHECK(started.error().message.find(expected) != std::string::npos);
  CHECK_FALSE(*world.driver->find("c1"));
  CHECK_FALSE(fs::exists("/sys/class/net/tl" + std::to_string(::getpid()) + "x"));
  world.driver->sweep("c1");
  world.driver = nullptr;
  CHECK(count_cgroups(world.id) == 0);
  world.driver = world.make();
}

TEST_CASE("a frozen container is seen as frozen, thaws, and dies when killed", "[lxc]") {
  lxc_world world{"freeze"};
  auto run = boot(world, world.plan());
  REQUIRE(world.driver->freeze("c1"));
  REQUIRE(world.driver->freeze("c1"));
  auto found = world.driver->find("c1");
  REQUIRE((found && *found));
  CHECK((*found)->frozen);
  REQUIRE(world.driver->unfreeze("c1"));
  CHECK_FALSE((*world.driver->find("c1"))->frozen);
  CHECK(world.shell(run.leader, "echo alive") == "alive\n");
  REQUIRE(world.driver->freeze("c1"));
  take_down(world, run);
  CHECK_FALSE(world.driver->freeze("c1"));
}

TEST_CASE("an overlay root keeps the image untouched and its mount goes with the container", "[lxc]") {
  lxc_world world{"overlay"};
  auto plan = world.plan();
  auto volume = world.place / "v1";
  fs::create_directories(volume / "upper");
  fs::create_directories(volume / "work");
  plan.root = {volume, world.place / "c1", volume / "upper", volume / "work", false};
  plan.files = {{"/etc/hostname", "templated\n", false}};
  auto started = world.driver->start(plan);
  if (!started && started.error().code == fault::unsupported) {
    WARN("this kernel maps no ids of overlay layers: " << started.error().message);
    return;
  }
  INFO((started ? "" : started.error().message));
  REQUIRE(started);
  auto seen = world.shell(
      started->leader,
      "cat /etc/hostname; ls -ln /etc/hostname /etc/passwd; echo more >> /etc/passwd; id -u user; touch /root/new");
  CHECK(seen.starts_with("templated\n"));
  CHECK(seen.find("0        0") != seen.npos);
  CHECK(seen.find("65534") == seen.npos);
  CHECK(slurp("/proc/mounts").find(world.id) == std::string::npos);
  take_down(world, *started);
  CHECK(slurp(world.place / "c1/rootfs/etc/passwd").find("more") == std::string::npos);
  CHECK(slurp(volume / "upper/rootfs/etc/passwd").find("more") != std::string::npos);
  struct stat st {};
  REQUIRE(::stat((volume / "upper/rootfs/root/new").c_str(), &st) == 0);
  CHECK(st.st_uid == 0); // unshifted on disk

  file_root stopped{0, plan.root, plan.ids};
  auto read = world.driver->read_file(stopped, "/etc/passwd");
  REQUIRE(read);
  CHECK(read_all(read->content.get()).find("more") != std::string::npos);
  file_write how;
  how.uid = 1000;
  auto written = world.driver->write_file(stopped, "/etc/pushed", how);
  REQUIRE(written);
  CHECK(::write(written->get(), "x", 1) == 1);
  written->reset();
  REQUIRE(::stat((volume / "upper/rootfs/etc/pushed").c_str(), &st) == 0);
  CHECK(st.st_uid == 1000);
  CHECK(world.driver->remove_file(stopped, "/etc/group"));
  CHECK(world.driver->read_file(stopped, "/etc/group").error().code == fault::not_found);
  CHECK(fs::exists(world.place / "c1/rootfs/etc/group"));
}

TEST_CASE("a reboot from inside is awaited and keeps the monitor", "[lxc]") {
  lxc_world world{"reboot"};
  auto run = boot(world, world.plan());
  await_boot(world, run.leader);
  int status = 0;
  world.shell(run.leader, "reboot -f", &status);
  REQUIRE(readable(run.leader_pidfd.get()));
  auto again = world.driver->await_reboot("c1");
  REQUIRE(again);
  REQUIRE(*again);
  CHECK((*again)->leader != run.leader);
  CHECK((*again)->monitor == run.monitor);
  CHECK(world.shell((*again)->leader, "echo up") == "up\n");
  auto second = lxc_world::pidfd((*again)->leader);
  world.driver->kill("c1", (*again)->leader);
  REQUIRE(readable(second.get()));
  auto down = world.driver->await_reboot("c1");
  REQUIRE(down);
  CHECK_FALSE(*down);
  REQUIRE(readable(run.monitor_pidfd.get()));
}

TEST_CASE("containers outlive the helper and its daemon", "[lxc]") {
  lxc_world world{"outlive"};
  auto run = boot(world, world.plan());
  auto helper = lxc::read_status(run.monitor, "PPid");
  world.driver = world.make(); // the old driver and its helper are gone
  auto found = world.driver->find("c1");
  REQUIRE((found && *found));
  CHECK((*found)->leader == run.leader);
  // The helper of the new driver is killed under it.
  for (const auto& entry : fs::directory_iterator{"/proc"}) {
    auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    auto words = slurp(entry.path() / "cmdline");
    if (lxc::read_proc(std::stoi(name)).parent == ::getpid() && words.find("troupe-lxc") != words.npos)
      ::kill(std::stoi(name), SIGKILL);
  }
  CHECK(world.shell(run.leader, "echo still") == "still\n");
  take_down(world, run);
}

TEST_CASE("the console's output can be read and cleared", "[lxc]") {
  lxc_world world{"console"};
  auto run = boot(world, world.plan());
  await_boot(world, run.leader);
  std::string log;
  for (int tries = 0; tries < 200 && log.find("hello console") == log.npos; ++tries) { // written by another process
    auto text = world.driver->console_log("c1", false);
    REQUIRE(text);
    log = *text;
    ::usleep(10000);
  }
  CHECK(log.find("hello console") != log.npos);
  REQUIRE(world.driver->console_log("c1", true));
  CHECK(world.driver->console_log("c1", false)->find("hello console") == std::string::npos);
  take_down(world, run);
}
