#include "cli/certificate_file.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace troupe {

using nlohmann::json;

namespace {

constexpr const char* groups = "/1.0/auth/groups";
constexpr const char* mappings = "/1.0/auth/identity-provider-groups";
constexpr const char* identities = "/1.0/auth/identities";

std::string path_of(const char* collection, const invocation& call, const char* argument) {
  return std::string{collection} + "/" + url_encode(call.text(argument));
}

/// "tls/laptop" or "oidc/alice@example.org".
outcome<std::string> identity_path(const invocation& call) {
  auto& typed = call.text("IDENTITY");
  auto slash = typed.find('/');
  if (slash == typed.npos) return fail(fault::invalid, "An identity is named METHOD/NAME, like tls/laptop");
  return std::string{identities} + "/" + url_encode(typed.substr(0, slash)) + "/" + url_encode(typed.substr(slash + 1));
}

std::string joined(const json& list) {
  std::string out;
  for (auto& one : list) out += (out.empty() ? "" : " ") + one.get<std::string>();
  return out;
}

outcome<void> show(const invocation& call, const std::string& path) {
  auto one = server{call.dir}.get(path);
  if (!one) return tl::unexpected{one.error()};
  std::cout << to_yaml(*one);
  return {};
}

outcome<void> change(const invocation& call, const char* method, const std::string& path, const json& body) {
  auto done = server{call.dir}.change(method, path, body);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

/// Puts one entry into a list of the thing at `path`, or takes it out.
outcome<void> change_list(const invocation& call, const std::string& path, const char* field, const json& entry,
                          bool add) {
  server daemon{call.dir};
  auto thing = daemon.get(path);
  if (!thing) return tl::unexpected{thing.error()};
  auto list = (*thing)[field];
  auto at = std::find(list.begin(), list.end(), entry);
  if (add == (at != list.end()))
    return fail(add ? fault::already_exists : fault::not_found, add ? "It is there already" : "It is not there");
  add ? list.push_back(entry) : void(list.erase(at));
  return change(call, "PATCH", path, {{field, list}});
}

outcome<void> change_permission(const invocation& call, bool add) {
  json permission{
      {"entity_type", call.text("TYPE")}, {"url", call.text("URL")}, {"entitlement", call.text("ENTITLEMENT")}};
  return change_list(call, path_of(groups, call, "GROUP"), "permissions", permission, add);
}

outcome<void> change_identity_group(const invocation& call, bool add) {
  auto path = identity_path(call);
  if (!path) return tl::unexpected{path.error()};
  return change_list(call, *path, "groups", call.text("GROUP"), add);
}

} // namespace

outcome<void> run_group_list(const invocation& call) {
  auto all = server{call.dir}.get(std::string{groups} + "?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all) {
    size_t members = 0;
    for (auto& [method, ids] : one["identities"].items()) members += ids.size();
    rows.push_back({one.value("name", ""), one.value("description", ""), std::to_string(one["permissions"].size()),
                    std::to_string(members), joined(one["identity_provider_groups"])});
  }
  std::cout << to_table({"NAME", "DESCRIPTION", "PERMISSIONS", "IDENTITIES", "PROVIDER GROUPS"}, rows);
  return {};
}
outcome<void> run_group_show(const invocation& call) { return show(call, path_of(groups, call, "GROUP")); }
outcome<void> run_group_create(const invocation& call) {
  return change(call, "POST", groups, {{"name", call.text("GROUP")}, {"description", call.text("--description")}});
}
outcome<void> run_group_rename(const invocation& call) {
  return change(call, "POST", path_of(groups, call, "GROUP"), {{"name", call.text("NAME")}});
}
outcome<void> run_group_delete(const invocation& call) {
  return change(call, "DELETE", path_of(groups, call, "GROUP"), nullptr);
}
outcome<void> run_group_permission_add(const invocation& call) { return change_permission(call, true); }
outcome<void> run_group_permission_remove(const invocation& call) { return change_permission(call, false); }

outcome<void> run_identity_list(const invocation& call) {
  auto all = server{call.dir}.get(std::string{identities} + "?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all)
    rows.push_back({one.value("authentication_method", ""), one.value("type", ""), one.value("name", ""),
                    one.value("id", "").substr(0, 40), joined(one["groups"])});
  std::cout << to_table({"METHOD", "TYPE", "NAME", "ID", "GROUPS"}, rows);
  return {};
}
outcome<void> run_identity_show(const invocation& call) {
  auto path = identity_path(call);
  if (!path) return tl::unexpected{path.error()};
  return show(call, *path);
}
outcome<void> run_identity_create(const invocation& call) {
  auto& typed = call.text("IDENTITY");
  if (!typed.starts_with("tls/"))
    return fail(fault::invalid, "Identities of other methods than tls come by themselves, at their first login");
  json body{{"name", typed.substr(4)}, {"groups", json::array()}};
  std::istringstream words{call.text("--groups")};
  for (std::string word; std::getline(words, word, ',');)
    if (!word.empty()) body["groups"].push_back(word);
  if (call.text("FILE").empty()) {
    body["token"] = true;
    auto token = server{call.dir}.change("POST", std::string{identities} + "/tls", body);
    if (!token) return tl::unexpected{token.error()};
    std::cout << to_base64(token->dump()) << '\n';
    return {};
  }
  auto facts = load_certificate(call.text("FILE"));
  if (!facts) return tl::unexpected{facts.error()};
  body["certificate"] = facts->base64;
  return change(call, "POST", std::string{identities} + "/tls", body);
}
outcome<void> run_identity_delete(const invocation& call) {
  auto path = identity_path(call);
  if (!path) return tl::unexpected{path.error()};
  return change(call, "DELETE", *path, nullptr);
}
outcome<void> run_identity_group_add(const invocation& call) { return change_identity_group(call, true); }
outcome<void> run_identity_group_remove(const invocation& call) { return change_identity_group(call, false); }

outcome<void> run_mapping_list(const invocation& call) {
  auto all = server{call.dir}.get(std::string{mappings} + "?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all) rows.push_back({one.value("name", ""), joined(one["groups"])});
  std::cout << to_table({"NAME", "GROUPS"}, rows);
  return {};
}
outcome<void> run_mapping_create(const invocation& call) {
  return change(call, "POST", mappings, {{"name", call.text("PROVIDER-GROUP")}});
}
outcome<void> run_mapping_delete(const invocation& call) {
  return change(call, "DELETE", path_of(mappings, call, "PROVIDER-GROUP"), nullptr);
}
outcome<void> run_mapping_group_add(const invocation& call) {
  return change_list(call, path_of(mappings, call, "PROVIDER-GROUP"), "groups", call.text("GROUP"), true);
}
outcome<void> run_mapping_group_remove(const invocation& call) {
  return change_list(call, path_of(mappings, call, "PROVIDER-GROUP"), "groups", call.text("GROUP"), false);
}

outcome<void> run_permission_list(const invocation& call) {
  auto path = "/1.0/auth/permissions?recursion=1&entity-type=" + url_encode(call.text("--type"));
  if (!call.text("--project").empty()) path += "&project=" + url_encode(call.text("--project"));
  auto all = server{call.dir}.get(path);
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all)
    rows.push_back(
        {one.value("entity_type", ""), one.value("url", ""), one.value("entitlement", ""), joined(one["groups"])});
  std::cout << to_table({"TYPE", "URL", "ENTITLEMENT", "GROUPS"}, rows);
  return {};
}

} // namespace troupe
