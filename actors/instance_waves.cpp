#include "actors/instance_waves.hpp"

#include "actors/config_keys.hpp"
#include "actors/expander.hpp"

#include <fstream>
#include <functional>
#include <map>

namespace troupe {
namespace {

constexpr int64_t stop_seconds = 30; // boot.host_shutdown_timeout that is not set

int64_t number(const config_map& config, std::string_view key, int64_t fallback) {
  auto value = get(config, key);
  return value.empty() ? fallback : std::strtoll(std::string{value}.c_str(), nullptr, 10);
}

bool is_stopped(const snapshot& records, std::string_view key) {
  auto status = load<schema::InstanceStatus>(records, table::statuses, key);
  return !status || status->read([](auto s) { return s.getState() == schema::InstanceStatus::State::STOPPED; });
}

using grouped = std::map<int64_t, wave, std::greater<>>;

std::vector<wave> in_order(grouped all) {
  std::vector<wave> out;
  for (auto& [priority, one] : all) {
    one.priority = priority;
    out.push_back(std::move(one));
  }
  return out;
}

template <class Use>
void each_instance(const snapshot& records, Use&& use) {
  expander expanded{records};
  records.scan(table::instances, "", [&](std::string_view key, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read(
        [&](schema::InstanceSpec::Reader spec) { use(std::string{key}, expanded(spec).config); });
    return true;
  });
}

} // namespace

std::vector<wave> waves_to_start(const snapshot& records, const std::set<std::string>& ran) {
  grouped all;
  each_instance(records, [&](const std::string& key, const config_map& config) {
    auto wish = get(config, "boot.autostart");
    if (wish.empty() ? !ran.contains(key) : !is_true(wish)) return;
    auto& mine = all[number(config, "boot.autostart.priority", 0)];
    mine.members.emplace_back(key, 0);
    mine.pause = std::max(mine.pause, std::chrono::seconds{number(config, "boot.autostart.delay", 0)});
  });
  return in_order(std::move(all));
}

std::vector<wave> waves_to_stop(const snapshot& records) {
  grouped all;
  each_instance(records, [&](const std::string& key, const config_map& config) {
    if (is_stopped(records, key)) return;
    all[number(config, "boot.stop.priority", 0)].members.emplace_back(
        key, number(config, "boot.host_shutdown_timeout", stop_seconds));
  });
  return in_order(std::move(all));
}

const std::string& boot_id() {
  static const std::string id = [] {
    std::ifstream in{"/proc/sys/kernel/random/boot_id"};
    std::string text;
    std::getline(in, text);
    return text;
  }();
  return id;
}

std::set<std::string> cut_off(const snapshot& records) {
  std::set<std::string> out;
  records.scan(table::statuses, "", [&](std::string_view key, std::string_view bytes) {
    message<schema::InstanceStatus>::from_bytes(bytes).read([&](schema::InstanceStatus::Reader status) {
      bool ran = status.getState() != schema::InstanceStatus::State::STOPPED && status.getMonitor() > 0;
      if (ran && status.getBootId().size() && view(status.getBootId()) != boot_id()) out.insert(std::string{key});
    });
    return true;
  });
  return out;
}

} // namespace troupe
