#include "tests/backends/qemu_fixture.hpp"

#include "backends/instance/lxc/proc_facts.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

using namespace troupe;
using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

bool has_qemu() { return ::access("/usr/bin/qemu-system-x86_64", X_OK) == 0; }

boot_result boot(qemu_world& world, const boot_plan& plan) {
  auto started = world.driver->start(plan);
  INFO((started ? "" : started.error().message));
  REQUIRE(started);
  return std::move(*started);
}

/// The greeting goes to the console before anybody is there; asked until it has come, each time waiting for QEMU.
std::string await_log(qemu_world& world, const std::string& wanted) {
  std::string text;
  for (int asked = 0; asked < 100000 && text.find(wanted) == std::string::npos; ++asked) {
    auto log = world.driver->console_log("vm1", false);
    REQUIRE(log);
    text = *log;
  }
  return text;
}

std::shared_ptr<unique_fd> make_tap(const char* name, int flags) {
  auto tap = std::make_shared<unique_fd>(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags);
  REQUIRE(::ioctl(tap->get(), TUNSETIFF, &request) == 0);
  return tap;
}

/// Directories of this test's cgroups that still exist, in any hierarchy.
size_t count_groups(const std::string& id) {
  size_t n = 0;
  for (const auto& h : fs::directory_iterator{"/sys/fs/cgroup"}) {
    std::error_code none;
    n += fs::exists(h.path() / id, none) + (h.path().filename() == id);
  }
  return n;
}

} // namespace

TEST_CASE("a virtual machine starts, is found by the next daemon, is killed and leaves nothing", "[qemu]") {
  if (!has_qemu()) return;
  qemu_world world{"life"};
  auto run = boot(world, world.plan());
  CHECK(run.leader == run.monitor);
  CHECK(run.monitor_start == lxc::read_proc(run.monitor).start);
  CHECK(await_log(world, "hello from the machine") == "hello from the machine\r\n");
  CHECK(*world.driver->console_log("vm1", true) == "hello from the machine\r\n");
  CHECK(world.driver->console_log("vm1", false)->empty());
  auto again = world.driver->start(world.plan());
  REQUIRE_FALSE(again);
  CHECK(again.error().code == fault::wrong_state);

  world.driver.reset();
  world.driver = world.make();
  auto found = world.driver->find("vm1");
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->leader == run.leader);
  CHECK((*found)->monitor_start == run.monitor_start);
  CHECK_FALSE((*found)->frozen);
  CHECK(lxc::read_status(run.leader, "CapEff") == "0000000000000000");
  CHECK(lxc::read_status(run.leader, "NoNewPrivs") == "1");
  CHECK(lxc::read_status(run.leader, "Seccomp") == "2");
  CHECK(lxc::read_status(run.leader, "Uid").starts_with("4278"));
  CHECK(world.driver->measure("vm1", run.leader).memory > 0);

  REQUIRE(world.driver->kill("vm1", run.leader));
  REQUIRE(becomes_readable(run.monitor_pidfd.get()));
  CHECK_FALSE(*world.driver->find("vm1"));
  CHECK(world.driver->sweep("vm1").empty());
  CHECK_FALSE(fs::exists(world.place / "run/vm1"));
  world.driver.reset();
  CHECK(count_groups(world.id) == 0);
  world.driver = world.make();
}

