#include "actors/key_reference.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace troupe;

// TROUPE_WRITE_DOCS=1 writes the file instead of comparing.
TEST_CASE("docs/container-keys.md says what the tables say") {
  auto file = std::filesystem::path{TROUPE_SOURCE} / "docs/container-keys.md";
  auto wanted = container_key_reference();
  if (std::getenv("TROUPE_WRITE_DOCS")) std::ofstream{file} << wanted;
  std::ifstream in{file};
  CHECK(std::string{std::istreambuf_iterator<char>{in}, {}} == wanted);
}
