#include "backends/instance/lxc/cgroup_counters.hpp"

#include <climits>
#include <functional>
#include <sstream>
#include <unistd.h>

namespace troupe::lxc {
namespace {

using counters = instance_driver::counters;
using text = std::optional<std::string>;

// What v1 calls otherwise; the hierarchy's sum ("total_") is what counts.
constexpr std::pair<std::string_view, std::string_view> memory_names_v1[] = {
    {"total_active_anon", "active_anon"},
    {"total_active_file", "active_file"},
    {"total_inactive_anon", "inactive_anon"},
    {"total_inactive_file", "inactive_file"},
    {"total_cache", "file"},
    {"total_rss", "anon"},
    {"total_mapped_file", "file_mapped"},
    {"total_dirty", "file_dirty"},
    {"total_writeback", "file_writeback"},
    {"total_shmem", "shmem"},
    {"total_unevictable", "unevictable"},
    {"total_swap", "swap"},
};

/// Calls `visit(name, value)` for each line of two words.
void each_field(const text& lines, const std::function<void(const std::string&, int64_t)>& visit) {
  std::istringstream in{lines.value_or("")};
  std::string name;
  for (int64_t value = 0; in >> name >> value;) visit(name, value);
}

std::vector<int64_t> numbers_of(const text& line) {
  std::istringstream in{line.value_or("")};
  std::vector<int64_t> numbers;
  for (int64_t number = 0; in >> number;) numbers.push_back(number);
  return numbers;
}

/// "8:0" as in /dev.
std::string device_named(const std::string& numbers) {
  char target[PATH_MAX];
  ssize_t size = ::readlink(("/sys/dev/block/" + numbers).c_str(), target, sizeof target);
  if (size <= 0) return numbers;
  std::string path{target, static_cast<size_t>(size)};
  return path.substr(path.rfind('/') + 1);
}

void count_cpu_v1(counters& out, const cgroup_tree& groups, const std::string& key) {
  auto user = numbers_of(groups.read(key, "cpuacct", "cpuacct.usage_percpu_user"));
  auto system = numbers_of(groups.read(key, "cpuacct", "cpuacct.usage_percpu_sys"));
  for (size_t i = 0; i < std::min(user.size(), system.size()); ++i)
    out.cpus.push_back({std::to_string(i), user[i], system[i]});
}

void count_cpu_v2(counters& out, const cgroup_tree& groups, const std::string& key) {
  instance_driver::cpu_time sum{"0"};
  each_field(groups.read(key, "", "cpu.stat"), [&sum](const std::string& name, int64_t us) {
    if (name == "user_usec") sum.user_ns = us * 1000;
    if (name == "system_usec") sum.system_ns = us * 1000;
  });
  out.cpus.push_back(sum);
}

void count_memory_v1(counters& out, const cgroup_tree& groups, const std::string& key) {
  each_field(groups.read(key, "memory", "memory.stat"), [&out](const std::string& name, int64_t bytes) {
    for (auto [v1, v2] : memory_names_v1)
      if (name == v1) out.memory.emplace(v2, bytes);
    // Without a limit it is the largest number of pages there can be.
    if (name == "hierarchical_memory_limit" && bytes < INT64_MAX / 2) out.memory.emplace("limit", bytes);
  });
  each_field(groups.read(key, "memory", "memory.oom_control"), [&out](const std::string& name, int64_t count) {
    if (name == "oom_kill") out.oom_kills = count;
  });
}

void count_memory_v2(counters& out, const cgroup_tree& groups, const std::string& key) {
  each_field(groups.read(key, "", "memory.stat"),
             [&out](const std::string& name, int64_t bytes) { out.memory.emplace(name, bytes); });
  if (auto limit = numbers_of(groups.read(key, "", "memory.max")); !limit.empty())
    out.memory.emplace("limit", limit.front());
  if (auto swap = numbers_of(groups.read(key, "", "memory.swap.current")); !swap.empty())
    out.memory.emplace("swap", swap.front());
  each_field(groups.read(key, "", "memory.events"), [&out](const std::string& name, int64_t count) {
    if (name == "oom_kill") out.oom_kills = count;
  });
}

/// Lines "8:0 Read 4096"; a last one, "Total 4096", has two words.
void count_disks_v1(counters& out, const cgroup_tree& groups, const std::string& key) {
  std::map<std::string, instance_driver::disk_traffic> disks;
  auto add = [&](const char* file, int64_t instance_driver::disk_traffic::*read,
                 int64_t instance_driver::disk_traffic::*written) {
    std::istringstream in{groups.read(key, "blkio", file).value_or("")};
    for (std::string line; std::getline(in, line);) {
      std::istringstream words{line};
      std::string device, kind;
      int64_t value = 0;
      if (!(words >> device >> kind >> value)) continue;
      if (kind == "Read") disks[device].*read = value;
      if (kind == "Write") disks[device].*written = value;
    }
  };
  using traffic = instance_driver::disk_traffic;
  add("blkio.throttle.io_service_bytes_recursive", &traffic::read_bytes, &traffic::written_bytes);
  add("blkio.throttle.io_serviced_recursive", &traffic::reads, &traffic::writes);
  for (auto& [numbers, disk] : disks) {
    disk.device = device_named(numbers);
    out.disks.push_back(std::move(disk));
  }
}

/// Lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...".
void count_disks_v2(counters& out, const cgroup_tree& groups, const std::string& key) {
  std::istringstream in{groups.read(key, "", "io.stat").value_or("")};
  for (std::string line; std::getline(in, line);) {
    std::istringstream words{line};
    std::string numbers;
    if (!(words >> numbers)) continue;
    instance_driver::disk_traffic disk{device_named(numbers)};
    const std::pair<std::string_view, int64_t&> fields[] = {
        {"rbytes=", disk.read_bytes}, {"wbytes=", disk.written_bytes}, {"rios=", disk.reads}, {"wios=", disk.writes}};
    for (std::string word; words >> word;)
      for (auto& [name, value] : fields)
        if (word.starts_with(name)) value = std::strtoll(word.c_str() + name.size(), nullptr, 10);
    out.disks.push_back(std::move(disk));
  }
}

} // namespace

instance_driver::counters count_cgroups(const cgroup_tree& groups, bool unified, const std::string& key) {
  counters out;
  if (unified) {
    count_cpu_v2(out, groups, key);
    count_memory_v2(out, groups, key);
    count_disks_v2(out, groups, key);
  } else {
    count_cpu_v1(out, groups, key);
    count_memory_v1(out, groups, key);
    count_disks_v1(out, groups, key);
  }
  return out;
}

} // namespace troupe::lxc
