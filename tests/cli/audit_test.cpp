#include "cli/audit/audit.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

using namespace troupe;

namespace {

// A host of our own, as far as the checks look.
struct host {
  std::string path;

  host() {
    char pattern[] = "/tmp/audit-XXXXXX";
    path = mkdtemp(pattern);
  }
  ~host() { std::filesystem::remove_all(path); }

  void set(const std::string& file, const std::string& text) {
    auto whole = path + file;
    std::filesystem::create_directories(std::filesystem::path{whole}.parent_path());
    std::ofstream{whole} << text << '\n';
  }
  audit::facts facts() const {
    audit::facts out;
    out.host = path;
    return out;
  }
};

std::set<std::string> subjects(const std::vector<audit::finding>& found) {
  std::set<std::string> out;
  for (auto& one : found) out.insert(one.subject);
  return out;
}

} // namespace

TEST_CASE("every check has a name of its own and a remedy") {
  std::set<std::string_view> names;
  for (auto& each : audit::checks()) {
    CHECK(names.insert(each.id).second);
    CHECK_FALSE(each.remedy.empty());
    CHECK_FALSE(each.remedy.ends_with('.'));
  }
}

TEST_CASE("the kernel's settings are judged one by one, and what a kernel has not is not missed") {
  host on;
  CHECK(audit::kernel_settings(on.facts()).empty());
  on.set("/proc/sys/kernel/yama/ptrace_scope", "0");
  on.set("/proc/sys/kernel/dmesg_restrict", "1");
  on.set("/proc/sys/kernel/kptr_restrict", "0");
  on.set("/proc/sys/kernel/unprivileged_bpf_disabled", "2");
  on.set("/proc/sys/fs/suid_dumpable", "2");
  CHECK(subjects(audit::kernel_settings(on.facts())) ==
        std::set<std::string>{"kernel.yama.ptrace_scope", "kernel.kptr_restrict", "fs.suid_dumpable"});
  on.set("/proc/sys/kernel/yama/ptrace_scope", "1");
  CHECK_FALSE(subjects(audit::kernel_settings(on.facts())).contains("kernel.yama.ptrace_scope"));
}

TEST_CASE("what the processor does to us, and AppArmor") {
  host on;
  CHECK(audit::no_apparmor(on.facts()).size() == 1);
  on.set("/sys/module/apparmor/parameters/enabled", "Y");
  CHECK(audit::no_apparmor(on.facts()).empty());
  on.set("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI");
  CHECK(audit::vulnerable_processor(on.facts()).empty());
  on.set("/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode");
  CHECK(subjects(audit::vulnerable_processor(on.facts())) == std::set<std::string>{"mds"});
}

TEST_CASE("addresses that are every address") {
  audit::facts facts;
  for (auto everywhere : {":8443", "0.0.0.0:8443", "[::]:8443", "::", "10.0.0.1, [::]"}) {
    facts.server = {{"config", {{"core.https_address", everywhere}}}};
    CHECK(audit::listeners_everywhere(facts).size() == 1);
  }
  for (auto one : {"", "10.0.0.1", "[fd00::1]:8443", "127.0.0.1:1,[::1]:1"}) {
    facts.server = {{"config", {{"core.https_address", one}}}};
    CHECK(audit::listeners_everywhere(facts).empty());
  }
}
