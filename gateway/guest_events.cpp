#include "gateway/guest_events.hpp"

#include "actors/records.hpp"
#include "gateway/event_follower.hpp"
#include "messages/time.hpp"

#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

namespace troupe {

bool is_shown_to_guest(std::string_view key) { return key.starts_with("user.") || key.starts_with("cloud-init."); }

struct guest_events::data : std::enable_shared_from_this<guest_events::data> {
  explicit data(services& s) : with{s} {}

  struct entry {
    listener who;
    expansion last;
  };

  void take(const message<schema::Event>& event);
  void begin();
  std::optional<expansion> look_at(const listener& who);
  void compare(entry& one);

  services& with;
  std::mutex lock;
  std::list<entry> entries; // guarded by lock, as what follows
  std::optional<event_follower> events;
};

namespace {

using json = nlohmann::json;

json event_of(const char* type, json metadata) {
  return {{"timestamp", to_rfc3339(now_ns())}, {"type", type}, {"metadata", std::move(metadata)}};
}

json as_json(const config_map& map) {
  json out = json::object();
  for (auto& [key, value] : map) out[key] = value;
  return out;
}

std::vector<json> config_changes(const config_map& before, const config_map& after) {
  std::vector<json> out;
  auto add = [&](const std::string& key, std::string_view from, std::string_view to) {
    if (is_shown_to_guest(key) && from != to)
      out.push_back(event_of("config", {{"key", key}, {"old_value", from}, {"value", to}}));
  };
  for (auto& [key, value] : before) add(key, value, get(after, key));
  for (auto& [key, value] : after)
    if (!before.contains(key)) add(key, "", value);
  return out;
}

std::vector<json> device_changes(const device_map& before, const device_map& after) {
  std::vector<json> out;
  auto add = [&](const char* action, const std::string& name, const config_map& config) {
    out.push_back(event_of("device", {{"action", action}, {"name", name}, {"config", as_json(config)}}));
  };
  for (auto& [name, config] : before)
    if (!after.contains(name)) add("removed", name, config);
  for (auto& [name, config] : after) {
    auto at = before.find(name);
    if (at == before.end())
      add("added", name, config);
    else if (at->second != config)
      add("updated", name, config);
  }
  return out;
}

} // namespace

std::optional<expansion> guest_events::data::look_at(const listener& who) {
  auto records = with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(who.project, who.name));
  if (!spec) return std::nullopt;
  return spec->read([&](schema::InstanceSpec::Reader s) { return expand(records, s); });
}

void guest_events::data::compare(entry& one) {
  auto now = look_at(one.who);
  if (!now) return;
  auto wants = [&](const char* type) { return one.who.types.empty() || one.who.types.contains(type); };
  auto before = std::exchange(one.last, *now);
  if (wants("config"))
    for (auto& change : config_changes(before.config, now->config)) one.who.tell(change.dump());
  if (wants("device"))
    for (auto& change : device_changes(before.devices, now->devices)) one.who.tell(change.dump());
}

void guest_events::data::take(const message<schema::Event>& event) {
  std::lock_guard guard{lock};
  auto project = event.read([](schema::Event::Reader e) { return text(e.getProject()); });
  // A profile may be borrowed from project default by any other.
  for (auto& one : entries)
    if (one.who.project == project || project == "default") compare(one);
}

void guest_events::data::begin() {
  event_filter filter;
  filter.subjects = {"*.instance.*.updated", "*.profile.*.updated"};
  filter.types = {"lifecycle"};
  events.emplace(with, std::move(filter), [weak = weak_from_this()](const message<schema::Event>& event) {
    if (auto self = weak.lock()) self->take(event);
  });
}

guest_events::guest_events(services& with) : data_{std::make_shared<data>(with)} { data_->begin(); }

guest_events::~guest_events() {
  std::lock_guard guard{data_->lock};
  data_->events.reset();
}

std::shared_ptr<void> guest_events::listen(listener who) {
  auto now = data_->look_at(who).value_or(expansion{});
  std::lock_guard guard{data_->lock};
  auto at = data_->entries.insert(data_->entries.end(), {std::move(who), std::move(now)});
  if (data_->entries.size() == 1 && data_->events) data_->events->start();
  return {nullptr, [d = data_, at](void*) {
            std::lock_guard gone{d->lock};
            d->entries.erase(at);
            if (d->entries.empty() && d->events) d->events->stop();
          }};
}

} // namespace troupe
