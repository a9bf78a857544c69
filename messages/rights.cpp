#include "messages/rights.hpp"

#include "messages/percent.hpp"

#include <algorithm>

namespace troupe {
namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    auto end = std::min(text.find(at), text.size());
    if (end > 0) out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view{"-._~@:"}.find(c) != std::string_view::npos;
}

std::string encoded(std::string_view text, bool slashes_too) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text)
    if (is_plain(c) || (c == '/' && !slashes_too))
      out += c;
    else
      (out += '%') += {digits[static_cast<uint8_t>(c) >> 4], digits[c & 15]};
  return out;
}

/// The parts of the name that the path has where the pattern has stars.
bool fits(std::string_view pattern, std::string_view path, std::string& name) {
  auto wanted = split(pattern, '/'), given = split(path, '/');
  bool rest = !wanted.empty() && wanted.back() == "**";
  if (rest ? given.size() < wanted.size() : given.size() != wanted.size()) return false;
  for (size_t i = 0; i < given.size(); ++i) {
    auto part = wanted[std::min(i, wanted.size() - 1)];
    if (part.front() != '*') {
      if (part != given[i]) return false;
      continue;
    }
    auto plain = percent_decoded(given[i]);
    if (!plain || plain->empty()) return false;
    if (!name.empty()) name += '/';
    name += *plain;
  }
  return true;
}

std::string project_in(std::string_view query) {
  for (auto pair : split(query, '&'))
    if (pair.starts_with("project=")) return percent_decoded(pair.substr(8)).value_or("");
  return "default";
}

} // namespace

outcome<entity> entity_of(std::string_view type, std::string_view url) {
  auto question = std::min(url.find('?'), url.size());
  auto path = url.substr(0, question), query = url.substr(std::min(question + 1, url.size()));
  for (auto& row : entity_types()) {
    entity out{std::string{row.type}};
    if ((!type.empty() && row.type != type) || !path.starts_with('/') || !fits(row.path, path, out.name)) continue;
    if (row.in_project) out.project = project_in(query);
    if (row.type == "project") out.project = std::exchange(out.name, {});
    return out;
  }
  if (!type.empty() && !find_entity_type(type))
    return fail(fault::invalid, "There is no entity type \"" + std::string{type} + '"');
  return fail(fault::invalid, "\"" + std::string{url} + "\" is no URL of an entity" +
                                  (type.empty() ? "" : " of type \"" + std::string{type} + '"'));
}

std::string url_of(const entity& thing) {
  auto* row = find_entity_type(thing.type);
  if (!row) return {};
  auto parts = split(row->path, '/');
  auto stars = std::count_if(parts.begin(), parts.end(), [](auto part) { return part.front() == '*'; });
  std::string out;
  std::string_view rest = thing.type == "project" ? thing.project : thing.name;
  for (auto part : parts) {
    out += '/';
    if (part.front() != '*') {
      out += part;
      continue;
    }
    auto end = --stars == 0 ? rest.size() : std::min(rest.find('/'), rest.size()); // the last has what is left
    out += encoded(rest.substr(0, end), part == "*");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (row->in_project) out += "?project=" + encoded(thing.project, true);
  return out;
}

rights::rights(std::vector<permission> given) : given_{std::move(given)} {
  std::sort(given_.begin(), given_.end());
  given_.erase(std::unique(given_.begin(), given_.end()), given_.end());
}

bool rights::holds(std::string_view entitlement, const entity& on) const {
  auto before = [&](const permission& one, std::string_view) {
    return one.on != on ? one.on < on : one.entitlement < entitlement;
  };
  auto at = std::lower_bound(given_.begin(), given_.end(), entitlement, before);
  return at != given_.end() && at->on == on && at->entitlement == entitlement;
}

bool rights::includes(std::string_view entitlement, const entity& on) const {
  if (holds(entitlement, on)) return true;
  auto* row = find_entitlement(on.type, entitlement);
  if (!row) return false;
  for (auto word : split(row->same, ' '))
    if (includes(word, on)) return true;
  if (row->above.empty()) return false;
  bool inside = !on.project.empty() && on.type != "project";
  auto what_holds_it = inside ? the_project(on.project) : the_server();
  for (auto word : split(row->above, ' '))
    if (includes(word, what_holds_it)) return true;
  return false;
}

bool rights::allow(std::string_view entitlement, const entity& on) const {
  return holds("admin", the_server()) || includes(entitlement, on);
}

bool rights::reach(std::string_view project) const {
  return std::any_of(given_.begin(), given_.end(), [&](auto& one) { return one.on.project == project; }) ||
         allow("can_view", the_project(project));
}

bool rights::cover(const rights& other) const {
  return std::all_of(other.given_.begin(), other.given_.end(),
                     [&](auto& one) { return allow(one.entitlement, one.on); });
}

bool principal::may(std::string_view entitlement, const entity& on) const {
  if (level == trust::granted) return given->allow(entitlement, on);
  return level == trust::full || (!on.project.empty() && may_see(on.project));
}

bool principal::may_see(std::string_view project) const {
  if (level == trust::granted) return given->allow("viewer", the_project(project));
  return level == trust::full ||
         (level == trust::restricted && std::find(projects.begin(), projects.end(), project) != projects.end());
}

bool principal::knows(std::string_view project) const {
  return level == trust::granted ? given->reach(project) : may_see(project);
}

} // namespace troupe
