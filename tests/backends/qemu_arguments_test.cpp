#include "tests/backends/qemu_fixture.hpp"

#include "backends/instance/qemu/machine_arguments.hpp"
#include "backends/instance/qemu/machine_devices.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/xattr.h>

using namespace troupe;
using namespace troupe::qemu;
using troupe::test::qemu_world;

namespace {

using words = std::vector<std::string>;

machine_host host(const qemu_world& world, bool kvm = false) {
  return {kvm, 8ULL << 30, {0, 1, 2, 3}, world.place / "firmware", 5};
}

machine_ends ends() { return {unique_fd{::open("/dev/null", O_RDWR)}, unique_fd{::open("/dev/null", O_RDWR)}, ""}; }

outcome<machine_command> command_of(const qemu_world& world, const boot_plan& plan, bool kvm = false) {
  return make_command(plan, host(world, kvm), ends());
}

std::string value_of(const words& all, const std::string& option) {
  auto at = std::find(all.begin(), all.end(), option);
  return at == all.end() ? "" : *(at + 1);
}

/// The devices with a member of that value.
std::vector<json> devices_with(const words& all, const std::string& member, const std::string& value,
                               const std::string& option = "-device") {
  std::vector<json> out;
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    if (all[i] != option) continue;
    auto each = json::parse(all[i + 1]);
    if (each.contains(member) && each[member] == value) out.push_back(each);
  }
  return out;
}

std::string text_in(const std::string& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

TEST_CASE("the configuration decides the machine", "[qemu]") {
  qemu_world world{"table"};
  struct row {
    config_map config;
    bool kvm;
    const char *accel, *cpus, *memory;
    bool smm;
  };
  const row rows[] = {
      {{}, false, "tcg,thread=multi", "cpus=1,", "size=1024M", true},
      {{}, true, "kvm", "cpus=1,", "size=1024M", true},
      {{{"limits.cpu", "2"}}, false, "tcg,thread=single", "cpus=2,", "size=1024M", true},
      {{{"limits.cpu", "2"}, {"security.secureboot", "false"}},
       false,
       "tcg,thread=multi",
       "cpus=2,",
       "size=1024M",
       false},
      {{{"limits.cpu", "1-3"}, {"limits.memory", "25%"}}, true, "kvm", "cpus=3,", "size=2047M", true},
      {{{"limits.memory", "512MB"}}, true, "kvm", "cpus=1,", "size=488M", true},
  };
  for (const auto& each : rows) {
    auto plan = world.plan();
    plan.config = each.config;
    auto made = command_of(world, plan, each.kvm);
    INFO((made ? "" : made.error().message));
    REQUIRE(made);
    CHECK(made->words[0] == "/usr/bin/qemu-system-x86_64");
    CHECK(value_of(made->words, "-accel") == each.accel);
    CHECK(value_of(made->words, "-cpu") == (each.kvm ? "host" : "max"));
    CHECK(value_of(made->words, "-smp").starts_with(each.cpus));
    CHECK(value_of(made->words, "-m") == each.memory);
    CHECK((value_of(made->words, "-machine").find("smm=on") != std::string::npos) == each.smm);
    CHECK(value_of(made->words, "-uuid") == plan.uuid);
    CHECK(value_of(made->words, "-sandbox").starts_with("on,"));
    CHECK(value_of(made->words, "-vnc") == "none");
  }
}

TEST_CASE("values that no machine can have are refused", "[qemu]") {
  qemu_world world{"values"};
  struct row {
    const char *key, *value;
    fault code;
  };
  const row rows[] = {
      {"limits.cpu", "0", fault::invalid},          {"limits.cpu", "9-10", fault::invalid},
      {"limits.cpu", "many", fault::invalid},       {"limits.memory", "1MiB", fault::invalid},
      {"limits.memory", "much", fault::invalid},    {"limits.memory.hugepages", "true", fault::unsupported},
      {"security.csm", "true", fault::unsupported}, {"raw.qemu.conf", "[device \"x\"]", fault::unsupported},
      {"raw.qemu", "-name 'x", fault::invalid},
  };
  for (const auto& each : rows) {
    auto plan = world.plan();
    plan.config[each.key] = each.value;
    auto made = command_of(world, plan);
    INFO(each.key << "=" << each.value);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == each.code);
  }
  auto plan = world.plan();
  plan.nodes.push_back({"fuse", "/dev/fuse", 'c', 10, 229});
  CHECK(command_of(world, plan).error().code == fault::unsupported);
}

