#include "backends/instance/lxc/lxc_limits.hpp"

#include <algorithm>
#include <charconv>
#include <functional>

namespace troupe::lxc {
namespace {

struct unit {
  std::string_view name;
  uint64_t bytes;
};
constexpr unit units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"MB", 1000 * 1000},
    {"GB", 1000ull * 1000 * 1000},
    {"TB", 1000ull * 1000 * 1000 * 1000},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {"PiB", 1ull << 50},
};

/// The leading digits; the rest stays in `text`. nullopt: there are none, or too many.
std::optional<uint64_t> take_number(std::string_view& text) {
  uint64_t value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

struct names {
  const char *v1_controller, *v1_file, *v1_unset, *v2_file, *v2_unset;
};

struct collector {
  const config_map& config;
  const std::string& key;
  const host_facts& host;
  std::vector<cgroup_value> out;

  std::string_view get(std::string_view name, std::string_view fallback = {}) const {
    return troupe::get(config, name, fallback);
  }
  /// A file that the hierarchy at hand does not have is left out.
  void add(const names& file, std::string v1, std::string v2) {
    if (host.unified_cgroups && *file.v2_file) out.push_back({"", file.v2_file, std::move(v2), file.v2_unset});
    if (!host.unified_cgroups && *file.v1_file)
      out.push_back({file.v1_controller, file.v1_file, std::move(v1), file.v1_unset});
  }
  void add(const names& file, const std::string& value) { add(file, value, value); }
};

constexpr int swappiness_fallback = 60; // the kernel's own

outcome<void> add_memory(collector& to) {
  auto limit = to.get("limits.memory");
  bool swap = is_true(to.get("limits.memory.swap", "true"));
  bool soft = to.get("limits.memory.enforce") == "soft";
  std::string bytes;
  if (!limit.empty()) {
    auto parsed = parse_size(limit, to.host.memory);
    if (!parsed) return tl::unexpected{parsed.error()};
    bytes = std::to_string(*parsed);
  }
  to.add({"memory", "memory.limit_in_bytes", "-1", "memory.max", "max"}, soft ? "" : bytes);
  to.add({"memory", "memory.soft_limit_in_bytes", "-1", "memory.high", "max"}, soft ? bytes : "");
  // Memory and swap together: with a limit on both it gets no swap beyond.
  if (to.host.swap_accounting)
    to.add({"memory", "memory.memsw.limit_in_bytes", "-1", "", ""}, swap || soft ? "" : bytes);
  to.add({"", "", "", "memory.swap.max", "max"}, swap ? "" : "0");
  std::string swappiness = swap ? "" : "0";
  if (auto level = to.get("limits.memory.swap.priority"); swap && !level.empty()) {
    auto rest = level;
    swappiness = std::to_string(swappiness_fallback + (10 - take_number(rest).value_or(10)));
  }
  to.add({"memory", "memory.swappiness", "60", "", ""}, swappiness);
  return {};
}

/// limits.cpu=2 picks two of the online CPUs; where it begins depends on the name, which spreads small containers.
std::string pick_cpus(uint64_t count, const std::string& key, const std::vector<int>& online) {
  std::string list;
  auto first = std::hash<std::string>{}(key) % online.size();
  for (uint64_t i = 0; i < std::min<uint64_t>(count, online.size()); ++i)
    list += (i ? "," : "") + std::to_string(online[(first + i) % online.size()]);
  return list;
}

outcome<std::string> cpu_set(std::string_view limit, const std::string& key, const host_facts& host) {
  if (limit.empty()) return std::string{};
  auto rest = limit;
  auto count = take_number(rest);
  if (count && rest.empty()) {
    if (*count == 0) return fail(fault::invalid, "limits.cpu must not be 0");
    return *count < host.cpus.size() ? pick_cpus(*count, key, host.cpus) : std::string{};
  }
  auto wanted = parse_cpu_list(limit);
  if (wanted.empty()) return fail(fault::invalid, "limits.cpu is neither a number nor a set: " + std::string{limit});
  for (int cpu : wanted)
    if (std::find(host.cpus.begin(), host.cpus.end(), cpu) == host.cpus.end())
      return fail(fault::invalid, "limits.cpu names CPU " + std::to_string(cpu) + ", which this host has not");
  return std::string{limit};
}

outcome<void> add_cpus(collector& to) {
  auto set = cpu_set(to.get("limits.cpu"), to.key, to.host);
  if (!set) return tl::unexpected{set.error()};
  to.add({"cpuset", "cpuset.cpus", "", "cpuset.cpus", ""}, *set);
  auto nodes = to.get("limits.cpu.nodes");
  auto wanted = parse_cpu_list(nodes);
  if (!nodes.empty() && wanted.empty()) return fail(fault::invalid, "limits.cpu.nodes is no set of nodes");
  for (int node : wanted)
    if (std::find(to.host.nodes.begin(), to.host.nodes.end(), node) == to.host.nodes.end())
      return fail(fault::invalid, "limits.cpu.nodes names node " + std::to_string(node) + ", which this host has not");
  to.add({"cpuset", "cpuset.mems", "", "cpuset.mems", ""}, std::string{nodes});
  return {};
}

struct quota {
  std::string amount, period; // microseconds
};

/// "25ms/100ms" is a hard quota.
outcome<quota> parse_quota(std::string_view allowance) {
  auto rest = allowance;
  auto amount = take_number(rest);
  bool good = amount && rest.starts_with("ms/");
  if (good) rest.remove_prefix(3);
  auto period = good ? take_number(rest) : std::nullopt;
  if (!period || rest != "ms" || *amount == 0 || *period == 0)
    return fail(fault::invalid, "limits.cpu.allowance is neither a percentage nor a time: " + std::string{allowance});
  return quota{std::to_string(*amount * 1000), std::to_string(*period * 1000)};
}

outcome<void> add_shares(collector& to) {
  auto allowance = to.get("limits.cpu.allowance");
  auto rest = to.get("limits.cpu.priority", "10");
  uint64_t priority = take_number(rest).value_or(11), percent = 100;
  if (priority > 10) return fail(fault::invalid, "limits.cpu.priority is not within 0 and 10");
  quota hard;
  if (allowance.ends_with('%')) {
    rest = allowance;
    percent = take_number(rest).value_or(0);
    if (percent == 0 || rest != "%")
      return fail(fault::invalid, "limits.cpu.allowance is not a percentage: " + std::string{allowance});
  } else if (!allowance.empty()) {
    auto parsed = parse_quota(allowance);
    if (!parsed) return tl::unexpected{parsed.error()};
    hard = *parsed;
  }
  bool weighed = percent != 100 || priority != 10;
  auto shares = percent * 1024 / 100 - std::min(percent * 1024 / 100 - 2, 10 - priority);
  to.add({"cpu", "cpu.shares", "1024", "cpu.weight", "100"}, weighed ? std::to_string(shares) : "",
         weighed ? std::to_string(std::clamp<uint64_t>(shares * 100 / 1024, 1, 10000)) : "");
  bool is_hard = !hard.amount.empty();
  to.add({"cpu", "cpu.cfs_period_us", "100000", "", ""}, hard.period);
  to.add({"cpu", "cpu.cfs_quota_us", "-1", "cpu.max", "max 100000"}, hard.amount,
         is_hard ? hard.amount + " " + hard.period : "");
  return {};
}

/// LXD's weight of a priority of 0 to 10.
outcome<void> add_disk_weight(collector& to) {
  auto level = to.get("limits.disk.priority");
  if (to.host.disk_weight.empty() && level.empty()) return {};
  if (to.host.disk_weight.empty())
    return fail(fault::unsupported, "limits.disk.priority: the kernel of this host cannot weigh disk I/O");
  auto rest = level;
  auto weight =
      level.empty() ? std::string{} : std::to_string(std::max<uint64_t>(take_number(rest).value_or(5) * 100, 10));
  auto file = to.host.disk_weight.c_str();
  to.add({"blkio", file, "500", file, "100"}, weight);
  return {};
}

outcome<void> add_huge_pages(collector& to) {
  for (std::string page : {"64KB", "1MB", "2MB", "1GB"}) {
    auto limit = to.get("limits.hugepages." + page);
    bool has = std::find(to.host.huge_pages.begin(), to.host.huge_pages.end(), page) != to.host.huge_pages.end();
    if (!has && limit.empty()) continue;
    if (!has)
      return fail(fault::unsupported, "limits.hugepages." + page + ": this host has no control group for such pages");
    auto bytes = limit.empty() ? outcome<uint64_t>{0} : parse_size(limit, to.host.memory);
    if (!bytes) return tl::unexpected{bytes.error()};
    auto v1 = "hugetlb." + page + ".limit_in_bytes", v2 = "hugetlb." + page + ".max";
    to.add({"hugetlb", v1.c_str(), "-1", v2.c_str(), "max"}, limit.empty() ? "" : std::to_string(*bytes));
  }
  return {};
}

outcome<void> add_processes(collector& to) {
  auto processes = to.get("limits.processes");
  auto rest = processes;
  if (!processes.empty() && (!take_number(rest) || !rest.empty()))
    return fail(fault::invalid, "limits.processes is not a number");
  to.add({"pids", "pids.max", "max", "pids.max", "max"}, std::string{processes});
  return {};
}

} // namespace

