#include "actors/volatile_keys.hpp"

#include <algorithm>

namespace troupe {
namespace {

// Of the instance itself; those of a device hold its name: "volatile.eth0.hwaddr".
constexpr std::string_view plain[] = {"apply_nvram", "apply_template", "base_image", "uuid", "vsock_id"};
constexpr std::string_view prefix = "volatile.";

} // namespace

outcome<void> check_volatile_names(const config_map& config) {
  for (auto& [key, value] : config) {
    if (!key.starts_with(prefix)) continue;
    auto name = std::string_view{key}.substr(prefix.size());
    bool known = name.find('.') != name.npos || std::find(std::begin(plain), std::end(plain), name) != std::end(plain);
    if (!known) return fail(fault::invalid, "Unknown configuration key: " + key);
  }
  return {};
}

} // namespace troupe
