#include "actors/schedule.hpp"
#include "actors/snapshot_pattern.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <string>

using namespace troupe;

namespace {

// Everything here in a time zone that knows summer.
struct in_berlin {
  in_berlin() { set("Europe/Berlin"); }
  ~in_berlin() { set("UTC"); }
  static void set(const char* zone) {
    setenv("TZ", zone, 1);
    tzset();
  }
};

int64_t at(const char* text) {
  std::tm parts{};
  strptime(text, "%Y-%m-%d %H:%M", &parts);
  parts.tm_isdst = -1;
  return mktime(&parts);
}

std::string shown(std::optional<int64_t> when) {
  if (!when) return "never";
  auto seconds = static_cast<time_t>(*when);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char out[32];
  strftime(out, sizeof out, "%Y-%m-%d %H:%M", &parts);
  return out;
}

std::string next(const char* text, const char* after) {
  auto parsed = schedule::parse(text);
  REQUIRE(parsed);
  return shown(parsed->next_after(at(after)));
}

} // namespace

TEST_CASE("A cron line says when something is due next") {
  in_berlin zone;
  CHECK(next("30 6 * * *", "2026-05-01 06:29") == "2026-05-01 06:30");
  CHECK(next("30 6 * * *", "2026-05-01 06:30") == "2026-05-02 06:30");
  CHECK(next("*/15 * * * *", "2026-12-31 23:50") == "2027-01-01 00:00");
  CHECK(next("5/20 8-9 * * *", "2026-05-01 08:46") == "2026-05-01 09:05");
  CHECK(next("0 0 1,15 * *", "2026-05-02 00:00") == "2026-05-15 00:00");
  CHECK(next("0 0 * * mon-fri", "2026-05-01 12:00") == "2026-05-04 00:00");
  CHECK(next("0 0 * * 7", "2026-05-01 12:00") == "2026-05-03 00:00");
  CHECK(next("0 0 29 FEB *", "2026-05-01 12:00") == "2028-02-29 00:00");
  CHECK(next("0 0 13 * fri", "2026-05-01 12:00") == "2026-05-08 00:00"); // either of the two
  CHECK(next("0 0 30 2 *", "2026-05-01 12:00") == "never");
}

TEST_CASE("A cron line keeps to the clock when summer begins and ends") {
  in_berlin zone;
  CHECK(next("30 2 * * *", "2026-03-29 00:00") == "2026-03-30 02:30"); // there is no 02:30 before
  CHECK(next("0 * * * *", "2026-10-25 03:30") == "2026-10-25 04:00");
  auto hourly = schedule::parse("@hourly");
  auto now = at("2026-10-25 00:30");
  for (int hour = 0; hour < 6; ++hour) { // it always goes on, and never by more than two hours
    auto later = hourly->next_after(now);
    REQUIRE(later);
    CHECK(*later > now);
    CHECK(*later - now <= 7200);
    now = *later;
  }
}

TEST_CASE("Aliases stand for lines, and several of them for the first that is due") {
  in_berlin zone;
  CHECK(next("@hourly", "2026-05-01 06:29") == "2026-05-01 07:00");
  CHECK(next("@weekly", "2026-05-01 06:29") == "2026-05-03 00:00");
  CHECK(next("@yearly", "2026-05-01 06:29") == "2027-01-01 00:00");
  CHECK(next("@monthly, @daily", "2026-05-01 06:29") == "2026-05-02 00:00");
  CHECK(next("@never", "2026-05-01 06:29") == "never");
  CHECK(next("", "2026-05-01 06:29") == "never");
  CHECK(schedule::parse("@startup, @daily")->at_startup());
  CHECK_FALSE(schedule::parse("@daily")->at_startup());
}

TEST_CASE("What is no schedule is refused") {
  for (auto text : {"x", "@sometimes", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
                    "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "1, * * * *", "-1 * * * *", "* * * foo *",
                    "@daily @hourly", "99999999999999999999 * * * *"}) {
    INFO(text);
    auto parsed = schedule::parse(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == fault::invalid);
  }
}

TEST_CASE("A snapshot's name is made by its pattern") {
  in_berlin zone;
  auto when = at("2026-05-04 15:06");
  auto name = [&](const char* pattern) { return render_pattern(pattern, when).value_or("refused"); };
  CHECK(name("snap%d") == "snap%d");
  CHECK(name("nightly") == "nightly");
  CHECK(name("at-{{ creation_date }}") == "at-2026-05-04-15-06-00");
  CHECK(name("{{creation_date|date:'20060102'}}-%d") == "20260504-%d");
  CHECK(name("{{ creation_date|date:\"Jan-02_15.04\" }}") == "May-04_15.06");
  for (auto pattern : {"{{ creation_date", "{{ name }}", "{{ creation_date|upper }}", "{{ creation_date|date:2006 }}",
                       "{{ creation_date|date:'2006 }}", "%d-%d", "{% if x %}{{ y }}", "{{ __class__ }}"}) {
    INFO(pattern);
    auto made = render_pattern(pattern, when);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == fault::invalid);
  }
}

TEST_CASE("a new snapshot's name is behind the highest number, and never one that is taken") {
  auto name = [](std::vector<std::string> taken, const char* pattern) {
    return next_snapshot_name(taken, pattern, 0).value_or("refused");
  };
  CHECK(name({}, "") == "snap0");
  CHECK(name({"snap0", "snap7", "snapx", "snap1-x", "snap99999999999999999999"}, "") == "snap8");
  CHECK(name({"nightly"}, "nightly") == "nightly-0");
  CHECK(name({"nightly", "nightly-3"}, "nightly") == "nightly-4");
  CHECK(name({"a1b", "a2"}, "a%db") == "a2b");
  CHECK(name({}, "%d%d") == "refused");
}
