#include "backends/image/image_store.hpp"

#include <catch2/catch.hpp>

using namespace troupe;
using Catch::Matchers::Contains;

namespace {

const std::string head = "architecture: x86_64\ncreation_date: 1700000000\n";

error refusal(const std::string& yaml) {
  INFO(yaml.substr(0, 200));
  auto parsed = parse_metadata(yaml);
  REQUIRE_FALSE(parsed.has_value());
  CHECK(parsed.error().message.find('\n') == std::string::npos);
  return parsed.error();
}

} // namespace

TEST_CASE("metadata.yaml becomes the schema's struct") {
  auto parsed = parse_metadata(head + R"(expiry_date: 1900000000
unknown: [1, 2, {a: b}]
properties:
  os: BusyBox
  release: 1
  flag: true
  empty:
  description: |
    two
    lines
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
  /etc/proof:
    when:
      - start
    create_only: true
    template: sub/proof.tpl
    properties:
      default: nothing
)");
  INFO((parsed ? "" : parsed.error().message));
  REQUIRE(parsed.has_value());
  parsed->read([](schema::ImageMetadata::Reader m) {
    CHECK(text(m.getArchitecture()) == "x86_64");
    CHECK(m.getCreationDate() == 1700000000);
    CHECK(m.getExpiryDate() == 1900000000);
    const config_map wanted{
        {"os", "BusyBox"}, {"release", "1"}, {"flag", "true"}, {"empty", ""}, {"description", "two\nlines\n"}};
    CHECK(to_map(m.getProperties()) == wanted);
    REQUIRE(m.getTemplates().size() == 2);
    auto first = m.getTemplates()[0];
    CHECK(text(first.getPath()) == "/etc/hostname");
    CHECK(to_vector(first.getTemplate().getWhen()) == std::vector<std::string>{"create", "copy"});
    CHECK_FALSE(first.getTemplate().getCreateOnly());
    auto second = m.getTemplates()[1].getTemplate();
    CHECK(second.getCreateOnly());
    CHECK(text(second.getTemplate()) == "sub/proof.tpl");
    CHECK(to_map(second.getProperties()) == config_map{{"default", "nothing"}});
  });
}

TEST_CASE("metadata.yaml that lacks or mistypes something is refused by name") {
  CHECK_THAT(refusal("").message, Contains("no map"));
  CHECK_THAT(refusal("just text").message, Contains("no map"));
  CHECK_THAT(refusal("creation_date: 1").message, Contains("architecture"));
  CHECK_THAT(refusal("architecture: x86_64").message, Contains("creation_date"));
  CHECK_THAT(refusal("architecture: [x]\ncreation_date: 1").message, Contains("architecture"));
  CHECK_THAT(refusal("architecture: x86_64\ncreation_date: soon").message, Contains("creation_date"));
  CHECK_THAT(refusal(head + "properties: [a]").message, Contains("properties"));
  CHECK_THAT(refusal(head + "properties: {a: {b: c}}").message, Contains("properties.a"));
  CHECK_THAT(refusal(head + "properties: {a: \"x\\0y\"}").message, Contains("control"));
  CHECK_THAT(refusal(head + "templates: {/etc/x: {template: ../../shadow}}").message, Contains("below templates"));
  CHECK_THAT(refusal(head + "templates: {/etc/x: {template: /etc/shadow}}").message, Contains("below templates"));
  CHECK_THAT(refusal(head + "templates: {/etc/x: {when: [create]}}").message, Contains("below templates"));
  CHECK_THAT(refusal(head + "templates: {etc/x: {template: a}}").message, Contains("absolute"));
  CHECK_THAT(refusal(head + "templates: {/a/../../x: {template: a}}").message, Contains("absolute"));
  CHECK_THAT(refusal(head + "templates: {/x: {template: a, when: create}}").message, Contains("when"));
  CHECK_THAT(refusal(head + "templates: {/x: {template: a, create_only: perhaps}}").message, Contains("create_only"));
  CHECK_THAT(refusal("a: [unclosed").message, Contains("no valid YAML"));
}

TEST_CASE("metadata.yaml bombs are refused") {
  CHECK_THAT(refusal("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n" + head).message, Contains("aliases"));
  CHECK_THAT(refusal(head + "x: " + std::string(100, '[') + std::string(100, ']')).message, Contains("too deep"));
  CHECK(refusal(head + "x: " + std::string(500'000, '[')).code == fault::invalid);
  std::string many = head + "x: [";
  for (int i = 0; i < 30'000; ++i) many += "1,";
  CHECK_THAT(refusal(many + "1]").message, Contains("too many"));
  CHECK(refusal(std::string(2 << 20, '#')).code == fault::too_large);
}
