#include "actors/names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <sys/random.h>

namespace troupe {
namespace {

constexpr std::string_view adjectives[] = {
    "able",   "apt",    "brisk",   "calm",   "clever", "cosmic", "crisp", "daring", "deft",   "eager",   "fair",
    "fine",   "fleet",  "fond",    "frank",  "game",   "gentle", "glad",  "grand",  "hardy",  "helpful", "honest",
    "ideal",  "intent", "jolly",   "keen",   "kind",   "lively", "loyal", "lucid",  "mellow", "merry",   "neat",
    "nimble", "noble",  "patient", "polite", "proud",  "quick",  "ready", "sharp",  "smart",  "steady",  "sunny",
};
constexpr std::string_view animals[] = {
    "adder", "badger", "beaver", "bison",  "bream", "buzzard", "colt",   "coral", "crane", "dingo",  "dove",
    "eagle", "falcon", "ferret", "finch",  "gecko", "gibbon",  "goose",  "heron", "ibis",  "jackal", "koala",
    "lemur", "lynx",   "marmot", "mole",   "moth",  "newt",    "ocelot", "otter", "owl",   "panda",  "perch",
    "quail", "raven",  "robin",  "salmon", "seal",  "shrew",   "stoat",  "swan",  "tapir", "toad",   "wren",
};

uint32_t random_number() {
  uint32_t value = 0;
  while (getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

} // namespace

outcome<void> check_instance_name(std::string_view name) {
  auto letter = [](char c) {
    return std::isalpha(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128;
  };
  bool good =
      !name.empty() && name.size() <= 63 && letter(name.front()) && name.back() != '-' &&
      std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
  if (!good)
    return fail(
        fault::invalid,
        "Instance name must be 1 to 63 letters, digits and dashes, start with a letter and not end with a dash");
  return {};
}

outcome<void> check_plain_name(std::string_view noun, std::string_view name) {
  bool good = !name.empty() && name.size() <= 63 && name.front() != '-' && name.front() != '.' &&
              std::all_of(name.begin(), name.end(), [](char c) {
                return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == ':';
              });
  if (!good)
    return fail(fault::invalid, std::string{noun} + " name must be 1 to 63 letters, digits, dashes, underscores, dots "
                                                    "and colons, and not start with a dash or a dot");
  return {};
}

outcome<void> check_alias_name(std::string_view name) {
  bool good = !name.empty() && name.size() <= 255 && name.front() != '/' && name.back() != '/' &&
              name.find("//") == name.npos && name.find("..") == name.npos &&
              std::none_of(name.begin(), name.end(), [](char c) { return is_control(c) || c == ' ' || c == '\\'; });
  if (!good)
    return fail(fault::invalid,
                "Alias name must be 1 to 255 characters without spaces, control characters, \"..\" or empty parts");
  return {};
}

outcome<void> check_distinct(std::string_view noun, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i)
    if (std::find(names.begin(), names.begin() + static_cast<long>(i), names[i]) !=
        names.begin() + static_cast<long>(i))
      return fail(fault::invalid, std::string{noun} + " \"" + names[i] + "\" is named twice");
  return {};
}

outcome<void> check_text(std::string_view field, std::string_view value) {
  if (std::any_of(value.begin(), value.end(), [](char c) { return is_control(c) && c != '\n' && c != '\t'; }))
    return fail(fault::invalid, "Field \"" + std::string{field} + "\" must not hold control characters");
  return {};
}

outcome<void> check_header_value(std::string_view field, std::string_view value) {
  if (std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c < 0x7f; })) return {};
  return fail(fault::invalid, "\"" + std::string{field} + "\" must be printable ASCII");
}

std::vector<std::string> words_of(std::string_view list) {
  std::vector<std::string> out;
  for (size_t at = 0; !list.empty() && at <= list.size();) {
    auto comma = std::min(list.find(',', at), list.size());
    auto word = list.substr(at, comma - at);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    out.emplace_back(word);
    at = comma + 1;
  }
  return out;
}

std::string random_instance_name() {
  auto a = adjectives[random_number() % std::size(adjectives)];
  auto b = animals[random_number() % std::size(animals)];
  return std::string{a} + "-" + std::string{b};
}

std::string random_mac() {
  auto n = random_number();
  char out[18];
  std::snprintf(out, sizeof out, "00:16:3e:%02x:%02x:%02x", n & 255, n >> 8 & 255, n >> 16 & 255);
  return out;
}

bool is_mac(std::string_view value) {
  if (value.size() != 17) return false;
  for (size_t i = 0; i < 17; ++i)
    if (i % 3 == 2 ? value[i] != ':' : !std::isxdigit(static_cast<unsigned char>(value[i]))) return false;
  return true;
}

} // namespace troupe
