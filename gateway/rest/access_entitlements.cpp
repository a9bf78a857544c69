#include "gateway/rest/access_entitlements.hpp"

#include "gateway/rest/routes.hpp"
#include "messages/json_read.hpp"

#include <nlohmann/json.hpp>
#include <sstream>

namespace troupe {
namespace {

using nlohmann::json;

constexpr std::string_view parameter = "with-access-entitlements";

/// The routes whose things have rights on them, and the fields that make up a thing's name.
struct source {
  std::string_view type, list, single, name;
};
constexpr source sources[] = {
    {"server", "", "/1.0", ""},
    {"certificate", "/1.0/certificates", "/1.0/certificates/{fingerprint}", "fingerprint"},
    {"identity", "/1.0/auth/identities", "/1.0/auth/identities/{method}/{id}", "authentication_method id"},
    {"identity", "/1.0/auth/identities/{method}", "/1.0/auth/identities/current", "authentication_method id"},
    {"group", "/1.0/auth/groups", "/1.0/auth/groups/{name}", "name"},
    {"identity_provider_group", "/1.0/auth/identity-provider-groups", "/1.0/auth/identity-provider-groups/{name}",
     "name"},
    {"project", "/1.0/projects", "/1.0/projects/{name}", "name"},
    {"instance", "/1.0/instances", "/1.0/instances/{name}", "name"},
    {"image", "/1.0/images", "/1.0/images/{fingerprint}", "fingerprint"},
    {"image_alias", "/1.0/images/aliases", "/1.0/images/aliases/{name...}", "name"},
    {"profile", "/1.0/profiles", "/1.0/profiles/{name}", "name"},
    {"network", "/1.0/networks", "/1.0/networks/{name}", "name"},
    {"storage_pool", "/1.0/storage-pools", "/1.0/storage-pools/{name}", "name"},
    {"storage_volume", "/1.0/storage-pools/{name}/volumes", "", "type name"},
    {"storage_volume", "/1.0/storage-pools/{name}/volumes/{type}", "/1.0/storage-pools/{name}/volumes/{type}/{volume}",
     "type name"},
};

const source* find_source(std::string_view pattern) {
  for (auto& row : sources)
    if (row.list == pattern || row.single == pattern) return &row;
  return nullptr;
}

outcome<std::vector<std::string>> wanted_of(const rest_request& from, std::string_view type) {
  std::istringstream words{std::string{from.http->parameter(parameter)}};
  std::vector<std::string> out;
  for (std::string word; std::getline(words, word, ',');) {
    if (!find_entitlement(type, word))
      return fail(fault::invalid,
                  "There is no entitlement \"" + word + "\" on the entity type \"" + std::string{type} + '"');
    out.push_back(std::move(word));
  }
  return out;
}

std::string text_in(const json& item, std::string_view field) {
  auto at = item.find(field);
  return at != item.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

class judge {
public:
  judge(const rest_request& from, const source& row, std::vector<std::string> wanted)
      : from_{from}, row_{row}, wanted_{std::move(wanted)},
        in_project_{find_entity_type(row.type)->in_project}, all_{is_true(from.http->parameter("all-projects"))} {}

  void add_to(json& item) const {
    auto list = json::array();
    for (auto& entitlement : wanted_)
      if (may(entitlement, item)) list.push_back(entitlement);
    if (!list.empty()) item["access_entitlements"] = std::move(list);
  }

private:
  std::string name_of(const json& item) const {
    std::string out = row_.type == "storage_volume" ? from_.parameter(0) : std::string{};
    std::istringstream fields{std::string{row_.name}};
    for (std::string field; fields >> field;) out += (out.empty() ? "" : "/") + text_in(item, field);
    return out;
  }

  /// What a project borrows is its own to be read, and the other's, too, to be changed.
  bool may(const std::string& entitlement, const json& item) const {
    auto& who = from_.head->who;
    auto name = name_of(item);
    if (row_.type == "project") return who.may(entitlement, the_project(name));
    if (row_.type == "server") return who.may(entitlement, the_server());
    if (!in_project_) return who.may(entitlement, {std::string{row_.type}, {}, name});
    auto asked = all_ ? text_in(item, "project") : from_.project;
    entity thing{std::string{row_.type}, asked, name};
    if (!who.may(entitlement, thing)) return false;
    if (all_ || entitlement == "can_view" || from_.head->project == asked) return true;
    thing.project = from_.head->project;
    return who.may(entitlement, thing);
  }

  const rest_request& from_;
  const source& row_;
  std::vector<std::string> wanted_;
  bool in_project_, all_;
};

} // namespace

bool asks_for_entitlements(const rest_request& from) {
  return from.http->method == "GET" && !from.http->parameter(parameter).empty();
}

outcome<std::string> with_entitlements(const rest_request& from, std::string_view metadata) {
  auto found = match(from.http->method, from.http->segments);
  auto* row = found.row ? find_source(found.row->pattern) : nullptr;
  if (!row) return std::string{metadata};
  auto wanted = wanted_of(from, row->type);
  if (!wanted) return tl::unexpected{wanted.error()};
  bool list = row->list == found.row->pattern;
  if (list && from.recursion() == 0)
    return fail(fault::invalid, "Entitlements are shown of whole things only: ask with recursion=1");
  if (from.head->who.level != trust::granted)
    return fail(fault::invalid, "Entitlements are shown only to who has them by groups");
  auto shown = parse_json_text(metadata);
  if (!shown) return tl::unexpected{shown.error()};
  judge rights{from, *row, std::move(*wanted)};
  if (list)
    for (auto& item : *shown) rights.add_to(item);
  else
    rights.add_to(*shown);
  return shown->dump();
}

} // namespace troupe
