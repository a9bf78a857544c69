#include "cli/operation_text.hpp"

#include "cli/output.hpp"
#include "cli/progress.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace troupe {

using nlohmann::json;

namespace {

struct effect_row {
  std::string_view effect, meaning;
};
constexpr effect_row effects[] = {
    {"no", "it cannot be cancelled"},
    {"now", "it stops now"},
    {"after_step", "it stops after the running step, and is undone"},
    {"will_undo", "it stops now, and what it has done is undone"},
};

struct state_row {
  std::string_view state, shown;
};
constexpr state_row states[] = {{"rolledBack", "ROLLED BACK"}};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string amount(const json& step, const char* field) {
  auto value = step.value(field, uint64_t{0});
  return step.value("unit", "") == "bytes" ? human_size(value) : std::to_string(value);
}

std::string progress_of(const json& step) {
  auto total = step.value("total", uint64_t{0}), done = step.value("done", uint64_t{0});
  if (total == 0) return {};
  auto out = std::to_string(done * 100 / total) + "% of " + amount(step, "total");
  if (auto rate = step.value("rate", uint64_t{0}); rate > 0) out += ", " + amount(step, "rate") + "/s";
  return out;
}

std::string moment(const json& object, const char* field) {
  auto time = object.value(field, "");
  return time.starts_with("0001") ? "" : time.substr(0, 19) + time.substr(std::min<size_t>(19, time.size()), 4);
}

std::vector<std::string> cells_of(const json& step) {
  return {step.value("kind", ""),
          step.value("after", false) ? "forward" : "can be undone",
          upper(step.value("state", "")),
          std::to_string(step.value("attempts", 0)),
          moment(step, "started_at"),
          moment(step, "ended_at"),
          step.value("problem", "").empty() ? progress_of(step) : step.value("problem", "")};
}

std::string table_of(const json& steps) {
  std::vector<std::vector<std::string>> rows;
  for (auto& step : steps) rows.push_back(cells_of(step));
  return to_table({"STEP", "WAY", "STATE", "TRIES", "STARTED", "ENDED", "PROGRESS"}, rows);
}

} // namespace

std::string state_text(const json& operation) {
  auto state = operation.value("state", operation.value("status", ""));
  for (auto& row : states)
    if (row.state == state) return std::string{row.shown};
  return upper(state);
}

std::string_view meaning_of_cancel(std::string_view effect) {
  for (auto& row : effects)
    if (row.effect == effect) return row.meaning;
  return effects[0].meaning;
}

std::string progress_text(const json& operation) {
  for (auto& step : operation.value("steps", json::array())) {
    if (step.value("state", "") != "running") continue;
    auto out = step.value("kind", "");
    if (auto shown = progress_of(step); !shown.empty()) out += " " + shown;
    auto rate = step.value("rate", uint64_t{0}), total = step.value("total", uint64_t{0});
    if (rate > 0)
      out += ", " + std::to_string((total - std::min(total, step.value("done", uint64_t{0}))) / rate) + " s left";
    return out;
  }
  return {};
}

std::string operation_text(const json& operation) {
  json facts = json::object();
  for (auto* field : {"id", "kind", "description", "entity", "created_at", "updated_at", "parent", "err"})
    if (auto value = operation.value(field, ""); !value.empty()) facts[field] = value;
  facts["state"] = state_text(operation);
  facts["cancel"] = meaning_of_cancel(operation.value("cancel_effect", "no"));
  for (auto* field : {"resources", "metadata", "children"})
    if (operation.contains(field) && !operation[field].empty()) facts[field] = operation[field];
  auto out = to_yaml(facts);
  if (auto steps = operation.value("steps", json::array()); !steps.empty()) out += table_of(steps);
  if (auto left = operation.value("left_behind", json::array()); !left.empty()) {
    out += "Left behind:\n" + to_yaml(left);
  }
  return out;
}

} // namespace troupe
