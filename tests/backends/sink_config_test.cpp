#include "backends/sink/sink_config.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

// A config of this type that is whole, with one key more.
config_map with(const std::string& type, const std::string& key, const std::string& value) {
  config_map config;
  if (type == "webhook") config["url"] = "http://localhost/";
  if (type == "nats") config["url"] = "nats://localhost";
  config[key] = value;
  return config;
}

const std::string certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

} // namespace

TEST_CASE("what a sink may be told", "[sink]") {
  auto [type, key, value] = GENERATE(table<std::string, std::string, std::string>({
      {"file", "path", "audit.jsonl"},
      {"webhook", "url", "https://example.org:8443/hooks/@team?key=1"},
      {"webhook", "url", "http://[::1]:80/"},
      {"webhook", "header.Authorization", "Bearer abc"},
      {"webhook", "ca", certificate},
      {"webhook", "batch", "true"},
      {"webhook", "timeout", "300"},
      {"nats", "url", "tls://nats.example.org:4443"},
      {"nats", "prefix", "lab.troupe_1"},
      {"nats", "user", "joe"},
      {"nats", "token", "abc"},
      {"nats", "jetstream", "true"},
  }));
  CAPTURE(type, key, value);
  auto checked = check_sink_config(type, with(type, key, value));
  CHECK((checked ? "" : checked.error().message) == "");
}

TEST_CASE("what a sink may not be told", "[sink]") {
  auto [type, key, value] = GENERATE_COPY(table<std::string, std::string, std::string>({
      {"syslog", "path", "x"},
      {"file", "path", "../x"},
      {"file", "path", "/etc/passwd"},
      {"file", "path", ".hidden"},
      {"file", "path", ""},
      {"file", "url", "http://localhost/"},
      {"webhook", "url", "file:///etc/passwd"},
      {"webhook", "url", "gopher://localhost/"},
      {"webhook", "url", "http://"},
      {"webhook", "url", "http://joe:secret@localhost/"},
      {"webhook", "url", "http://local host/\r\nX: y"},
      {"webhook", "url", ""},
      {"webhook", "header.", "x"},
      {"webhook", "header.Content-Length", "5"},
      {"webhook", "header.HOST", "x"},
      {"webhook", "header.X Y", "x"},
      {"webhook", "header.X-Y", "x\r\nZ: 1"},
      {"webhook", "ca", "/etc/ssl/certs/ca-certificates.crt"},
      {"webhook", "batch", "maybe"},
      {"webhook", "timeout", "0"},
      {"webhook", "timeout", "301"},
      {"webhook", "timeout", "5s"},
      {"webhook", "retries", "5"},
      {"nats", "url", "http://localhost"},
      {"nats", "url", "nats://joe:secret@localhost"},
      {"nats", "url", "nats://a/b"},
      {"nats", "prefix", "a..b"},
      {"nats", "prefix", "a.>"},
      {"nats", "prefix", "a b"},
      {"nats", "password", "x\ny"},
  }));
  CAPTURE(type, key, value);
  auto checked = check_sink_config(type, with(type, key, value));
  REQUIRE_FALSE(checked);
  CHECK(checked.error().code == fault::invalid);
  CHECK(checked.error().message.find("secret") == std::string::npos);
}

TEST_CASE("a sink without what it needs is refused", "[sink]") {
  CHECK(check_sink_config("file", {}));
  CHECK_FALSE(check_sink_config("webhook", {}));
  CHECK_FALSE(check_sink_config("nats", {}));
  CHECK_FALSE(check_sink_config("nats", {{"url", "nats://h"}, {"token", "t"}, {"user", "u"}}));
}

TEST_CASE("headers and credentials of a sink are secrets", "[sink]") {
  CHECK(find_sink_key("webhook", "header.Authorization")->secret);
  CHECK(find_sink_key("nats", "password")->secret);
  CHECK(find_sink_key("nats", "token")->secret);
  CHECK_FALSE(find_sink_key("webhook", "url")->secret);
}
