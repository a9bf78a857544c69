#include "actors/access_change.hpp"

#include "actors/names.hpp"

#include <algorithm>

namespace troupe {

std::shared_ptr<saga> access_saga(const header& from, std::string kind, std::string description,
                                  const std::string& entity) {
  auto head = std::make_shared<header>(from);
  head->project.clear();
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = std::move(head);
  plan->entity = entity;
  return plan;
}

message<schema::Event> access_event(const saga& plan, std::string_view type, const std::string& name,
                                    std::string_view action, bool narrowed) {
  auto kind = plan.entity.substr(0, plan.entity.find('/'));
  config_map context;
  if (narrowed) context.emplace(narrowed_mark, "true");
  return lifecycle_event(*plan.head, kind, name, action, url_of({std::string{type}, {}, name}), context);
}

outcome<void> check_gift(const principal& who, const rights& given) {
  if (who.level == trust::full) return {};
  bool manager = who.may("permission_manager", the_server());
  bool makes_administrators = std::any_of(given.all().begin(), given.all().end(), [](auto& one) {
    return one.on == the_server() && one.entitlement == "admin";
  });
  if (who.level == trust::granted && (who.given->cover(given) || (manager && !makes_administrators))) return {};
  return fail(fault::forbidden, "You cannot give or change what gives a right that you do not have");
}

outcome<void> check_groups(const snapshot& records, const std::vector<std::string>& groups) {
  if (auto good = check_distinct("Group", groups); !good) return good;
  for (auto& group : groups)
    if (group.empty() || !records.get(table::auth_groups, group))
      return fail(fault::not_found, "Group \"" + group + "\" not found");
  return {};
}

void expect_groups(const snapshot& records, saga& plan, const std::vector<std::string>& groups) {
  for (auto& group : groups) plan.commit.conditions.push_back(unchanged(records, table::auth_groups, group));
}

outcome<certificate> usable_certificate(std::string_view given) {
  auto parsed = decode_certificate(given);
  if (!parsed) return parsed;
  if (auto good = judge_client_certificate(*parsed, now_ns() / 1'000'000'000); !good)
    return fail(fault::invalid, good.error().message);
  return parsed;
}

outcome<void> check_access_name(std::string_view noun, std::string_view name) {
  constexpr size_t bytes_max = 200;
  if (name.empty() || name.size() > bytes_max)
    return fail(fault::invalid, std::string{noun} + " names have 1 to 200 bytes");
  if (auto good = check_text("name", name); !good) return good;
  if (name.find_first_of("/\n\t") == name.npos && name != "." && name != "..") return {};
  return fail(fault::invalid, std::string{noun} + " names have neither slashes nor line breaks");
}

} // namespace troupe
