// What one judgement of an instance costs: `judge`, the one function that knows what `restricted` means. Prints one
// JSON object, in nanoseconds. Argument: a scratch folder (not used; every benchmark gets one).

#include "actors/policy.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace troupe;
using clock_type = std::chrono::steady_clock;

namespace {

constexpr int calls_per_sample = 16; // one call is shorter than the clock's own cost can be told from
constexpr size_t samples = 100'000;

expansion usual() {
  return {{{"limits.cpu", "2"},
           {"limits.memory", "1GiB"},
           {"limits.processes", "1000"},
           {"security.idmap.isolated", "true"},
           {"user.owner", "somebody"},
           {"image.os", "debian"},
           {"image.release", "bookworm"},
           {"security.privileged", "false"}},
          {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}},
           {"eth0", {{"type", "nic"}, {"network", "br0"}, {"name", "eth0"}}}}};
}

expansion large() {
  auto out = usual();
  for (int i = 0; i < 100; ++i) out.config["user.key" + std::to_string(i)] = "value";
  for (int i = 1; i < 20; ++i)
    out.devices["eth" + std::to_string(i)] = {{"type", "nic"}, {"network", "br" + std::to_string(i)}};
  return out;
}

expansion forbidden() {
  auto out = usual();
  out.config["raw.lxc"] = "lxc.environment = A=b";
  return out;
}

void measure(const char* name, const config_map& rules, const expansion& what, bool wanted, bool last) {
  std::vector<double> taken;
  taken.reserve(samples);
  for (size_t i = 0; i < samples; ++i) {
    bool as_wanted = true;
    auto begin = clock_type::now();
    for (int call = 0; call < calls_per_sample; ++call) as_wanted &= judge("tenant", rules, what).has_value() == wanted;
    auto end = clock_type::now();
    if (!as_wanted) std::exit(1);
    taken.push_back(std::chrono::duration<double, std::nano>{end - begin}.count() / calls_per_sample);
  }
  std::sort(taken.begin(), taken.end());
  std::printf(" \"%s\": {\"median_ns\": %.0f, \"p99_ns\": %.0f}%s\n", name, taken[samples / 2],
              taken[samples * 99 / 100], last ? "}" : ",");
}

} // namespace

int main() {
  const config_map open, restricted{{"restricted", "true"}, {"restricted.networks.access", ""}};
  std::printf("{\n");
  measure("unrestricted", open, usual(), true, false);
  measure("restricted", restricted, usual(), true, false);
  measure("restricted_108_keys_21_devices", restricted, large(), true, false);
  measure("refused", restricted, forbidden(), false, true);
}
