#include "backends/sink/sink_config.hpp"

#include "backends/sink/writers.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <strings.h>

namespace troupe {
namespace {

using enum sink_value;

constexpr size_t value_bytes_max = 64 * 1024;
constexpr int seconds_max = 300;

// They are the request's own, or would change where it ends.
constexpr std::string_view reserved_headers[] = {"connection", "content-length",    "content-type", "expect",
                                                 "host",       "transfer-encoding", "upgrade"};

bool is_word(std::string_view value, std::string_view marks) {
  return !value.empty() && value.size() <= 255 && std::all_of(value.begin(), value.end(), [&](char c) {
    return (std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128) ||
           marks.find(c) != std::string_view::npos;
  });
}

bool is_text(std::string_view value, bool lines) {
  return std::none_of(value.begin(), value.end(), [&](char c) {
    auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && !(lines && (c == '\n' || c == '\r'))) || byte == 0x7f;
  });
}

bool is_subject(std::string_view value) {
  return is_word(value, "._-") && value.front() != '.' && value.back() != '.' && value.find("..") == value.npos;
}

bool is_boolean(std::string_view value) { return value == "true" || value == "false"; }

bool is_seconds(std::string_view value) {
  int number = 0;
  auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
  return problem == std::errc{} && end == value.data() + value.size() && number >= 1 && number <= seconds_max;
}

bool is_well_formed(sink_value form, const std::string& value) {
  switch (form) {
    case text:
    case header:
      return is_text(value, false);
    case boolean:
      return is_boolean(value);
    case seconds:
      return is_seconds(value);
    case web_url:
      return is_text(value, false) && is_sink_url(value, {"http", "https"}, true);
    case nats_url:
      return is_text(value, false) && is_sink_url(value, {"nats", "tls"}, false);
    case file_name:
      return is_word(value, "._-:") && value.front() != '.';
    case subject:
      return is_subject(value);
    case certificates:
      return is_text(value, true) && value.find("-----BEGIN CERTIFICATE-----") != value.npos;
  }
  return false;
}

outcome<void> check_header(std::string_view name) {
  bool reserved = std::any_of(std::begin(reserved_headers), std::end(reserved_headers), [&](std::string_view word) {
    return word.size() == name.size() && strncasecmp(word.data(), name.data(), word.size()) == 0;
  });
  if (reserved || name.size() < 2 || !is_word(name, "-_"))
    return fail(fault::invalid, "\"" + std::string{name} + "\" is no header that a webhook may set");
  return {};
}

} // namespace

outcome<void> check_sink_config(std::string_view type, const config_map& config) {
  if (std::none_of(sink_keys().begin(), sink_keys().end(), [&](auto& row) { return row.type == type; }))
    return fail(fault::invalid,
                "Unknown type of sink \"" + std::string{type.substr(0, 100)} + "\": it is file, webhook or nats");
  if (type != "file")
    if (auto there = check_network_sinks(); !there) return there;
  for (auto& [key, value] : config) {
    auto row = find_sink_key(type, key);
    if (!row)
      return fail(fault::invalid,
                  "Unknown configuration key of a " + std::string{type} + " sink: " + key.substr(0, 100));
    if (row->form == header)
      if (auto good = check_header(std::string_view{key}.substr(row->key.size() - 1)); !good) return good;
    if (value.size() > value_bytes_max || !is_well_formed(row->form, value)) // the value may be a secret
      return fail(fault::invalid, "This is no valid value of \"" + key + "\": " + std::string{row->meaning});
  }
  for (auto& row : sink_keys())
    if (row.type == type && row.required && !config.count(row.key))
      return fail(fault::invalid, "A " + std::string{type} + " sink needs \"" + std::string{row.key} + "\"");
  if (config.count("token") && (config.count("user") || config.count("password")))
    return fail(fault::invalid, "\"token\" excludes \"user\" and \"password\"");
  return {};
}

std::unique_ptr<sink_writer> make_sink_writer(std::string_view type, const std::string& name,
                                              const std::string& directory, const config_map& config) {
  if (type == "file") return make_file_sink(directory, sink_file_name(name, config));
  if (type == "webhook") return make_webhook_sink(config);
  if (type == "nats") return make_nats_sink(name, config);
  return nullptr;
}

} // namespace troupe
