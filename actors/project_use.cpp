#include "actors/project_use.hpp"

#include "actors/expander.hpp"
#include "actors/project_keys.hpp"
#include "backends/storage/size.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <charconv>

namespace troupe {
namespace {

struct limit_row {
  std::string_view key; // of the project
  std::string_view
      instance; // the key that each instance then needs (of its root disk, if it is one); empty: it is counted
  uint64_t project_use::*sum;
};
constexpr limit_row limits[] = {
    {"limits.containers", "", &project_use::containers},
    {"limits.cpu", "limits.cpu", &project_use::cpu},
    {"limits.disk", "size", &project_use::disk}, // and by pool: limits.disk.pool.POOL
    {"limits.instances", "", &project_use::instances},
    {"limits.memory", "limits.memory", &project_use::memory},
    {"limits.processes", "limits.processes", &project_use::processes},
    {"limits.virtual-machines", "", &project_use::virtual_machines},
};

std::optional<uint64_t> number_of(std::string_view key, std::string_view value) {
  if (key == "limits.memory" || key == "limits.disk" || key == "size") {
    auto size = parse_size(value); // a share of the host's cannot be added up
    return size ? std::optional{*size} : std::nullopt;
  }
  uint64_t out = 0;
  auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), out);
  return bad == std::errc{} && end == value.data() + value.size() ? std::optional{out} : std::nullopt;
}

std::string_view value_of(const limit_row& row, const expansion& effective) {
  if (row.instance != "size") return get(effective.config, row.instance);
  auto root = root_disk(effective.devices);
  return root ? get(*root, row.instance) : std::string_view{};
}

constexpr std::string_view pool_limit = "limits.disk.pool.";

/// The limits of pools: (key, pool, value).
template <class Function>
void each_pool_limit(const config_map& project_config, Function&& tell) {
  for (auto at = project_config.lower_bound(pool_limit);
       at != project_config.end() && at->first.starts_with(pool_limit); ++at)
    if (!at->second.empty()) tell(at->first, std::string_view{at->first}.substr(pool_limit.size()), at->second);
}

std::string entries_key(std::string_view project) { return "entries/" + std::string{project}; }
std::string rules_key(std::string_view project) { return "rules/" + std::string{project}; }

} // namespace

project_use& project_use::operator+=(const project_use& other) {
  for (auto& row : limits) this->*row.sum += other.*row.sum;
  for (auto& [pool, bytes] : other.pools) pools[pool] += bytes;
  return *this;
}

project_use larger(const project_use& a, const project_use& b) {
  auto out = a;
  for (auto& row : limits) out.*row.sum = std::max(a.*row.sum, b.*row.sum);
  for (auto& [pool, bytes] : b.pools) out.pools[pool] = std::max(out.pools[pool], bytes);
  return out;
}

bool is_limited(const config_map& project_config) {
  bool by_pool = false;
  each_pool_limit(project_config, [&](auto&&...) { by_pool = true; });
  return by_pool || std::any_of(std::begin(limits), std::end(limits),
                                [&](auto& row) { return !get(project_config, row.key).empty(); });
}

project_use countable_use(schema::InstanceType type, const expansion& effective) {
  project_use out;
  out.instances = 1;
  (type == schema::InstanceType::VIRTUAL_MACHINE ? out.virtual_machines : out.containers) = 1;
  for (auto& row : limits)
    if (!row.instance.empty()) out.*row.sum = number_of(row.instance, value_of(row, effective)).value_or(0);
  if (auto root = root_disk(effective.devices); root && out.disk > 0)
    out.pools[std::string{get(*root, "pool")}] = out.disk;
  return out;
}

outcome<void> check_sized(std::string_view project, const config_map& project_config, std::string_view pool,
                          std::string_view size, const std::string& what) {
  if (number_of("size", size)) return {};
  for (auto& key : {std::string{"limits.disk"}, std::string{pool_limit} + std::string{pool}})
    if (!get(project_config, key).empty())
      return fail(fault::invalid, "Project \"" + std::string{project} + "\" has \"" + key + "\": " + what +
                                      " needs a number as \"size\" too");
  return {};
}

outcome<project_use> use_of(std::string_view project, const config_map& project_config, schema::InstanceType type,
                            const expansion& effective) {
  for (auto& row : limits) {
    if (row.instance.empty() || row.instance == "size" || get(project_config, row.key).empty()) continue;
    if (!number_of(row.instance, value_of(row, effective)))
      return fail(fault::invalid, "Project \"" + std::string{project} + "\" has \"" + std::string{row.key} +
                                      "\": the instance needs a number as \"" + std::string{row.instance} + "\" too");
  }
  if (auto root = root_disk(effective.devices))
    if (auto good = check_sized(project, project_config, get(*root, "pool"), get(*root, "size"), "the instance"); !good)
      return tl::unexpected{good.error()};
  return countable_use(type, effective);
}

