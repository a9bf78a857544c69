#include "actors/instance_status.hpp"
#include "actors/warnings.hpp"

#include <algorithm>

namespace troupe {
namespace {

struct news_row {
  std::string_view what, action; // the lifecycle event that tells of it; empty: none
  const warning_kind* warning = nullptr;
  bool is_end = false; // the machine is about to end because of it
};
constexpr news_row rows[] = {
    {"agent-started", "instance-agent-started"},
    {"agent-stopped", "instance-agent-stopped"},
    {"disk-error", "", &warnings::failing_disk},
    {"panicked", "instance-panicked", &warnings::panicked, true},
    {"reset", "instance-restarted"},
    {"shutdown", "", nullptr, true},
};

} // namespace

void on_machine_news(const instance_ptr& me, const machine_news& told) {
  auto row = std::find_if(std::begin(rows), std::end(rows), [&](auto& r) { return r.what == told.what; });
  if (row == std::end(rows) || !me->is_machine()) return;
  log().info("Virtual machine {}: {} {}", me->id(), told.what, told.detail);
  if (row->is_end) me->last_words = told.detail.empty() ? told.what : told.detail;
  if (row->warning) raise_warning(me->with, *row->warning, me->project, me->url(), told.detail);
  if (row->action.empty()) return;
  config_map context;
  if (!told.detail.empty()) context.emplace("reason", told.detail);
  record_unasked(me, row->action, std::move(context));
}

} // namespace troupe
