#include "actors/join_attempts.hpp"
#include "actors/server_keys.hpp"
#include "actors/trust_password.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

TEST_CASE("five wrong secrets from a host, then it waits; others do not") {
  join_attempts attempts;
  join_attempts::time now{};
  for (int i = 0; i < join_attempts::wrong_max; ++i) {
    REQUIRE(attempts.may_try("192.0.2.1:" + std::to_string(i + 1), now));
    attempts.was_wrong("192.0.2.1:" + std::to_string(i + 1), now);
  }
  CHECK_FALSE(attempts.may_try("192.0.2.1:99", now));
  CHECK(attempts.may_try("192.0.2.2:99", now));
  CHECK(attempts.may_try("192.0.2.1:99", now + join_attempts::window));
}

TEST_CASE("an IPv6 host is its /64") {
  join_attempts attempts;
  join_attempts::time now{};
  for (int i = 0; i < join_attempts::wrong_max; ++i)
    attempts.was_wrong("[2001:db8:1:2::" + std::to_string(i + 1) + "]:1", now);
  CHECK_FALSE(attempts.may_try("[2001:db8:1:2:5:6:7:8]:1", now));
  CHECK(attempts.may_try("[2001:db8:1:3::1]:1", now));
}

TEST_CASE("a crowd of hosts with wrong secrets takes bounded memory") {
  join_attempts attempts;
  join_attempts::time now{};
  auto host = [](size_t i) { return "10." + std::to_string(i >> 8) + "." + std::to_string(i & 255) + ".1:1"; };
  for (size_t i = 0; i < join_attempts::hosts_max; ++i) attempts.was_wrong(host(i), now);
  CHECK_FALSE(attempts.may_try("192.0.2.1:1", now));
  CHECK(attempts.may_try("192.0.2.1:1", now + join_attempts::window));
}

TEST_CASE("a password matches its hash and no other") {
  auto hash = hash_password("secret");
  REQUIRE(hash);
  CHECK(hash->starts_with("$argon2id$"));
  CHECK(*hash != *hash_password("secret")); // salted
  CHECK(password_matches("secret", *hash));
  CHECK_FALSE(password_matches("Secret", *hash));
  CHECK_FALSE(password_matches("secret", ""));
}

TEST_CASE("spans of time") {
  constexpr int64_t day = 24 * 3600, start = 1'700'000'000; // 2023-11-14
  CHECK(later_by(start, "") == start);
  CHECK(later_by(start, "90S") == start + 90);
  CHECK(later_by(start, "1H 30M") == start + 5400);
  CHECK(later_by(start, "2w") == start + 14 * day);
  CHECK(later_by(start, "1m") == start + 30 * day); // November has 30 days
  CHECK(later_by(start, "1y") == start + 366 * day);
  for (auto bad : {"1", "d", "-1d", "1x", "1.5d", "99999999999d"}) CHECK_FALSE(later_by(start, bad));
}

TEST_CASE("values of the server's keys") {
  auto good = [](std::string_view key, std::string_view value) {
    return check_server_value(*find_server_key(key), value).has_value();
  };
  CHECK(good("core.https_address", ":8443"));
  CHECK_FALSE(good("core.https_address", "example.org:8443"));
  CHECK(good("core.https_trusted_proxy", "192.0.2.1, ::1"));
  CHECK_FALSE(good("core.https_trusted_proxy", "192.0.2.0/24"));
  CHECK(good("core.remote_token_expiry", "15d"));
  CHECK_FALSE(good("core.remote_token_expiry", "soon"));
  CHECK_FALSE(good("core.https_allowed_origin", "https://a\r\nX: y"));
  CHECK_FALSE(good("core.trust_ca_certificates", "maybe"));
}
