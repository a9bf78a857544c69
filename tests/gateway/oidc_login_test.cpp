#include "gateway/oidc/discovery.hpp"
#include "gateway/oidc/login.hpp"
#include "gateway/oidc/login_cookie.hpp"
#include "gateway/oidc/sessions.hpp"

#include <catch2/catch.hpp>

using namespace troupe;
using nlohmann::json;

TEST_CASE("who a verified token is about") {
  oidc_settings settings{"https://id.example", "troupe"};
  settings.groups_claim = "groups";
  json claims{{"sub", "7"},  {"email", "ann@example.org"}, {"name", "Ann"}, {"groups", {"b", "a", "b"}}, {"iat", 100.5},
              {"exp", 1e300}};
  auto who = login_of(claims, settings);
  REQUIRE(who);
  CHECK(who->subject == "https://id.example 7");
  CHECK(who->groups == std::vector<std::string>{"a", "b"});
  CHECK(who->told_at == 100);
  CHECK(who->ends > 0);
  CHECK(say_enough(claims, settings));

  for (auto address : {"", "ann", "@example.org", "ann@", "a@b@c", "a/b@c", "a b@c", "a\n@c", "\"a\"@c"}) {
    CAPTURE(address);
    claims["email"] = address;
    CHECK_FALSE(login_of(claims, settings));
  }
  claims["email"] = "ann@example.org";
  for (auto& unverified : {json(false), json("false")}) {
    claims["email_verified"] = unverified;
    CHECK_FALSE(login_of(claims, settings));
  }
  claims["email_verified"] = true;
  claims["name"] = "a\nb";
  CHECK(login_of(claims, settings)->name.empty());
  for (auto& nonsense : {json("a"), json(7), json{{"a", true}}, json{1, 2}, json{"a", nullptr}}) {
    claims["groups"] = nonsense;
    CHECK(login_of(claims, settings)->groups.empty());
  }
  claims.erase("groups");
  CHECK_FALSE(say_enough(claims, settings));
}

TEST_CASE("a login's cookie is ours, for ten minutes, and tells nothing of what is derived from it") {
  login_cookie cookies, others;
  auto value = cookies.make(1000);
  CHECK(cookies.is_ours(value, 1000));
  CHECK(cookies.is_ours(value, 1599));
  CHECK_FALSE(cookies.is_ours(value, 1600));
  CHECK_FALSE(cookies.is_ours(value, 999));
  CHECK_FALSE(others.is_ours(value, 1000));
  for (auto bad : {std::string{}, std::string{"."}, value + "0", "9" + value, value.substr(1)})
    CHECK_FALSE(cookies.is_ours(bad, 1000));
  auto verifier = cookies.derive(value, "verifier");
  CHECK(verifier.size() == 43); // as PKCE wants it
  CHECK(verifier == cookies.derive(value, "verifier"));
  CHECK(verifier != cookies.derive(value, "state"));
  CHECK(verifier != cookies.derive(cookies.make(1000), "verifier"));
  CHECK(verifier != others.derive(value, "verifier"));
  // The example of RFC 7636.
  CHECK(challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

TEST_CASE("sessions end, by themselves or not, and one person has so many") {
  oidc_sessions all;
  auto first = all.begin({"ann", "1", 100});
  auto other = all.begin({"bob", "2", 10});
  REQUIRE(all.find(first, 99));
  CHECK(all.find(first, 99)->email == "ann");
  CHECK_FALSE(all.find(first, 100));
  CHECK_FALSE(all.find(first + "0", 0));
  CHECK_FALSE(all.find("", 0));
  for (int i = 0; i < 64; ++i) all.begin({"ann", "1", 200 + i});
  CHECK_FALSE(all.find(first, 0));
  CHECK(all.find(other, 0));
  all.end(other);
  CHECK_FALSE(all.find(other, 0));
  auto last = all.begin({"ann", "1", 1000});
  all.end_all_of("ann");
  CHECK_FALSE(all.find(last, 0));
}

TEST_CASE("forms are encoded") {
  CHECK(form_of({{"a", "b c"}, {"d&", "+/=\xff~"}}) == "a=b%20c&d%26=%2B%2F%3D%FF~");
  CHECK(form_of({}).empty());
}
