#include "backends/sink/sink_config.hpp"

#include "backends/sink/writers.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <curl/curl.h>
#include <strings.h>

namespace troupe {
namespace {

using enum sink_value;

constexpr sink_key keys[] = {
    {"file", "path", file_name, false, false, "", "Name of the file below DIR/sinks (default: NAME.jsonl)"},
    {"webhook", "url", web_url, true, false, "", "Where events are posted: http or https"},
    {"webhook", "header.*", header, false, true, "", "A header of every request, e.g. header.Authorization"},
    {"webhook", "ca", certificates, false, false, "", "Certificates (PEM) to trust instead of the system's"},
    {"webhook", "batch", boolean, false, false, "false", "Up to 100 events in one request"},
    {"webhook", "timeout", seconds, false, false, "10", "Seconds for one request, 1 to 300"},
    {"nats", "url", nats_url, true, false, "", "nats://HOST[:PORT], or tls://HOST[:PORT]"},
    {"nats", "prefix", subject, false, false, "troupe", "What subjects begin with"},
    {"nats", "user", text, false, false, "", "User name"},
    {"nats", "password", text, false, true, "", "Password of the user"},
    {"nats", "token", text, false, true, "", "Token, instead of user and password"},
    {"nats", "ca", certificates, false, false, "", "Certificates (PEM) to trust instead of the system's"},
    {"nats", "jetstream", boolean, false, false, "false",
     "Wait for the acknowledgement of a stream, not of the server"},
    {"nats", "timeout", seconds, false, false, "5", "Seconds for connecting and for each acknowledgement, 1 to 300"},
};

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

struct url_handle {
  CURLU* handle = curl_url();
  url_handle() = default;
  url_handle(const url_handle&) = delete;
  ~url_handle() { curl_url_cleanup(handle); }

  std::string part(CURLUPart which) const {
    char* found = nullptr;
    std::string out;
    if (curl_url_get(handle, which, &found, 0) == CURLUE_OK) out = found;
    curl_free(found);
    return out;
  }
};

// Credentials have keys of their own, which are not shown.
bool is_url(const std::string& value, std::initializer_list<std::string_view> schemes, bool with_path) {
  url_handle url;
  if (!is_text(value, false) || curl_url_set(url.handle, CURLUPART_URL, value.c_str(), CURLU_NON_SUPPORT_SCHEME))
    return false;
  auto scheme = url.part(CURLUPART_SCHEME), path = url.part(CURLUPART_PATH);
  return std::find(schemes.begin(), schemes.end(), scheme) != schemes.end() && !url.part(CURLUPART_HOST).empty() &&
         url.part(CURLUPART_USER).empty() && url.part(CURLUPART_PASSWORD).empty() &&
         url.part(CURLUPART_FRAGMENT).empty() &&
         (with_path || ((path.empty() || path == "/") && url.part(CURLUPART_QUERY).empty()));
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
      return is_url(value, {"http", "https"}, true);
    case nats_url:
      return is_url(value, {"nats", "tls"}, false);
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

std::span<const sink_key> sink_keys() { return keys; }

const sink_key* find_sink_key(std::string_view type, std::string_view key) {
  for (auto& row : keys) {
    bool open = row.key.ends_with('*');
    auto fixed = row.key.substr(0, row.key.size() - open);
    if (row.type == type && (open ? key.starts_with(fixed) && key.size() > fixed.size() : key == fixed)) return &row;
  }
  return nullptr;
}

outcome<void> check_sink_config(std::string_view type, const config_map& config) {
  if (std::none_of(std::begin(keys), std::end(keys), [&](auto& row) { return row.type == type; }))
    return fail(fault::invalid,
                "Unknown type of sink \"" + std::string{type.substr(0, 100)} + "\": it is file, webhook or nats");
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
  for (auto& row : keys)
    if (row.type == type && row.required && !config.count(row.key))
      return fail(fault::invalid, "A " + std::string{type} + " sink needs \"" + std::string{row.key} + "\"");
  if (config.count("token") && (config.count("user") || config.count("password")))
    return fail(fault::invalid, "\"token\" excludes \"user\" and \"password\"");
  return {};
}

std::string sink_setting(std::string_view type, const config_map& config, std::string_view key) {
  auto row = find_sink_key(type, key);
  return std::string{get(config, key, row ? row->fallback : std::string_view{})};
}

std::chrono::milliseconds sink_timeout(std::string_view type, const config_map& config) {
  return std::chrono::seconds{std::stoi(sink_setting(type, config, "timeout"))};
}

std::string sink_file_name(const std::string& sink, const config_map& config) {
  auto named = get(config, "path");
  return named.empty() ? sink + ".jsonl" : std::string{named};
}

std::unique_ptr<sink_writer> make_sink_writer(std::string_view type, const std::string& name,
                                              const std::string& directory, const config_map& config) {
  if (type == "file") return make_file_sink(directory, sink_file_name(name, config));
  if (type == "webhook") return make_webhook_sink(config);
  if (type == "nats") return make_nats_sink(name, config);
  return nullptr;
}

} // namespace troupe