outcome<uint64_t> parse_size(std::string_view text, uint64_t whole) {
  auto rest = text;
  auto value = take_number(rest);
  if (value && rest == "%" && *value <= 100) return whole / 100 * *value;
  for (const auto& u : units)
    if (value && rest == u.name && *value <= UINT64_MAX / u.bytes) return *value * u.bytes;
  return fail(fault::invalid, "Not a size: " + std::string{text});
}

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  while (!text.empty()) {
    auto first = take_number(text);
    if (!first || *first > 65535) return {};
    auto last = first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      last = take_number(text);
    }
    if (!last || *last > 65535 || *last < *first) return {};
    for (auto cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
    if (text.empty()) break;
    if (text.front() != ',' || text.size() == 1) return {};
    text.remove_prefix(1);
  }
  return cpus;
}

outcome<std::vector<cgroup_value>> limits_of(const config_map& config, const std::string& key, const host_facts& host) {
  collector to{config, key, host, {}};
  for (auto* part : {add_memory, add_cpus, add_shares, add_disk_weight, add_huge_pages, add_processes})
    if (auto done = part(to); !done) return tl::unexpected{done.error()};
  return std::move(to.out);
}

outcome<void> add_limits(settings& out, const boot_plan& plan, const host_facts& host) {
  auto limits = limits_of(plan.config, plan.key, host);
  if (!limits) return tl::unexpected{limits.error()};
  auto disks = disk_limits_of(plan.disk_limits, host);
  if (!disks) return tl::unexpected{disks.error()};
  limits->insert(limits->end(), disks->begin(), disks->end());
  for (auto& limit : *limits)
    if (!limit.value.empty())
      out.emplace_back((host.unified_cgroups ? "lxc.cgroup2." : "lxc.cgroup.") + limit.file, limit.value);
  return {};
}

} // namespace troupe::lxc
