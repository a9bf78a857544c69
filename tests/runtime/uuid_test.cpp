#include "runtime/uuid.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <regex>
#include <set>
#include <thread>
#include <vector>

using namespace troupe;

TEST_CASE("a version 7 id has its form and begins with the milliseconds since 1970") {
  using namespace std::chrono;
  auto now = [] { return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count(); };
  auto before = now();
  auto id = make_uuid_v7();
  auto after = now();
  CHECK(std::regex_match(id, std::regex{"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"}));
  auto ms = std::stoll(id.substr(0, 8) + id.substr(9, 4), nullptr, 16);
  CHECK(ms >= before);
  CHECK(ms <= after);
}

TEST_CASE("version 7 ids grow in the order of their making, in every thread") {
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> makers;
  for (auto& mine : made)
    makers.emplace_back([&mine] {
      for (int i = 0; i < 5000; ++i) mine.push_back(make_uuid_v7());
    });
  for (auto& m : makers) m.join();
  std::set<std::string> all;
  for (auto& mine : made) {
    CHECK(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
  }
  CHECK(all.size() == 20000);
}

TEST_CASE("a version 4 id has its form and is never the same") {
  std::regex form{"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"};
  std::set<std::string> all;
  for (int i = 0; i < 1000; ++i) {
    auto id = make_uuid_v4();
    CHECK(std::regex_match(id, form));
    all.insert(id);
  }
  CHECK(all.size() == 1000);
}

TEST_CASE("a secret has two digits for each byte, all of them in use") {
  CHECK(random_hex(0).empty());
  CHECK(random_hex(1).size() == 2);
  auto secret = random_hex(4096);
  CHECK(secret.size() == 8192);
  CHECK(std::set<char>(secret.begin(), secret.end()).size() == 16);
  CHECK(random_hex(32) != random_hex(32));
}

TEST_CASE("an id of a text is always the same, and another text has another") {
  CHECK(uuid_of("a") == "ca978112-ca1b-8dca-bac2-31b39a23dc4d");
  CHECK(uuid_of("a") != uuid_of("b"));
}
