#include "messages/config_map.hpp"
#include "messages/error.hpp"
#include "messages/message.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <set>

using namespace troupe;

TEST_CASE("Every fault has a name of its own and a status of an error") {
  std::set<std::string_view> seen;
  for (auto code = static_cast<uint16_t>(fault::invalid); code <= static_cast<uint16_t>(fault::internal); ++code) {
    auto name = to_string(static_cast<fault>(code));
    CHECK(seen.insert(name).second);
    CHECK(to_http(static_cast<fault>(code)) >= 400);
    CHECK(to_http(static_cast<fault>(code)) < 600);
  }
}

TEST_CASE("Faults keep their stored numbers and their HTTP codes") {
  struct row {
    fault code;
    int number;
    std::string_view name;
    int http;
  };
  for (auto& want :
       {row{fault::invalid, 1, "invalid", 400}, row{fault::not_found, 2, "not_found", 404},
        row{fault::already_exists, 3, "already_exists", 409}, row{fault::wrong_state, 4, "wrong_state", 400},
        row{fault::busy, 5, "busy", 409}, row{fault::in_use, 6, "in_use", 400},
        row{fault::forbidden, 7, "forbidden", 403}, row{fault::unsupported, 8, "unsupported", 400},
        row{fault::precondition, 9, "precondition", 412}, row{fault::too_large, 10, "too_large", 413},
        row{fault::cancelled, 11, "cancelled", 400}, row{fault::timed_out, 12, "timed_out", 500},
        row{fault::backend_failed, 13, "backend_failed", 500}, row{fault::corrupt, 14, "corrupt", 500},
        row{fault::newer_format, 15, "newer_format", 500}, row{fault::internal, 16, "internal", 500}}) {
    CHECK(static_cast<int>(want.code) == want.number);
    CHECK(to_string(want.code) == want.name);
    CHECK(to_http(want.code) == want.http);
  }
}

TEST_CASE("A fault of a newer daemon is an internal error") {
  CHECK(to_string(static_cast<fault>(999)) == "internal");
  CHECK(to_http(static_cast<fault>(0)) == 500);
}

TEST_CASE("An errno becomes a sentence, and only a missing file is not found") {
  auto missing = fail_errno(ENOENT, "Cannot open /x").value();
  CHECK(missing.code == fault::not_found);
  CHECK(missing.message == "Cannot open /x: No such file or directory");
  CHECK(fail_errno(EACCES, "Cannot open /x").value().code == fault::backend_failed);
  CHECK(fail_errno(99999, "Odd").value().message.starts_with("Odd: "));
}

TEST_CASE("Maps survive the way through a message, in order") {
  device_map devices{{"root", {{"path", "/"}, {"pool", "p"}}}, {"eth0", {}}};
  auto stored = message<schema::Device>::make([&](auto device) { fill(device.initConfig(2), devices.at("root")); });
  CHECK(stored.read([](auto device) { return to_map(device.getConfig()); }) == devices.at("root"));
  capnp::MallocMessageBuilder builder;
  auto list = builder.initRoot<schema::StringList>().initItems(3);
  fill(list, {"b", "", "a"});
  CHECK(to_vector(list.asReader()) == std::vector<std::string>{"b", "", "a"});
}

TEST_CASE("The last of two equal keys counts") {
  auto stored = message<schema::Device>::make([](auto device) {
    auto config = device.initConfig(2);
    for (unsigned i = 0; i < 2; ++i) {
      config[i].setKey("k");
      config[i].setValue(i ? "second" : "first");
    }
  });
  CHECK(stored.read([](auto device) { return to_map(device.getConfig()); }) == config_map{{"k", "second"}});
}

TEST_CASE("A missing key has the fallback, an empty value does not") {
  config_map map{{"empty", ""}, {"a", "1"}};
  CHECK(get(map, "a", "x") == "1");
  CHECK(get(map, "empty", "x").empty());
  CHECK(get(map, "none", "x") == "x");
  CHECK(get(map, "none").empty());
}

TEST_CASE("LXD's words for true are true in any case, all else is false") {
  for (auto word : {"true", "TRUE", "True", "1", "yes", "Yes", "on", "ON"}) CHECK(is_true(word));
  for (auto word : {"", "false", "0", "no", "off", "truee", "tru", "2", " true", "y", "o"}) CHECK_FALSE(is_true(word));
}

TEST_CASE("A message that was never filled reads as the default, and bytes come back as they were") {
  CHECK(message<schema::KeyValue>{}.read([](auto pair) { return text(pair.getKey()); }).empty());
  auto made = message<schema::KeyValue>::make([](auto pair) { pair.setKey("k"); });
  auto again = message<schema::KeyValue>::from_bytes(made.bytes());
  CHECK(again.read([](auto pair) { return text(pair.getKey()); }) == "k");
  std::string shifted = "x" + std::string{made.bytes()}; // stored bytes lie at any address
  auto unaligned = message<schema::KeyValue>::from_bytes(std::string_view{shifted}.substr(1));
  CHECK(unaligned.bytes() == made.bytes());
}
