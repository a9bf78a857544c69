#include "actors/snapshot_pattern.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>

namespace troupe {
namespace {

constexpr std::string_view plain_layout = "2006-01-02-15-04-05", default_pattern = "snap%d";

struct layout_row {
  std::string_view word, format;
};
// Longer words first: "2006" is no "2".
constexpr layout_row layouts[] = {
    {"January", "%B"}, {"Monday", "%A"}, {"2006", "%Y"}, {"Jan", "%b"}, {"Mon", "%a"}, {"01", "%m"}, {"02", "%d"},
    {"03", "%I"},      {"04", "%M"},     {"05", "%S"},   {"06", "%y"},  {"15", "%H"},  {"PM", "%p"},
};

std::string in_layout(std::string_view layout, int64_t seconds) {
  auto at = static_cast<time_t>(seconds);
  std::tm parts{};
  localtime_r(&at, &parts);
  std::string out;
  while (!layout.empty()) {
    auto row =
        std::find_if(std::begin(layouts), std::end(layouts), [&](auto& r) { return layout.starts_with(r.word); });
    if (row == std::end(layouts)) {
      out += layout.front();
      layout.remove_prefix(1);
      continue;
    }
    char text[64];
    out.append(text, std::strftime(text, sizeof text, std::string{row->format}.c_str(), &parts));
    layout.remove_prefix(row->word.size());
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

outcome<std::string> value_of(std::string_view expression, int64_t seconds) {
  auto bar = expression.find('|');
  if (trimmed(expression.substr(0, bar)) != "creation_date")
    return fail(fault::invalid, "A snapshot's pattern knows creation_date only");
  if (bar == expression.npos) return in_layout(plain_layout, seconds);
  auto filter = trimmed(expression.substr(bar + 1));
  if (!filter.starts_with("date:")) return fail(fault::invalid, "A snapshot's pattern knows the filter date only");
  auto layout = trimmed(filter.substr(5));
  bool quoted =
      layout.size() >= 2 && (layout.front() == '\'' || layout.front() == '"') && layout.back() == layout.front();
  if (!quoted) return fail(fault::invalid, "The layout of a snapshot's pattern stands in quotes");
  return in_layout(layout.substr(1, layout.size() - 2), seconds);
}

uint64_t next_number(const std::vector<std::string>& taken, std::string_view front, std::string_view back) {
  uint64_t number = 0;
  for (std::string_view name : taken) {
    if (name.size() <= front.size() + back.size() || !name.starts_with(front) || !name.ends_with(back)) continue;
    auto middle = name.substr(front.size(), name.size() - front.size() - back.size());
    uint64_t found = 0;
    auto [end, bad] = std::from_chars(middle.data(), middle.data() + middle.size(), found);
    if (bad == std::errc{} && end == middle.data() + middle.size()) number = std::max(number, found + 1);
  }
  return number;
}

} // namespace

outcome<std::string> render_pattern(std::string_view pattern, int64_t seconds) {
  std::string out;
  for (auto rest = pattern; !rest.empty();) {
    auto open = rest.find("{{");
    out += rest.substr(0, open);
    if (open == rest.npos) break;
    auto close = rest.find("}}", open);
    if (close == rest.npos) return fail(fault::invalid, "A snapshot's pattern has an open {{");
    auto value = value_of(trimmed(rest.substr(open + 2, close - open - 2)), seconds);
    if (!value) return value;
    out += *value;
    rest.remove_prefix(close + 2);
  }
  auto number = out.find("%d");
  if (number != out.npos && out.find("%d", number + 2) != out.npos)
    return fail(fault::invalid, "A snapshot's pattern has at most one %d");
  return out;
}

outcome<std::string> next_snapshot_name(const std::vector<std::string>& taken, std::string_view pattern,
                                        int64_t seconds) {
  auto name = render_pattern(pattern.empty() ? default_pattern : pattern, seconds);
  if (!name) return name;
  auto at = name->find("%d");
  if (at == name->npos) {
    if (std::find(taken.begin(), taken.end(), *name) == taken.end()) return name;
    at = name->size() + 1;
    *name += "-%d";
  }
  auto front = name->substr(0, at), back = name->substr(at + 2);
  return front + std::to_string(next_number(taken, front, back)) + back;
}

} // namespace troupe
