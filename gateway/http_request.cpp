#include "gateway/http_parser.hpp"
#include "messages/percent.hpp"

#include <algorithm>

namespace troupe {
namespace {

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool split_query(http_request& request, std::string_view query) {
  while (!query.empty()) {
    auto end = std::min(query.find('&'), query.size());
    auto pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    auto equals = std::min(pair.find('='), pair.size());
    auto name = percent_decoded(pair.substr(0, equals), true);
    auto value = percent_decoded(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return false;
    request.query.emplace(std::move(*name), std::move(*value));
  }
  return true;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// "http://host/path" (as sent to proxies) becomes "/path".
std::string_view without_authority(std::string_view target) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (!same_text(target.substr(0, scheme.size()), scheme)) continue;
    auto slash = target.find_first_of("/?", scheme.size());
    return slash == target.npos ? std::string_view{"/"} : target.substr(slash);
  }
  return target;
}

} // namespace

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    auto end = std::min(list.find(','), list.size());
    if (same_text(trimmed(list.substr(0, end)), token)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

bool split_target(http_request& request) {
  auto target = without_authority(request.target);
  target = target.substr(0, target.find('#'));
  auto question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  if (question < target.size() && !split_query(request, target.substr(question + 1))) return false;
  if (request.path == "*") return request.method == "OPTIONS";
  if (request.path.empty() || request.path.front() != '/') return false;
  auto rest = std::string_view{request.path}.substr(1);
  if (rest.empty()) return true;
  request.segments.reserve(static_cast<size_t>(std::count(rest.begin(), rest.end(), '/')) + 1);
  for (;;) {
    auto end = std::min(rest.find('/'), rest.size());
    auto segment = percent_decoded(rest.substr(0, end));
    if (!segment) return false;
    request.segments.push_back(std::move(*segment));
    if (end == rest.size()) return true;
    rest.remove_prefix(end + 1);
  }
}

std::string_view http_request::header(std::string_view name) const {
  for (auto& [key, value] : headers)
    if (same_text(key, name)) return value;
  return {};
}

std::string_view http_request::parameter(std::string_view name) const {
  auto at = query.lower_bound(name); // the first of equal keys
  return at == query.end() || at->first != name ? std::string_view{} : std::string_view{at->second};
}

} // namespace troupe
