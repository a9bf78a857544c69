#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

namespace troupe {

using nlohmann::json;

namespace {

constexpr const char* collection = "/1.0/sinks";

std::string path_of(const invocation& call) { return std::string{collection} + "/" + url_encode(call.text("NAME")); }

json split(const std::string& list) {
  auto out = json::array();
  std::istringstream words{list};
  for (std::string word; std::getline(words, word, ',');)
    if (!word.empty()) out.push_back(word);
  return out;
}

// A secret on a command line is seen by everybody on the machine: hence the file.
outcome<std::string> value_of(const std::string& typed) {
  if (!typed.starts_with('@')) return typed;
  std::ifstream in{typed.substr(1), std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  if (!in) return fail(fault::not_found, "Cannot read " + typed.substr(1));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

outcome<json> config_of(const invocation& call) {
  auto out = json::object();
  for (auto& word : call.words) {
    auto equals = word.find('=');
    if (equals == 0 || equals == word.npos) return fail(fault::invalid, "\"" + word + "\" is not KEY=VALUE");
    auto value = value_of(word.substr(equals + 1));
    if (!value) return tl::unexpected{value.error()};
    out[word.substr(0, equals)] = *value;
  }
  return out;
}

// What the two commands that write have in common; what was not typed is left out.
outcome<json> body_of(const invocation& call) {
  auto config = config_of(call);
  if (!config) return config;
  json body{{"config", *config}};
  if (auto& typed = call.text("--filter"); !typed.empty()) body["filter"] = split(typed);
  if (auto& typed = call.text("--type"); !typed.empty()) body["types"] = split(typed);
  if (auto& typed = call.text("--description"); !typed.empty()) body["description"] = typed;
  return body;
}

outcome<void> change(const invocation& call, const std::string& method, const std::string& path, const json& body) {
  auto done = server{call.dir}.change(method, path, body);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

std::string shortened(std::string text) {
  constexpr size_t bytes_max = 60;
  if (text.size() > bytes_max) text = text.substr(0, bytes_max - 3) + "...";
  return text;
}

std::vector<std::string> cells_of(const json& sink) {
  auto& state = sink["state"];
  std::string filter;
  for (auto& subject : sink["filter"]) filter += (filter.empty() ? "" : " ") + subject.get<std::string>();
  return {sink.value("name", ""),
          sink.value("type", ""),
          filter.empty() ? ">" : filter,
          state.value("failing", false) ? "RETRYING" : "RUNNING",
          std::to_string(state.value("lag", uint64_t{0})),
          std::to_string(state.value("delivered", uint64_t{0})),
          std::to_string(state.value("dead_letters", uint64_t{0})),
          shortened(state.value("last_error", ""))};
}

} // namespace

outcome<void> run_sink_list(const invocation& call) {
  auto sinks = server{call.dir}.get(std::string{collection} + "?recursion=2");
  if (!sinks) return tl::unexpected{sinks.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& sink : *sinks) rows.push_back(cells_of(sink));
  std::cout << to_table({"NAME", "TYPE", "FILTER", "STATE", "LAG", "DELIVERED", "DEAD LETTERS", "LAST ERROR"}, rows);
  return {};
}

outcome<void> run_sink_show(const invocation& call) {
  server daemon{call.dir};
  auto sink = daemon.get(path_of(call));
  if (!sink) return tl::unexpected{sink.error()};
  auto state = daemon.get(path_of(call) + "/state");
  if (!state) return tl::unexpected{state.error()};
  (*sink)["state"] = *state;
  std::cout << to_yaml(*sink);
  return {};
}

outcome<void> run_sink_create(const invocation& call) {
  auto body = body_of(call);
  if (!body) return tl::unexpected{body.error()};
  (*body)["name"] = call.text("NAME");
  (*body)["type"] = call.text("TYPE");
  (*body)["start"] = call.text("--start");
  return change(call, "POST", collection, *body);
}

outcome<void> run_sink_set(const invocation& call) {
  auto body = body_of(call);
  if (!body) return tl::unexpected{body.error()};
  return change(call, "PATCH", path_of(call), *body);
}

outcome<void> run_sink_delete(const invocation& call) { return change(call, "DELETE", path_of(call), nullptr); }

outcome<void> run_sink_dead_letters(const invocation& call) {
  auto path = path_of(call) + "/dead-letters";
  if (call.flag("--delete")) return change(call, "DELETE", path, nullptr);
  auto letters = server{call.dir}.get(path);
  if (!letters) return tl::unexpected{letters.error()};
  for (auto& letter : *letters) std::cout << letter.dump() << '\n';
  return {};
}

} // namespace troupe
