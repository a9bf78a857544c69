#include "net/rates.hpp"

#include <charconv>
#include <string>

namespace troupe {
namespace {

struct unit {
  std::string_view name;
  uint64_t bits;
};
constexpr unit units[] = {
    {"", 1},
    {"bit", 1},
    {"kbit", 1000},
    {"Mbit", 1000 * 1000},
    {"Gbit", 1000ull * 1000 * 1000},
    {"Tbit", 1000ull * 1000 * 1000 * 1000},
    {"Kibit", 1ull << 10},
    {"Mibit", 1ull << 20},
    {"Gibit", 1ull << 30},
    {"Tibit", 1ull << 40},
};

} // namespace

outcome<uint64_t> parse_bits(std::string_view text) {
  uint64_t number = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view rest{end, static_cast<size_t>(text.data() + text.size() - end)};
  for (auto& unit : units)
    if (bad == std::errc{} && rest == unit.name && number > 0 && number <= (uint64_t{1} << 50) / unit.bits)
      return number * unit.bits;
  return fail(fault::invalid, "Not a rate: " + std::string{text});
}

} // namespace troupe
