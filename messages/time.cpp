#include "messages/time.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace troupe {
namespace {

using namespace std::chrono;

constexpr std::string_view never = "0001-01-01T00:00:00Z";

/// Takes parts off the front of a text; `ok` stays false once one did not fit.
struct reader {
  std::string_view rest;
  bool ok = true;

  int number(size_t digits, int least, int most) {
    int value = 0;
    auto part = rest.substr(0, digits);
    auto all_digits = part.find_first_not_of("0123456789") == std::string_view::npos;
    if (!ok || part.size() != digits || !all_digits) return fails();
    std::from_chars(part.data(), part.data() + part.size(), value);
    rest.remove_prefix(digits);
    return value >= least && value <= most ? value : fails();
  }

  bool skip(char expected) {
    if (rest.empty() || rest.front() != expected) return false;
    rest.remove_prefix(1);
    return true;
  }

  void need(char expected) { ok = skip(expected) && ok; }

  int fails() {
    ok = false;
    return 0;
  }
};

nanoseconds read_fraction(reader& in) {
  if (!in.skip('.')) return nanoseconds{0};
  auto digits = in.rest.find_first_not_of("0123456789");
  if (digits == 0 || digits > 9) return nanoseconds{in.fails()}; // also npos: no zone follows
  int64_t value = in.number(digits, 0, 999'999'999);
  for (auto d = digits; d < 9; ++d) value *= 10;
  return nanoseconds{value};
}

minutes read_offset(reader& in) {
  if (in.skip('Z')) return minutes{0};
  bool west = in.skip('-');
  if (!west) in.need('+');
  auto ahead = hours{in.number(2, 0, 23)};
  in.need(':');
  auto offset = ahead + minutes{in.number(2, 0, 59)};
  return west ? -offset : offset;
}

} // namespace

std::string to_rfc3339(int64_t ns) {
  if (ns == 0) return std::string{never};
  sys_time<nanoseconds> at{nanoseconds{ns}};
  auto day = floor<days>(at);
  year_month_day date{day};
  hh_mm_ss clock{at - day};
  std::array<char, 40> text;
  int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d", int(date.year()),
                             unsigned(date.month()), unsigned(date.day()), int(clock.hours().count()),
                             int(clock.minutes().count()), int(clock.seconds().count()));
  std::string made{text.data(), static_cast<size_t>(length)};
  if (auto fraction = clock.subseconds().count()) {
    length = std::snprintf(text.data(), text.size(), ".%09d", int(fraction));
    made.append(text.data(), static_cast<size_t>(length));
    made.erase(made.find_last_not_of('0') + 1);
  }
  return made += 'Z';
}

outcome<int64_t> from_rfc3339(std::string_view text) {
  if (text == never) return 0;
  auto refuse = [] { return fail(fault::invalid, "A time must look like 2006-01-02T15:04:05Z"); };
  reader in{text};
  auto y = year{in.number(4, 1678, 2261)};
  in.need('-');
  auto m = month{static_cast<unsigned>(in.number(2, 1, 12))};
  in.need('-');
  auto d = day{static_cast<unsigned>(in.number(2, 1, 31))};
  in.need('T');
  nanoseconds clock = hours{in.number(2, 0, 23)};
  in.need(':');
  clock += minutes{in.number(2, 0, 59)};
  in.need(':');
  clock += seconds{in.number(2, 0, 59)};
  clock += read_fraction(in);
  auto offset = read_offset(in);
  year_month_day date{y, m, d};
  if (!in.ok || !in.rest.empty() || !date.ok()) return refuse();
  return (sys_time<nanoseconds>{sys_days{date}} + clock - offset).time_since_epoch().count();
}

} // namespace troupe
