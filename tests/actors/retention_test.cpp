#include "actors/retention.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>

using namespace troupe;

namespace {

snapshot_record taken(const char* when, bool scheduled = true) {
  std::tm parts{};
  strptime(when, "%Y-%m-%d %H:%M", &parts);
  return snapshot_record::make([&](schema::SnapshotSpec::Builder s) {
    s.setName(when);
    s.setCreatedAt(int64_t{timegm(&parts)} * 1'000'000'000);
    s.setScheduled(scheduled);
  });
}

std::string shown(const std::vector<snapshot_record>& all, const retention& tiers) {
  std::string out;
  for (auto& [one, kept_by] : retain(all, tiers)) {
    out += one.read([](auto s) { return text(s.getName()); }) + ":";
    for (auto tier : kept_by) out += " " + std::string{tier};
    out += "\n";
  }
  return out;
}

} // namespace

TEST_CASE("each tier keeps the newest of each of its newest periods", "[retention]") {
  setenv("TZ", "UTC", 1);
  tzset();
  std::vector<snapshot_record> all{taken("2026-01-31 23:00"), taken("2026-02-01 10:00"),
                                   taken("2026-02-02 09:00"), taken("2026-02-02 10:10"),
                                   taken("2026-02-02 10:50"), taken("2026-02-02 11:00", false)};
  CHECK(shown(all, {{2, -1, -1, -1}}) == "2026-02-02 10:50: hourly\n"
                                         "2026-02-02 10:10:\n"
                                         "2026-02-02 09:00: hourly\n"
                                         "2026-02-01 10:00:\n"
                                         "2026-01-31 23:00:\n");
  CHECK(shown(all, {{1, 2, -1, 5}}) == "2026-02-02 10:50: hourly daily monthly\n"
                                       "2026-02-02 10:10:\n"
                                       "2026-02-02 09:00:\n"
                                       "2026-02-01 10:00: daily\n"
                                       "2026-01-31 23:00: monthly\n");
  // The second of February 2026 is a Monday.
  CHECK(shown(all, {{-1, -1, 2, -1}}) == "2026-02-02 10:50: weekly\n"
                                         "2026-02-02 10:10:\n"
                                         "2026-02-02 09:00:\n"
                                         "2026-02-01 10:00: weekly\n"
                                         "2026-01-31 23:00:\n");
}

TEST_CASE("without tiers all stay, and with none of a tier nothing does", "[retention]") {
  std::vector<snapshot_record> all{taken("2026-02-01 10:00")};
  CHECK(shown(all, {}) == "2026-02-01 10:00: all\n");
  CHECK(shown(all, {{0, -1, -1, -1}}) == "2026-02-01 10:00:\n");
}

TEST_CASE("tiers come from the config, and what is asked for goes before it", "[retention]") {
  config_map config{{"snapshots.keep.daily", "7"}, {"snapshots.keep.weekly", "4"}};
  CHECK(retention_of(config).keep == std::array{-1, 7, 4, -1});
  CHECK(retention_of(config, {{-1, 2, -1, 0}}).keep == std::array{-1, 2, 4, 0});
}
