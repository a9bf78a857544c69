#include "cli/certificate_file.hpp"
#include "cli/editor.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <yaml-cpp/yaml.h>

namespace troupe {

using nlohmann::json;

namespace {

constexpr const char* collection = "/1.0/certificates";

std::string path_of(const invocation& call) {
  return std::string{collection} + "/" + url_encode(call.text("FINGERPRINT"));
}

json words_of(const std::string& list) {
  auto out = json::array();
  std::istringstream words{list};
  for (std::string word; std::getline(words, word, ',');)
    if (!word.empty()) out.push_back(word);
  return out;
}

json request_of(const invocation& call) {
  json body{{"type", call.text("--type")}, {"name", call.text("--name")}, {"restricted", call.flag("--restricted")}};
  body["projects"] = words_of(call.text("--projects"));
  return body;
}

// What `lxc remote add` and `troupe` take: base64 of a JSON object.
std::string token_text(const json& operation) {
  auto& metadata = operation["metadata"];
  json token{{"client_name", metadata["request"].value("name", "")},
             {"fingerprint", metadata.value("fingerprint", "")},
             {"addresses", metadata.value("addresses", json::array())},
             {"secret", metadata.value("secret", "")},
             {"expires_at", metadata.value("expiresAt", "0001-01-01T00:00:00Z")}};
  return to_base64(token.dump());
}

outcome<void> issue_token(const invocation& call) {
  if (call.text("--name").empty()) return fail(fault::invalid, "A token needs --name, or give a certificate's file");
  auto body = request_of(call);
  body["token"] = true;
  http_call post;
  post.method = "POST";
  post.target = collection;
  post.body.emplace_back(body.dump());
  auto envelope = server{call.dir}.request(post);
  if (!envelope) return tl::unexpected{envelope.error()};
  std::cout << token_text((*envelope)["metadata"]) << '\n';
  return {};
}

/// The tokens that can still be used, as operations.
outcome<std::vector<json>> tokens_of(const server& daemon) {
  auto all = daemon.get("/1.0/operations?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<json> out;
  for (auto& operation : all->value("running", json::array()))
    if (operation.value("class", "") == "token" && operation["metadata"].contains("request")) out.push_back(operation);
  return out;
}

/// What `edit` may change.
outcome<json> read_certificate_yaml(const std::string& text) {
  try {
    auto node = YAML::Load(text);
    auto word = [&](const char* key) { return node[key] ? node[key].as<std::string>() : std::string{}; };
    json out{{"name", word("name")},
             {"type", word("type")},
             {"certificate", word("certificate")},
             {"restricted", node["restricted"] && node["restricted"].as<bool>()},
             {"projects", json::array()}};
    if (node["projects"])
      for (auto project : node["projects"]) out["projects"].push_back(project.as<std::string>());
    return out;
  } catch (const YAML::Exception& why) {
    return fail(fault::invalid, std::string{"This is not the YAML of a certificate: "} + why.what());
  }
}

std::string name_of(const json& token) { return token["metadata"]["request"].value("name", ""); }

} // namespace

outcome<void> run_trust_list(const invocation& call) {
  auto all = server{call.dir}.get(std::string{collection} + "?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all) {
    auto facts = read_certificate(one.value("certificate", ""));
    std::string projects;
    for (auto& project : one["projects"]) projects += (projects.empty() ? "" : " ") + project.get<std::string>();
    rows.push_back({one.value("type", ""), one.value("name", ""), facts ? facts->common_name : "",
                    one.value("fingerprint", "").substr(0, 12), facts ? facts->from : "", facts ? facts->until : "",
                    one.value("restricted", false) ? "YES" : "NO", projects});
  }
  std::cout << to_table(
      {"TYPE", "NAME", "COMMON NAME", "FINGERPRINT", "ISSUE DATE", "EXPIRY DATE", "RESTRICTED", "PROJECTS"}, rows);
  return {};
}

outcome<void> run_trust_add(const invocation& call) {
  if (call.text("FILE").empty()) return issue_token(call);
  auto facts = load_certificate(call.text("FILE"));
  if (!facts) return tl::unexpected{facts.error()};
  auto body = request_of(call);
  body["certificate"] = facts->base64;
  auto done = server{call.dir}.change("POST", collection, body);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

outcome<void> run_trust_remove(const invocation& call) {
  auto done = server{call.dir}.change("DELETE", path_of(call), nullptr);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

outcome<void> run_trust_show(const invocation& call) {
  auto one = server{call.dir}.get(path_of(call));
  if (!one) return tl::unexpected{one.error()};
  std::cout << to_yaml(*one);
  return {};
}

outcome<void> run_trust_edit(const invocation& call) {
  server daemon{call.dir};
  auto one = daemon.get(path_of(call));
  if (!one) return tl::unexpected{one.error()};
  one->erase("fingerprint");
  auto text = edit_text(to_yaml(*one));
  if (!text) return tl::unexpected{text.error()};
  auto wanted = read_certificate_yaml(*text);
  if (!wanted) return tl::unexpected{wanted.error()};
  auto done = daemon.change("PUT", path_of(call), *wanted);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

outcome<void> run_trust_list_tokens(const invocation& call) {
  auto tokens = tokens_of(server{call.dir});
  if (!tokens) return tl::unexpected{tokens.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& token : *tokens) rows.push_back({name_of(token), token["metadata"].value("expiresAt", "")});
  std::cout << to_table({"NAME", "EXPIRES AT"}, rows);
  return {};
}

outcome<void> run_trust_revoke_token(const invocation& call) {
  server daemon{call.dir};
  auto tokens = tokens_of(daemon);
  if (!tokens) return tl::unexpected{tokens.error()};
  for (auto& token : *tokens) {
    if (name_of(token) != call.text("NAME")) continue;
    auto done = daemon.change("DELETE", "/1.0/operations/" + token.value("id", ""), nullptr);
    if (!done) return tl::unexpected{done.error()};
    return {};
  }
  return fail(fault::not_found, "There is no token of that name");
}

} // namespace troupe