TEST_CASE("a virtual machine freezes, is pictured, tells of its resets and of its end", "[qemu]") {
  if (!has_qemu()) return;
  qemu_world world{"acts"};
  auto run = boot(world, world.plan());
  REQUIRE(world.driver->freeze("vm1"));
  CHECK((*world.driver->find("vm1"))->frozen);
  REQUIRE(world.driver->unfreeze("vm1"));
  CHECK_FALSE((*world.driver->find("vm1"))->frozen);

  auto picture = world.driver->screenshot("vm1");
  INFO((picture ? "" : picture.error().message));
  REQUIRE(picture);
  CHECK(picture->starts_with("\x89PNG"));
  auto screen = world.driver->display("vm1", "vnc");
  REQUIRE(screen);
  CHECK(read_until(screen->get(), "\n").starts_with("RFB "));
  REQUIRE(world.driver->display("vm1", "spice"));
  CHECK_FALSE(world.driver->display("vm1", "x11"));

  await_log(world, "hello");
  {
    auto console = world.driver->console("vm1", 80, 25);
    REQUIRE(console);
    auto second = world.driver->console("vm1", 80, 25);
    REQUIRE(second);
    CHECK(becomes_readable((*second)->done_fd()));
    CHECK(*(*second)->result() != 0);
    REQUIRE(::write((*console)->pty(), "x", 1) == 1);
    CHECK(read_until((*console)->pty(), "x") == "x");
    REQUIRE(::write((*console)->pty(), "r", 1) == 1);
    CHECK(world.await_news("reset"));
    CHECK(read_until((*console)->pty(), "machine\r\n") == "hello from the machine\r\n");
  }
  CHECK(await_log(world, "xhello").find("machine\r\nxhello from") != std::string::npos);
  auto console = world.driver->console("vm1", 80, 25); // the seat is free again
  REQUIRE(console);
  REQUIRE(::write((*console)->pty(), "s", 1) == 1);
  CHECK(world.await_news("shutdown"));
  CHECK(becomes_readable(run.leader_pidfd.get()));
  CHECK(becomes_readable((*console)->done_fd()));
  CHECK(world.driver->freeze("vm1").error().code == fault::wrong_state);
}

TEST_CASE("a stopped QEMU makes nobody wait for ever, and can be killed", "[qemu]") {
  if (!has_qemu()) return;
  qemu_world world{"stopped"};
  auto run = boot(world, world.plan());
  REQUIRE(::kill(run.leader, SIGSTOP) == 0);
  auto frozen = world.driver->freeze("vm1");
  REQUIRE_FALSE(frozen);
  CHECK(frozen.error().code == fault::timed_out);
  auto found = world.driver->find("vm1");
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->leader == run.leader);
  REQUIRE(world.driver->kill("vm1", run.leader));
  CHECK(becomes_readable(run.leader_pidfd.get()));
}

TEST_CASE("disks come and go while a virtual machine runs, and their limits change", "[qemu]") {
  if (!has_qemu()) return;
  qemu_world world{"disks"};
  auto run = boot(world, world.plan());
  live_instance it{"vm1", run.leader, {}};
  drive_plan more;
  more.device = "a disk with an odd, long name";
  more.file = world.place / "more.img";
  more.write_ops = 100;
  world.make_disk(more.file, 1 << 20);
  for (int round = 0; round < 2; ++round) { // twice each: repeating succeeds
    auto plugged = world.driver->plug(it, more);
    INFO((plugged ? "" : plugged.error().message));
    REQUIRE(plugged);
    REQUIRE(world.driver->plug(it, more));
    auto config = world.plan().config;
    CHECK(world.driver->limit("vm1", config, {{more.file, 1 << 20, 0, 0, 0}}));
    CHECK(world.driver->limit("vm1", config, {{"/nowhere", 1 << 20, 0, 0, 0}}).error().code == fault::not_found);
    // QEMU frees it when all emulated CPUs have paused for a moment; these never do by themselves.
    REQUIRE(world.driver->freeze("vm1"));
    auto gone = world.driver->unplug(it, more);
    INFO((gone ? "" : gone.error().message));
    REQUIRE(gone);
    REQUIRE(world.driver->unplug(it, more));
    REQUIRE(world.driver->unfreeze("vm1"));
  }
  auto config = world.plan().config;
  config["limits.memory"] = "1GiB";
  CHECK(world.driver->limit("vm1", config, {}).error().code == fault::unsupported);
  config["limits.memory"] = "64MiB";
  config["limits.cpu"] = "2";
  CHECK(world.driver->limit("vm1", config, {}).error().code == fault::unsupported);
  more.file = world.place / "none.img";
  CHECK_FALSE(world.driver->plug(it, more));
}

