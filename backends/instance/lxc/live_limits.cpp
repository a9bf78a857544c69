#include "backends/instance/lxc/cgroup_names.hpp"
#include "backends/instance/lxc/lxc_limits.hpp"
#include "backends/instance/lxc/proc_facts.hpp"

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

namespace fs = std::filesystem;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool put(const std::string& path, const std::string& value) {
  std::ofstream out{path};
  out << value << std::flush;
  return out.good();
}

/// Groups below must be within a CPU set before it shrinks.
bool put_below(const fs::path& group, const std::string& file, const std::string& value) {
  std::error_code none;
  for (auto& entry : fs::directory_iterator{group, none})
    if (entry.is_directory(none)) put_below(entry.path(), file, value);
  return put(group / file, value);
}

std::string wanted_of(const cgroup_value& limit, const std::string& group) {
  if (!limit.value.empty()) return limit.value;
  if (!limit.unset.empty()) return limit.unset;
  // Without a limit a CPU set is its parent's: an empty one is not taken while processes are in it, in v2 neither.
  auto file = limit.controller.empty() ? limit.file + ".effective" : limit.file;
  return trimmed(read_small(fs::path{group}.parent_path() / file));
}

struct write_back {
  std::string path, value;
};

bool write_one(const cgroup_value& limit, const std::string& group) {
  auto path = group + "/" + limit.file;
  auto value = wanted_of(limit, group);
  return put(path, value) || (limit.file.starts_with("cpuset.") && put_below(group, limit.file, value));
}

/// A disk's whole device, "8:0": bounds cannot be set on a partition. Empty: no disk lies below that path.
std::string whole_disk(dev_t device) {
  auto numbers = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::error_code none;
  auto place = fs::canonical("/sys/dev/block/" + numbers, none);
  if (none) return {};
  if (!fs::exists(place / "partition", none)) return numbers;
  return trimmed(read_small(place.parent_path() / "dev"));
}

/// Some file systems (btrfs, overlay) have device numbers of their own: then the mount says what is below.
std::string disk_below(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) < 0) return {};
  if (S_ISBLK(st.st_mode)) return whole_disk(st.st_rdev);
  if (major(st.st_dev) != 0) return whole_disk(st.st_dev);
  std::ifstream in{"/proc/self/mountinfo"};
  std::string best, source;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words{line};
    std::string skip, point, word, type, from;
    words >> skip >> skip >> skip >> skip >> point;
    while (words >> word && word != "-") {
    }
    words >> type >> from;
    bool within = path == point || point == "/" || (path.starts_with(point) && path[point.size()] == '/');
    if (within && point.size() >= best.size()) {
      best = point;
      source = from;
    }
  }
  if (::stat(source.c_str(), &st) < 0 || !S_ISBLK(st.st_mode)) return {};
  return whole_disk(st.st_rdev);
}

struct throttle {
  const char* v1_file;
  const char* v2_word;
  uint64_t disk_limit::*amount;
};
constexpr throttle throttles[] = {
    {"blkio.throttle.read_bps_device", "rbps", &disk_limit::read_bytes},
    {"blkio.throttle.read_iops_device", "riops", &disk_limit::read_ops},
    {"blkio.throttle.write_bps_device", "wbps", &disk_limit::write_bytes},
    {"blkio.throttle.write_iops_device", "wiops", &disk_limit::write_ops},
};

} // namespace

outcome<void> write_limits(const cgroup_tree& groups, const std::string& key, const std::vector<cgroup_value>& limits) {
  std::vector<write_back> before;
  std::vector<const cgroup_value*> left;
  for (auto& limit : limits) {
    auto path = groups.path(key, limit.controller) + "/" + limit.file;
    if (limit.value.empty() && ::access(path.c_str(), F_OK) != 0) continue; // not limited, and nothing to limit it by
    before.push_back({path, trimmed(read_small(path))});
    left.push_back(&limit);
  }
  auto write = [&](const cgroup_value* limit) { return write_one(*limit, groups.path(key, limit->controller)); };
  // Some depend on each other (memory on memory with swap), which way round depends on where they come from: twice.
  std::erase_if(left, write);
  std::erase_if(left, write);
  if (left.empty()) return {};
  auto& failed = *left.front();
  for (int round = 0; round < 2; ++round)
    for (auto& file : before) put(file.path, file.value.empty() ? "\n" : file.value);
  return fail(fault::backend_failed, "The kernel does not take " + failed.file + " = " +
                                         wanted_of(failed, groups.path(key, failed.controller)) +
                                         (failed.file.starts_with("memory.") ? "; more may be in use" : ""));
}

outcome<std::vector<cgroup_value>> disk_limits_of(const std::vector<disk_limit>& disks, const host_facts& host) {
  std::vector<cgroup_value> out;
  for (auto& disk : disks) {
    bool bounded = std::any_of(std::begin(throttles), std::end(throttles), [&](auto& t) { return disk.*t.amount > 0; });
    if (!bounded) continue;
    auto device = disk_below(disk.path);
    if (device.empty())
      return fail(fault::unsupported, "No disk lies below " + disk.path + " whose I/O could be bound");
    for (auto& t : throttles) {
      if (disk.*t.amount == 0) continue;
      auto amount = std::to_string(disk.*t.amount);
      if (host.unified_cgroups)
        out.push_back({"", "io.max", device + " " + t.v2_word + "=" + amount, ""});
      else
        out.push_back({"blkio", t.v1_file, device + " " + amount, ""});
    }
  }
  return out;
}

outcome<void> write_disk_limits(const cgroup_tree& groups, const std::string& key, const host_facts& host,
                                const std::vector<cgroup_value>& wanted) {
  auto group = groups.path(key, host.unified_cgroups ? "" : "blkio");
  auto clear = [&](const std::string& file, const std::string& none) {
    std::istringstream in{read_small(group + "/" + file)};
    for (std::string line; std::getline(in, line);) put(group + "/" + file, line.substr(0, line.find(' ')) + none);
  };
  if (host.unified_cgroups)
    clear("io.max", " rbps=max wbps=max riops=max wiops=max");
  else
    for (auto& t : throttles) clear(t.v1_file, " 0");
  for (auto& limit : wanted)
    if (!put(group + "/" + limit.file, limit.value))
      return fail(fault::backend_failed, "The kernel does not take " + limit.file + " = " + limit.value);
  return {};
}

} // namespace troupe::lxc
