#include "actors/expander.hpp"

namespace troupe {

expansion expander::operator()(schema::InstanceSpec::Reader spec) {
  std::string key = text(spec.getProject()) + '\0';
  for (auto name : spec.getProfiles()) key.append(name.begin(), name.size() + 1);
  auto at = profiles_.find(key);
  if (at == profiles_.end())
    at = profiles_.emplace(key, expand(from_, view(spec.getProject()), to_vector(spec.getProfiles()), {}, {})).first;
  auto out = at->second;
  for (auto entry : spec.getConfig()) out.config.insert_or_assign(text(entry.getKey()), text(entry.getValue()));
  for (auto& [name, device] : to_map(spec.getDevices())) out.devices.insert_or_assign(name, device);
  return out;
}

} // namespace troupe
