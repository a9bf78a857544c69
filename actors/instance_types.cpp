#include "actors/instance_types.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

namespace troupe {
namespace {

struct cloud_size {
  std::string_view cloud, name;
  unsigned cpus;
  double gib;
};

// Facts from the clouds' own price lists.
constexpr cloud_size sizes[] = {
    {"aws", "t2.nano", 1, 0.5},       {"aws", "t2.micro", 1, 1},          {"aws", "t2.small", 1, 2},
    {"aws", "t2.medium", 2, 4},       {"aws", "t2.large", 2, 8},          {"aws", "t2.xlarge", 4, 16},
    {"aws", "t2.2xlarge", 8, 32},     {"aws", "t3.nano", 2, 0.5},         {"aws", "t3.micro", 2, 1},
    {"aws", "t3.small", 2, 2},        {"aws", "t3.medium", 2, 4},         {"aws", "t3.large", 2, 8},
    {"aws", "t3.xlarge", 4, 16},      {"aws", "t3.2xlarge", 8, 32},       {"aws", "m5.large", 2, 8},
    {"aws", "m5.xlarge", 4, 16},      {"aws", "m5.2xlarge", 8, 32},       {"aws", "c5.large", 2, 4},
    {"aws", "c5.xlarge", 4, 8},       {"aws", "c5.2xlarge", 8, 16},       {"azure", "Standard_B1s", 1, 1},
    {"azure", "Standard_B2s", 2, 4},  {"azure", "Standard_D2s_v3", 2, 8}, {"azure", "Standard_D4s_v3", 4, 16},
    {"gce", "e2-small", 2, 2},        {"gce", "e2-medium", 2, 4},         {"gce", "n1-standard-1", 1, 3.75},
    {"gce", "n1-standard-2", 2, 7.5}, {"gce", "n1-standard-4", 4, 15},
};

config_map limits(unsigned cpus, double gib) {
  config_map out;
  if (cpus > 0) out["limits.cpu"] = std::to_string(cpus);
  if (gib > 0) out["limits.memory"] = std::to_string(std::llround(gib * 1024)) + "MiB";
  return out;
}

/// "c2-m4", "c2", "m0.5"; false: something else.
bool parse_short(std::string_view type, unsigned& cpus, double& gib) {
  while (!type.empty()) {
    auto part = type.substr(0, type.find('-'));
    type.remove_prefix(std::min(part.size() + 1, type.size()));
    if (part.size() < 2) return false;
    auto first = part.data() + 1, last = part.data() + part.size();
    auto read = part.front() == 'c' && cpus == 0  ? std::from_chars(first, last, cpus).ptr
                : part.front() == 'm' && gib == 0 ? std::from_chars(first, last, gib, std::chars_format::fixed).ptr
                                                  : nullptr;
    if (read != last) return false;
  }
  return (cpus > 0 || gib > 0) && cpus <= 65536 && gib >= 0 && gib <= 1 << 20;
}

} // namespace

outcome<config_map> limits_of_type(std::string_view type) {
  unsigned cpus = 0;
  double gib = 0;
  if (parse_short(type, cpus, gib)) return limits(cpus, gib);
  auto colon = type.find(':');
  auto cloud = colon == type.npos ? std::string_view{} : type.substr(0, colon);
  auto name = colon == type.npos ? type : type.substr(colon + 1);
  auto at = std::find_if(std::begin(sizes), std::end(sizes),
                         [&](auto& row) { return row.name == name && (cloud.empty() || row.cloud == cloud); });
  if (at == std::end(sizes))
    return fail(fault::invalid,
                "Unknown instance type \"" + std::string{type} +
                    "\": write cN-mM for N CPUs and M GiB of memory, or the size of a cloud (t3.micro)");
  return limits(at->cpus, at->gib);
}

} // namespace troupe