project_use use_of_project(const snapshot& from, std::string_view project,
                           const std::function<bool(std::string_view)>& leave_out) {
  project_use sum;
  expander expand{from};
  auto prefix = std::string{project} + '/';
  from.scan(table::instances, prefix, [&](std::string_view key, std::string_view bytes) {
    if (!leave_out(key.substr(prefix.size())))
      message<schema::InstanceSpec>::from_bytes(bytes).read(
          [&](schema::InstanceSpec::Reader spec) { sum += countable_use(spec.getType(), expand(spec)); });
    return true;
  });
  from.scan(table::custom_volumes, prefix, [&](std::string_view key, std::string_view bytes) {
    if (!leave_out('@' + std::string{key.substr(prefix.size())}))
      message<schema::VolumeSpec>::from_bytes(bytes).read([&](schema::VolumeSpec::Reader v) {
        auto size = number_of("size", get(to_map(v.getConfig()), "size")).value_or(0);
        auto place = key.substr(prefix.size());
        sum.disk += size;
        sum.pools[std::string{place.substr(0, place.find('/'))}] += size;
      });
    return true;
  });
  return sum;
}

outcome<void> check_limits(std::string_view project, const config_map& project_config, const project_use& sum) {
  for (auto& row : limits) {
    auto most = number_of(row.key, get(project_config, row.key));
    if (most && sum.*row.sum > *most)
      return fail(fault::forbidden, "Reached the limit of project \"" + std::string{project} + "\": " +
                                        std::string{row.key} + " is " + std::string{get(project_config, row.key)});
  }
  outcome<void> good;
  each_pool_limit(project_config, [&](const std::string& key, std::string_view pool, const std::string& value) {
    auto at = sum.pools.find(pool);
    if (good && at != sum.pools.end() && at->second > number_of("size", value).value_or(UINT64_MAX))
      good = fail(fault::forbidden,
                  "Reached the limit of project \"" + std::string{project} + "\": " + key + " is " + value);
  });
  return good;
}

std::vector<limit_state> limit_states(const config_map& project_config, const project_use& sum) {
  std::vector<limit_state> out;
  for (auto& row : limits) {
    auto most = number_of(row.key, get(project_config, row.key));
    out.push_back({row.key.substr(row.key.find('.') + 1), most ? static_cast<int64_t>(*most) : -1, sum.*row.sum});
  }
  each_pool_limit(project_config, [&](std::string_view key, std::string_view pool, const std::string& value) {
    auto at = sum.pools.find(pool);
    out.push_back({key.substr(key.find('.') + 1), static_cast<int64_t>(number_of("size", value).value_or(0)),
                   at == sum.pools.end() ? 0 : at->second});
  });
  return out;
}

std::vector<std::string> projects_with_profiles_of(const snapshot& from, std::string_view home) {
  std::vector<std::string> out;
  from.scan(table::projects, "", [&](std::string_view name, std::string_view) {
    if (home_of(from, name, feature::profiles) == home) out.emplace_back(name);
    return true;
  });
  return out;
}

void enter_project(batch& commit, const snapshot& judged_on, std::string_view project) {
  commit.conditions.push_back(unchanged(judged_on, table::counters, rules_key(project)));
  if (auto home = home_of(judged_on, project, feature::profiles); home != project)
    commit.conditions.push_back(unchanged(judged_on, table::counters, rules_key(home)));
  commit.writes.push_back({table::counters, entries_key(project), make_uuid_v4()});
}

void keep_project(batch& commit, const snapshot& judged_on, std::string_view project) {
  commit.conditions.push_back(unchanged(judged_on, table::projects, std::string{project}));
  commit.writes.push_back({table::counters, entries_key(project), make_uuid_v4()});
}

batch changed_rules(const snapshot& judged_on, std::string_view home) {
  batch marks;
  auto affected = projects_with_profiles_of(judged_on, home);
  if (std::find(affected.begin(), affected.end(), home) == affected.end()) affected.emplace_back(home);
  for (auto& project : affected)
    marks.conditions.push_back(unchanged(judged_on, table::counters, entries_key(project)));
  marks.writes.push_back({table::counters, rules_key(home), make_uuid_v4()});
  return marks;
}

} // namespace troupe
