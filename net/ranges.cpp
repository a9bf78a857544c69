#include "net/ranges.hpp"

namespace troupe {
namespace {

constexpr size_t ranges_max = 64;

std::string_view trimmed(std::string_view text) {
  auto first = text.find_first_not_of(' ');
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

} // namespace

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> out;
  for (;;) {
    auto comma = text.find(',');
    out.push_back(trimmed(text.substr(0, comma)));
    if (comma == text.npos) return out;
    text.remove_prefix(comma + 1);
  }
}

std::optional<std::vector<address_range>> parse_ranges(std::string_view text, int family) {
  std::vector<address_range> out;
  for (auto part : split_list(text)) {
    auto dash = part.find('-');
    if (dash == part.npos || out.size() == ranges_max) return {};
    auto first = parse_ip(trimmed(part.substr(0, dash)), family);
    auto last = parse_ip(trimmed(part.substr(dash + 1)), family);
    if (!first || !last || last->bytes < first->bytes) return {};
    out.push_back({*first, *last});
  }
  return out;
}

} // namespace troupe
