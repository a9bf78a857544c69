#include "actors/retention.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <set>

namespace troupe {
namespace {

constexpr int64_t second_ns = 1'000'000'000;
constexpr const char* key_prefix = "snapshots.keep.";
// A period has the same text for all of its moments, and no other one has.
constexpr std::array<const char*, 4> periods{"%Y-%m-%d %H %z", "%Y-%m-%d", "%G-%V", "%Y-%m"};

int64_t created(const snapshot_record& taken) {
  return taken.read([](auto s) { return s.getCreatedAt(); });
}

std::string period_of(int64_t moment, const char* format) {
  auto seconds = static_cast<time_t>(moment / second_ns);
  tm local{};
  localtime_r(&seconds, &local);
  char text[64];
  return {text, strftime(text, sizeof text, format, &local)};
}

int number_in(const config_map& config, std::string_view tier) {
  auto value = get(config, key_prefix + std::string{tier});
  int number = -1;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

} // namespace

bool retention::any() const {
  return std::any_of(keep.begin(), keep.end(), [](int n) { return n >= 0; });
}

retention retention_of(const config_map& effective, const retention& instead) {
  retention out = instead;
  for (size_t i = 0; i < out.keep.size(); ++i)
    if (out.keep[i] < 0) out.keep[i] = number_in(effective, retention::names[i]);
  return out;
}

std::vector<retained_snapshot> retain(const std::vector<snapshot_record>& taken, const retention& tiers) {
  std::vector<retained_snapshot> out;
  for (auto& each : taken)
    if (each.read([](auto s) { return s.getScheduled(); })) out.push_back({each, {}});
  std::stable_sort(out.begin(), out.end(), [](auto& a, auto& b) { return created(a.taken) > created(b.taken); });
  if (!tiers.any())
    for (auto& each : out) each.kept_by.push_back("all");
  for (size_t i = 0; i < tiers.keep.size(); ++i) {
    std::set<std::string> seen;
    for (auto& each : out) {
      if (static_cast<int>(seen.size()) >= tiers.keep[i]) break;
      if (seen.insert(period_of(created(each.taken), periods[i])).second) each.kept_by.push_back(retention::names[i]);
    }
  }
  return out;
}

message<schema::RetainedSnapshot> view_of(const retained_snapshot& one) {
  return message<schema::RetainedSnapshot>::make([&](schema::RetainedSnapshot::Builder out) {
    one.taken.read([&](schema::SnapshotSpec::Reader s) {
      out.setName(s.getName());
      out.setCreatedAt(s.getCreatedAt());
    });
    auto tiers = out.initKeptBy(static_cast<unsigned>(one.kept_by.size()));
    for (unsigned i = 0; i < tiers.size(); ++i) tiers.set(i, std::string{one.kept_by[i]});
  });
}

outcome<std::shared_ptr<saga>> plan_prune(const instance_data& me, const prune_snapshots& request) {
  auto records = me.with.db.read();
  auto spec = me.spec();
  if (!spec) return fail(fault::not_found, "Instance not found");
  auto tiers = retention_of(spec->read([&](auto s) { return expand(records, s); }).config);
  auto plan = instance_saga(me, request.head, "snapshot.prune", "Deleting snapshots that no tier keeps");
  std::vector<std::string> urls;
  for (auto& [taken, kept_by] : retain(snapshots_of(records, me.project, me.name), tiers)) {
    if (!kept_by.empty()) continue;
    remove_snapshot(*plan, records, me, *request.head, taken);
    urls.push_back(me.url() + "/snapshots/" + taken.read([](auto s) { return text(s.getName()); }));
  }
  plan->resources.emplace_back("instances_snapshots", std::move(urls));
  return plan;
}

} // namespace troupe