TEST_CASE("drives boot by their priority, and files are never guessed at", "[qemu]") {
  qemu_world world{"drives"};
  auto plan = world.plan();
  world.make_disk(world.place / "cd.iso", 4096);
  drive_plan cd;
  cd.device = "install";
  cd.file = world.place / "cd.iso";
  cd.kind = drive_kind::cdrom;
  cd.boot_priority = 10;
  drive_plan fast;
  fast.device = "fast";
  fast.file = world.place / "fast.img";
  fast.bus = "nvme";
  fast.cache = "unsafe";
  world.make_disk(fast.file, 4096);
  plan.drives.insert(plan.drives.begin(), fast);
  plan.drives.push_back(cd);
  auto made = command_of(world, plan);
  REQUIRE(made);
  CHECK(devices_with(made->words, "id", "dev-install")[0]["bootindex"] == 0);
  CHECK(devices_with(made->words, "id", "dev-root")[0]["bootindex"] == 1);
  CHECK(devices_with(made->words, "id", "dev-fast")[0]["bootindex"] == 2);
  CHECK(devices_with(made->words, "id", "dev-root")[0]["serial"] == "lxd_root");
  CHECK(devices_with(made->words, "id", "dev-install")[0]["driver"] == "scsi-cd");
  CHECK(devices_with(made->words, "id", "dev-fast")[0]["bus"] == "port0");
  CHECK(devices_with(made->words, "driver", "pcie-root-port").size() == 1 + spare_ports);
  for (auto& node : devices_with(made->words, "driver", "throttle", "-blockdev")) {
    CHECK(node["file"]["driver"] == "raw");
    CHECK(node["file"]["file"]["filename"].get<std::string>().starts_with("/dev/fdset/"));
    CHECK(node["read-only"] == (node["node-name"] == "drive-install"));
    CHECK(node["cache"]["no-flush"] == (node["node-name"] == "drive-fast"));
  }
  for (const auto& word : made->words)
    CHECK(word.find(world.place.string()) == std::string::npos); // no path reaches it
  plan.drives[0].bus = "ide";
  CHECK(command_of(world, plan).error().code == fault::invalid);
}

TEST_CASE("a card has a queue for each descriptor of its tap", "[qemu]") {
  qemu_world world{"cards"};
  auto plan = world.plan();
  nic_plan one, two;
  one.device = "eth0";
  one.hwaddr = two.hwaddr = "00:16:3e:00:00:01";
  two.device = "uplink";
  auto queue = [] { return std::make_shared<unique_fd>(::open("/dev/null", O_RDWR)); };
  one.queues = {queue()};
  two.queues = {queue(), queue()};
  plan.nics = {one, two};
  auto made = command_of(world, plan);
  REQUIRE(made);
  CHECK(devices_with(made->words, "id", "net-eth0", "-netdev")[0].contains("fd"));
  auto both = devices_with(made->words, "id", "net-uplink", "-netdev")[0]["fds"].get<std::string>();
  auto last = 5 + made->descriptors.size() - 1;
  CHECK(both == std::to_string(last - 1) + ":" + std::to_string(last));
  auto device = devices_with(made->words, "id", "dev-uplink")[0];
  CHECK(device["mq"] == true);
  CHECK(device["romfile"] == "");
  CHECK(device["vectors"] == 6);
  plan.nics[0].queues.clear();
  CHECK(command_of(world, plan).error().code == fault::unsupported);
}

TEST_CASE("the firmware's variables are kept, and made anew for another choice of secure boot", "[qemu]") {
  qemu_world world{"nvram"};
  auto nvram = world.place / "vm1/nvram";
  auto plan = world.plan();
  REQUIRE(command_of(world, plan));
  CHECK(text_in(nvram) == std::string(4096, 'p'));
  { std::ofstream{nvram, std::ios::in | std::ios::out} << "kept"; }
  REQUIRE(command_of(world, plan));
  CHECK(text_in(nvram).starts_with("kept"));
  plan.config["security.secureboot"] = "true";
  REQUIRE(command_of(world, plan));
  CHECK(text_in(nvram) == std::string(4096, 's'));
}

TEST_CASE("raw.qemu is split as a shell would, and nothing in it is run", "[qemu]") {
  CHECK(*split_words("") == words{});
  CHECK(*split_words(" -a  b\n-c\t'd e' ") == words{"-a", "b", "-c", "d e"});
  CHECK(*split_words(R"(x"y z"'' "" \ \" $(id) `id`)") == words{"xy z", "", " \"", "$(id)", "`id`"});
  CHECK_FALSE(split_words("\"open"));
  CHECK_FALSE(split_words("end\\"));
}

TEST_CASE("names in QEMU follow from those in the configuration", "[qemu]") {
  CHECK(device_id("eth0") == "dev-eth0");
  CHECK(device_id("a b").starts_with("dev-."));
  CHECK(device_id("a b") == device_id("a b"));
  CHECK(device_id("a b") != device_id("a c"));
  CHECK(device_id(".x") != "dev-.x");
  CHECK(drive_node(std::string(64, 'n')).size() <= 31);
}
