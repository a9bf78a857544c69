#include "actors/names.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

const std::string nul{"a\0b", 3};

} // namespace

TEST_CASE("Instance names are host name labels that start with a letter") {
  for (auto& name :
       {std::string{"c"}, std::string{"C1"}, std::string{"a-b"}, std::string{"a--b"}, std::string(63, 'x')})
    CHECK(check_instance_name(name));
  for (auto& name : {std::string{}, std::string{"1c"}, std::string{"-c"}, std::string{"c-"}, std::string{"a.b"},
                     std::string{"a_b"}, std::string{"a b"}, std::string{"a/b"}, std::string{".."}, std::string{"ä"},
                     std::string{"a\n"}, nul, std::string(64, 'x')}) {
    INFO(name);
    auto result = check_instance_name(name);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == fault::invalid);
  }
}

TEST_CASE("Plain names cannot leave a folder or look like an option") {
  for (auto& name :
       {std::string{"default"}, std::string{"1"}, std::string{"a_b.c:d-e"}, std::string{"a.."}, std::string(63, 'x')})
    CHECK(check_plain_name("Pool", name));
  for (auto& name :
       {std::string{}, std::string{"."}, std::string{".."}, std::string{"-a"}, std::string{".a"}, std::string{"a/b"},
        std::string{"a b"}, std::string{"é"}, std::string{"a\n"}, std::string{"a\\b"}, nul, std::string(64, 'x')}) {
    INFO(name);
    auto result = check_plain_name("Pool", name);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == fault::invalid);
    CHECK(result.error().message.starts_with("Pool name"));
  }
}

TEST_CASE("Aliases may have slashes but no path tricks") {
  for (auto& name : {std::string{"debian/12"}, std::string{"a.b/c-d/e_f"}, std::string{"ü"}, std::string(255, 'x')})
    CHECK(check_alias_name(name));
  for (auto& name : {std::string{}, std::string{"/a"}, std::string{"a/"}, std::string{"a//b"}, std::string{"../a"},
                     std::string{"a/../b"}, std::string{"a b"}, std::string{"a\tb"}, std::string{"a\x7f"},
                     std::string{"a\\b"}, nul, std::string(256, 'x')}) {
    INFO(name);
    CHECK_FALSE(check_alias_name(name));
  }
}

TEST_CASE("A name given twice is named in the refusal") {
  CHECK(check_distinct("Profile", {}));
  CHECK(check_distinct("Profile", {"a", "b", "A"}));
  CHECK(check_distinct("Profile", {"a", "b", "a"}).error().message == "Profile \"a\" is named twice");
}

TEST_CASE("Free text has no control characters but newline and tab") {
  CHECK(check_text("description", "two\nlines\tand ü€"));
  for (auto& value : {std::string{"\x1b[31m"}, std::string{"\r"}, std::string{"\x7f"}, nul})
    CHECK_FALSE(check_text("description", value));
}

TEST_CASE("Names and addresses that are made up are good ones, and vary") {
  std::string first_name = random_instance_name(), first_mac = random_mac();
  bool other_name = false, other_mac = false;
  for (int i = 0; i < 200; ++i) {
    auto name = random_instance_name(), mac = random_mac();
    CHECK(check_instance_name(name));
    CHECK(is_mac(mac));
    CHECK(mac.starts_with("00:16:3e:"));
    other_name |= name != first_name;
    other_mac |= mac != first_mac;
  }
  CHECK(other_name);
  CHECK(other_mac);
}

TEST_CASE("Only six pairs of hexadecimal digits are a MAC address") {
  CHECK(is_mac("00:16:3e:AB:cd:ef"));
  for (auto value : {"", "00:16:3e:ab:cd", "00:16:3e:ab:cd:e", "00-16-3e-ab-cd-ef", "00:16:3e:ab:cd:eg",
                     "00:16:3e:ab:cd:ef:", "0016:3e:ab:cd:ef:0"})
    CHECK_FALSE(is_mac(value));
}
