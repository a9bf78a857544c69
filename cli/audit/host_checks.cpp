#include "cli/audit/audit.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace troupe::audit {
namespace {

struct setting {
  const char* key; // of sysctl
  long least, most;
  const char* why;
};
constexpr long any = 1 << 20;
constexpr setting settings[] = {
    {"kernel.unprivileged_bpf_disabled", 1, any, "everybody may load BPF programs"},
    {"kernel.yama.ptrace_scope", 1, any, "a process may read the memory of its user's others"},
    {"kernel.kptr_restrict", 1, any, "everybody may read where the kernel lies"},
    {"kernel.dmesg_restrict", 1, any, "everybody, in containers too, may read the kernel's log"},
    {"kernel.perf_event_paranoid", 2, any, "everybody may measure the kernel"},
    {"kernel.randomize_va_space", 2, any, "programs lie at addresses that can be known"},
    {"kernel.kexec_load_disabled", 1, any, "root may replace the running kernel"},
    {"fs.protected_hardlinks", 1, any, "links to files of others can be made"},
    {"fs.protected_symlinks", 1, any, "links in shared folders are followed for others"},
    {"fs.protected_fifos", 1, any, "pipes of others in shared folders are written to"},
    {"fs.protected_regular", 1, any, "files of others in shared folders are written to"},
    {"fs.suid_dumpable", 0, 0, "programs that change their user leave memory dumps"},
};

// Its first line; empty: it cannot be read.
std::string first_line(const std::string& path) {
  std::ifstream in{path};
  std::string line;
  std::getline(in, line);
  return line;
}

std::string path_of(std::string key) {
  for (auto& c : key)
    if (c == '.') c = '/';
  return "/proc/sys/" + key;
}

} // namespace

// A setting that this kernel does not have protects nothing and lacks nothing.
std::vector<finding> kernel_settings(const facts& of) {
  std::vector<finding> out;
  for (auto& row : settings) {
    auto text = first_line(of.host + path_of(row.key));
    if (text.empty()) continue;
    auto value = std::strtol(text.c_str(), nullptr, 10);
    if (value < row.least || value > row.most) out.push_back({row.key, "It is " + text + ": " + row.why});
  }
  return out;
}

std::vector<finding> vulnerable_processor(const facts& of) {
  std::vector<finding> out;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{of.host + "/sys/devices/system/cpu/vulnerabilities", none})
    if (auto text = first_line(entry.path().string()); text.starts_with("Vulnerable"))
      out.push_back({entry.path().filename().string(), text});
  return out;
}

std::vector<finding> no_apparmor(const facts& of) {
  if (first_line(of.host + "/sys/module/apparmor/parameters/enabled") == "Y") return {};
  return {{"apparmor", "It is not in force"}};
}

} // namespace troupe::audit
