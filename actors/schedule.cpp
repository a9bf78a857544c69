#include "actors/schedule.hpp"

#include "actors/names.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <string>

namespace troupe {
namespace {

constexpr int64_t years_looked_at = 5;
constexpr std::string_view month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                            "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct alias_row {
  std::string_view name, line;
};
constexpr alias_row aliases[] = {
    {"@hourly", "0 * * * *"}, {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"}, {"@monthly", "0 0 1 * *"}, {"@annually", "0 0 1 1 *"},
    {"@yearly", "0 0 1 1 *"}, {"@startup", ""},          {"@never", ""},
};

struct field_range {
  int first, last;
  std::span<const std::string_view> names = {};
  int first_name = 0;
};

std::optional<int> number_in(std::string_view text, const field_range& range) {
  int value = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad == std::errc{} && end == text.data() + text.size())
    return value >= range.first && value <= range.last ? std::optional{value} : std::nullopt;
  for (size_t i = 0; i < range.names.size(); ++i)
    if (text == range.names[i]) return static_cast<int>(i) + range.first_name;
  return std::nullopt;
}

template <size_t N>
bool add_part(std::string_view part, const field_range& range, std::bitset<N>& into) {
  int step = 1;
  auto slash = part.find('/');
  if (slash != part.npos) {
    auto given = number_in(part.substr(slash + 1), {1, range.last});
    if (!given) return false;
    step = *given;
  }
  auto span = part.substr(0, slash);
  auto dash = span.find('-');
  auto first = span == "*" ? std::optional{range.first} : number_in(span.substr(0, dash), range);
  // "5" is one moment, "5/10" begins there.
  auto last = span == "*" || (dash == span.npos && slash != part.npos) ? std::optional{range.last}
              : dash == span.npos                                      ? first
                                                                       : number_in(span.substr(dash + 1), range);
  if (!first || !last || *first > *last) return false;
  for (int at = *first; at <= *last; at += step) into.set(static_cast<size_t>(at));
  return true;
}

template <size_t N>
bool parse_field(std::string_view field, const field_range& range, std::bitset<N>& into) {
  while (true) {
    auto comma = field.find(',');
    if (!add_part(field.substr(0, comma), range, into)) return false;
    if (comma == field.npos) return true;
    field.remove_prefix(comma + 1);
  }
}

std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> out;
  while (true) {
    auto begin = line.find_first_not_of(' ');
    if (begin == line.npos) return out;
    line.remove_prefix(begin);
    auto end = std::min(line.find(' '), line.size());
    out.emplace_back(line.substr(0, end));
    for (auto& letter : out.back())
      if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    line.remove_prefix(end);
  }
}

tl::unexpected<error> no_schedule(std::string_view text) {
  return fail(fault::invalid, "\"" + std::string{text} + "\" is no schedule");
}

} // namespace

outcome<schedule::line> schedule::parse_line(std::string_view text) {
  auto fields = fields_of(text);
  if (fields.size() != 5) return no_schedule(text);
  line out;
  bool good = parse_field(fields[0], {0, 59}, out.minutes) && parse_field(fields[1], {0, 23}, out.hours) &&
              parse_field(fields[2], {1, 31}, out.days) &&
              parse_field(fields[3], {1, 12, month_names, 1}, out.months) &&
              parse_field(fields[4], {0, 7, day_names, 0}, out.weekdays);
  if (!good) return no_schedule(text);
  if (out.weekdays[7]) out.weekdays.set(0); // Sunday is both
  out.any_day = fields[2].starts_with('*');
  out.any_weekday = fields[4].starts_with('*');
  return out;
}

outcome<schedule> schedule::parse(std::string_view text) {
  schedule out;
  if (text.empty()) return out;
  auto words = text.starts_with('@') ? words_of(text) : std::vector{std::string{text}};
  for (std::string_view word : words) {
    if (auto row = std::find_if(std::begin(aliases), std::end(aliases), [&](auto& a) { return a.name == word; });
        row != std::end(aliases)) {
      out.at_startup_ |= row->name == "@startup";
      word = row->line;
      if (word.empty()) continue;
    }
    auto one = parse_line(word);
    if (!one) return tl::unexpected{one.error()};
    out.lines_.push_back(*one);
  }
  return out;
}

std::optional<int64_t> schedule::next_of(const line& when, int64_t seconds) {
  auto from = static_cast<time_t>(seconds);
  std::tm at{};
  localtime_r(&from, &at);
  at.tm_sec = 0;
  ++at.tm_min;
  int last_year = at.tm_year + static_cast<int>(years_looked_at);
  // mktime carries what is too large over, and says which weekday it is.
  auto settle = [&at] {
    at.tm_isdst = -1;
    return mktime(&at);
  };
  auto to_next_day = [&at] {
    ++at.tm_mday;
    at.tm_hour = at.tm_min = 0;
  };
  for (auto now = settle(); at.tm_year <= last_year; now = settle()) {
    auto index = [](int value) { return static_cast<size_t>(value); };
    bool day = when.days[index(at.tm_mday)], weekday = when.weekdays[index(at.tm_wday)];
    bool fits = when.any_day || when.any_weekday ? day && weekday : day || weekday;
    if (!when.months[index(at.tm_mon + 1)]) {
      ++at.tm_mon;
      at.tm_mday = 1;
      at.tm_hour = at.tm_min = 0;
    } else if (!fits) {
      to_next_day();
    } else if (!when.hours[index(at.tm_hour)]) {
      ++at.tm_hour;
      at.tm_min = 0;
    } else if (!when.minutes[index(at.tm_min)]) {
      ++at.tm_min;
    } else if (now > seconds) {
      return now;
    } else { // the hour that comes twice when summer ends
      ++at.tm_hour;
    }
  }
  return std::nullopt;
}

std::optional<int64_t> schedule::next_after(int64_t seconds) const {
  std::optional<int64_t> first;
  for (auto& each : lines_)
    if (auto next = next_of(each, seconds); next && (!first || *next < *first)) first = next;
  return first;
}

} // namespace troupe