TEST_CASE("cards are taps by their descriptors, from the start and later", "[qemu]") {
  if (!has_qemu() || ::access("/dev/net/tun", R_OK | W_OK) != 0) return;
  qemu_world world{"cards"};
  auto plan = world.plan();
  nic_plan first, second;
  first.device = "eth0";
  first.hwaddr = "00:16:3e:11:22:33";
  first.queues = {make_tap("trq0", 0)};
  second.device = "eth1";
  second.hwaddr = "00:16:3e:11:22:34";
  second.queues = {make_tap("trq1", IFF_MULTI_QUEUE), make_tap("trq1", IFF_MULTI_QUEUE)};
  plan.nics.push_back(first);
  auto run = boot(world, plan);
  live_instance it{"vm1", run.leader, {}};
  for (int twice = 0; twice < 2; ++twice) {
    auto plugged = world.driver->plug(it, second);
    INFO((plugged ? "" : plugged.error().message));
    CHECK(plugged);
  }
  second.device = "eth2";
  second.queues.clear();
  CHECK(world.driver->plug(it, second).error().code == fault::unsupported);
}

TEST_CASE("what cannot start says why and leaves nothing", "[qemu]") {
  if (!has_qemu()) return;
  qemu_world world{"refused"};
  auto plan = world.plan();
  plan.config["raw.qemu"] = "-device no-such-thing";
  auto started = world.driver->start(plan);
  REQUIRE_FALSE(started);
  CHECK(started.error().code == fault::backend_failed);
  CHECK(started.error().message.find("no-such-thing") != std::string::npos);
  CHECK_FALSE(fs::exists(world.place / "run/vm1"));
  plan = world.plan();
  plan.drives[0].file = world.place / "missing.img";
  CHECK(world.driver->start(plan).error().message.find("missing.img") != std::string::npos);
  plan = world.plan();
  plan.architecture = "vax";
  CHECK(world.driver->start(plan).error().code == fault::unsupported);
  CHECK_FALSE(*world.driver->find("vm1"));
  CHECK_FALSE(world.driver->version().empty());
}

/// By hand only, since it needs a bootable raw image and takes a minute where QEMU has to emulate:
///   TROUPE_BOOT_IMAGE=disk.raw TROUPE_BOOT_TEXT="ready" test_backends "[qemu-boot]"
TEST_CASE("an operating system boots by secure boot, takes a disk, gives it back and shuts down when asked",
          "[.][qemu-boot]") {
  const char* image = std::getenv("TROUPE_BOOT_IMAGE");
  const char* text = std::getenv("TROUPE_BOOT_TEXT");
  REQUIRE(image);
  REQUIRE(text);
  qemu_world world{"boot"};
  fs::remove_all(world.place / "firmware");
  fs::create_directory_symlink("/usr/share/OVMF", world.place / "firmware");
  auto plan = world.plan();
  plan.config = {{"limits.memory", "512MiB"}};
  fs::copy_file(image, world.place / "vm1/root.img", fs::copy_options::overwrite_existing);
  auto run = boot(world, plan);
  auto console = world.driver->console("vm1", 80, 25);
  REQUIRE(console);
  std::string said;
  for (int part = 0; part < 1000 && said.find(text) == std::string::npos; ++part)
    said += read_until((*console)->pty(), "\n");
  INFO(said);
  CHECK(said.find(text) != std::string::npos);
  live_instance it{"vm1", run.leader, {}};
  drive_plan more;
  more.device = "more";
  more.file = world.place / "more.img";
  world.make_disk(more.file, 1 << 20);
  for (auto bus : {"virtio-scsi", "virtio-blk", "nvme"}) {
    more.bus = bus;
    INFO(bus);
    auto plugged = world.driver->plug(it, more);
    INFO((plugged ? "" : plugged.error().message));
    REQUIRE(plugged);
    auto gone = world.driver->unplug(it, more);
    INFO((gone ? "" : gone.error().message));
    CHECK(gone);
  }
  auto config = plan.config;
  config["limits.memory"] = "400MiB";
  CHECK(world.driver->limit("vm1", config, {{world.place / "vm1/root.img", 1 << 20, 0, 0, 0}}));
  WARN("memory of QEMU: " << (world.driver->measure("vm1", run.leader).memory >> 20) << " MiB");
  CHECK(world.driver->screenshot("vm1"));
  REQUIRE(world.driver->request_stop("vm1", run.leader));
  CHECK(becomes_readable(run.leader_pidfd.get()));
  CHECK(world.await_news("shutdown"));
}
