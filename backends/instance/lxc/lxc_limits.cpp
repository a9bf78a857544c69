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

struct writer {
  settings& out;
  bool unified;
  /// Sets the file of the hierarchy at hand; an empty name: there is no such file.
  void set(const char* v1, const char* v2, std::string value) {
    const char* file = unified ? v2 : v1;
    if (*file != '\0')
      out.emplace_back((unified ? "lxc.cgroup2." : "lxc.cgroup.") + std::string{file}, std::move(value));
  }
};

outcome<void> add_memory(writer& w, const boot_plan& plan, const host_facts& host) {
  auto swap = get(plan.config, "limits.memory.swap", "true");
  if (auto limit = get(plan.config, "limits.memory"); !limit.empty()) {
    auto bytes = parse_size(limit, host.memory);
    if (!bytes) return tl::unexpected{bytes.error()};
    bool soft = get(plan.config, "limits.memory.enforce") == "soft";
    w.set(soft ? "memory.soft_limit_in_bytes" : "memory.limit_in_bytes", soft ? "memory.high" : "memory.max",
          std::to_string(*bytes));
    if (!is_true(swap)) w.set("", "memory.swap.max", "0");
  }
  if (!is_true(swap)) w.set("memory.swappiness", "", "0");
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

outcome<void> add_cpus(writer& w, const boot_plan& plan, const host_facts& host) {
  auto limit = get(plan.config, "limits.cpu");
  if (limit.empty()) return {};
  auto rest = limit;
  auto count = take_number(rest);
  if (count && rest.empty()) {
    if (*count == 0) return fail(fault::invalid, "limits.cpu must not be 0");
    if (*count < host.cpus.size()) w.set("cpuset.cpus", "cpuset.cpus", pick_cpus(*count, plan.key, host.cpus));
    return {};
  }
  auto wanted = parse_cpu_list(limit);
  if (wanted.empty()) return fail(fault::invalid, "limits.cpu is neither a number nor a set: " + std::string{limit});
  for (int cpu : wanted)
    if (std::find(host.cpus.begin(), host.cpus.end(), cpu) == host.cpus.end())
      return fail(fault::invalid, "limits.cpu names CPU " + std::to_string(cpu) + ", which this host has not");
  w.set("cpuset.cpus", "cpuset.cpus", std::string{limit});
  return {};
}

/// "25ms/100ms" is a hard quota.
outcome<void> add_quota(writer& w, std::string_view allowance) {
  auto rest = allowance;
  auto quota = take_number(rest);
  bool good = quota && rest.starts_with("ms/");
  if (good) rest.remove_prefix(3);
  auto period = good ? take_number(rest) : std::nullopt;
  if (!period || rest != "ms" || *quota == 0 || *period == 0)
    return fail(fault::invalid, "limits.cpu.allowance is neither a percentage nor a time: " + std::string{allowance});
  auto q = std::to_string(*quota * 1000), p = std::to_string(*period * 1000);
  w.set("cpu.cfs_period_us", "", p);
  w.set("cpu.cfs_quota_us", "cpu.max", w.unified ? q + " " + p : q);
  return {};
}

outcome<void> add_shares(writer& w, const boot_plan& plan) {
  auto allowance = get(plan.config, "limits.cpu.allowance");
  auto priority_text = get(plan.config, "limits.cpu.priority");
  if (allowance.empty() && priority_text.empty()) return {};
  auto rest = priority_text;
  uint64_t priority = priority_text.empty() ? 10 : take_number(rest).value_or(11);
  if (priority > 10) return fail(fault::invalid, "limits.cpu.priority is not within 0 and 10");
  uint64_t percent = 100;
  if (allowance.ends_with('%')) {
    rest = allowance;
    percent = take_number(rest).value_or(0);
    if (percent == 0 || rest != "%")
      return fail(fault::invalid, "limits.cpu.allowance is not a percentage: " + std::string{allowance});
  } else if (!allowance.empty()) {
    if (auto quota = add_quota(w, allowance); !quota) return quota;
  }
  if (percent == 100 && priority == 10) return {};
  auto shares = percent * 1024 / 100 - std::min(percent * 1024 / 100 - 2, 10 - priority);
  w.set("cpu.shares", "cpu.weight",
        std::to_string(w.unified ? std::clamp<uint64_t>(shares * 100 / 1024, 1, 10000) : shares));
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

outcome<void> add_limits(settings& out, const boot_plan& plan, const host_facts& host) {
  writer w{out, host.unified_cgroups};
  if (auto done = add_memory(w, plan, host); !done) return done;
  if (auto done = add_cpus(w, plan, host); !done) return done;
  if (auto done = add_shares(w, plan); !done) return done;
  auto processes = get(plan.config, "limits.processes");
  if (processes.empty()) return {};
  auto rest = processes;
  if (!take_number(rest) || !rest.empty()) return fail(fault::invalid, "limits.processes is not a number");
  w.set("pids.max", "pids.max", std::string{processes});
  return {};
}

} // namespace troupe::lxc
