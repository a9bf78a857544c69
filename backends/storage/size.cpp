#include "backends/storage/size.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string>

namespace troupe {
namespace {

struct unit {
  std::string_view suffix;
  uint64_t factor;
};

constexpr unit units[] = {
    {"", 1},
    {"B", 1},
    {" bytes", 1},
    {"kB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
    {"PB", 1'000'000'000'000'000},
    {"EB", 1'000'000'000'000'000'000},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {"PiB", 1ull << 50},
    {"EiB", 1ull << 60},
};

constexpr uint64_t size_max = INT64_MAX; // clients hold sizes in signed 64-bit numbers

} // namespace

outcome<uint64_t> parse_size(std::string_view text) {
  auto refuse = [text](std::string_view why) -> outcome<uint64_t> {
    return fail(fault::invalid, "The size \"" + std::string{text} + "\" " + std::string{why});
  };
  if (text.empty() || text.front() < '0' || text.front() > '9') return refuse("does not start with a number");
  uint64_t number = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{}) return refuse("is too large");
  std::string_view suffix{end, static_cast<size_t>(text.data() + text.size() - end)};
  auto at = std::find_if(std::begin(units), std::end(units), [suffix](const unit& u) { return u.suffix == suffix; });
  if (at == std::end(units)) return refuse("has an unknown unit");
  if (number > size_max / at->factor) return refuse("is too large");
  return number * at->factor;
}

} // namespace troupe
