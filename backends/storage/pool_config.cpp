#include "backends/storage/pool_config.hpp"

#include "backends/storage/size.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits.h>
#include <sys/random.h>

namespace troupe {
namespace {

using problem = std::string; // empty: the value is good

problem check_source(std::string_view value) {
  if (value.empty()) return {};
  if (value.front() != '/') return "must be an absolute path";
  if (value.size() >= PATH_MAX) return "is too long";
  auto whole = std::string{value} + '/';
  if (whole.find("/../") != whole.npos || whole.find("/./") != whole.npos) return "must not contain . or ..";
  return {};
}

problem check_size(std::string_view value) {
  // Below this mkfs.btrfs makes file systems that are full before anything is in them.
  constexpr uint64_t size_min = 128ull << 20;
  auto size = parse_size(value);
  if (!size) return "is not a size such as 10GiB";
  return *size < size_min ? "must be at least 128MiB" : "";
}

// The pool is the whole file system on its one device, and writable: options that say otherwise are refused.
problem check_mount_options(std::string_view value) {
  static constexpr std::string_view refused[] = {"subvol", "subvolid", "device", "ro", "remount", "bind", "loop"};
  for (std::string_view rest = value; !rest.empty();) {
    auto end = std::min(rest.find(','), rest.size());
    auto word = rest.substr(0, end);
    if (word.empty()) return "has an empty option";
    auto name = word.substr(0, word.find('='));
    if (std::find(std::begin(refused), std::end(refused), name) != std::end(refused))
      return "must not contain the option " + std::string{name};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

problem check_uuid(std::string_view value) {
  static constexpr std::string_view shape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  auto fits = [](char c, char want) {
    return want == '-' ? c == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  };
  bool good = value.size() == shape.size() && std::equal(value.begin(), value.end(), shape.begin(), fits);
  return good ? "" : "must be a lower-case UUID";
}

problem anything(std::string_view) { return {}; }

struct key_row {
  std::string_view key;               // a trailing dot stands for everything below it
  std::string_view drivers;           // empty: all
  problem (*check)(std::string_view); // null: known to LXD, does nothing here yet
};

constexpr key_row rows[] = {
    {"source", "", check_source},
    {"size", "btrfs", check_size},
    {"btrfs.mount_options", "btrfs", check_mount_options},
    {"rsync.bwlimit", "", nullptr},
    {"rsync.compression", "", nullptr},
    {"user.", "", anything},
    {"volatile.initial_source", "", anything},
    {"volatile.fs_uuid", "btrfs", check_uuid},
    {"volume.", "", nullptr},
};

bool is_row(const key_row& row, std::string_view key) {
  if (!row.key.ends_with('.')) return row.key == key;
  return key.starts_with(row.key) && key.size() > row.key.size();
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

outcome<void> check_entry(std::string_view driver, const std::string& key, const std::string& value) {
  if (key.size() > 255 || has_control(key))
    return fail(fault::invalid, "A storage pool's config has a key that is too long or not text");
  auto row = std::find_if(std::begin(rows), std::end(rows), [&](const key_row& r) { return is_row(r, key); });
  if (row == std::end(rows) || (!row->drivers.empty() && row->drivers != driver))
    return fail(fault::invalid, "The storage driver " + std::string{driver} + " has no config key " + key);
  if (!row->check) return fail(fault::unsupported, "The storage pool config key " + key + " is not supported yet");
  problem why = row->key != "user." && has_control(value) ? "must not contain control characters" : row->check(value);
  if (!why.empty()) return fail(fault::invalid, "The value of the storage pool config key " + key + " " + why);
  return {};
}

} // namespace

outcome<void> check_pool_config(std::string_view driver, const config_map& config) {
  for (auto& [key, value] : config)
    if (auto checked = check_entry(driver, key, value); !checked) return checked;
  return {};
}

std::string random_uuid() {
  unsigned char bytes[16];
  for (size_t have = 0; have < sizeof bytes;)
    if (auto got = getrandom(bytes + have, sizeof bytes - have, 0); got > 0) have += static_cast<size_t>(got);
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < sizeof bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits[bytes[i] >> 4];
    out += digits[bytes[i] & 15];
  }
  return out;
}

} // namespace troupe
