#include "messages/config_map.hpp"

#include <algorithm>
#include <strings.h>

namespace troupe {

config_map to_map(capnp::List<schema::KeyValue>::Reader list) {
  config_map out;
  for (auto entry : list) out.insert_or_assign(text(entry.getKey()), text(entry.getValue()));
  return out;
}

device_map to_map(capnp::List<schema::Device>::Reader list) {
  device_map out;
  for (auto entry : list) out.insert_or_assign(text(entry.getName()), to_map(entry.getConfig()));
  return out;
}

std::vector<std::string> to_vector(capnp::List<capnp::Text>::Reader list) {
  std::vector<std::string> out;
  out.reserve(list.size());
  for (auto entry : list) out.push_back(text(entry));
  return out;
}

void fill(capnp::List<schema::KeyValue>::Builder list, const config_map& from) {
  unsigned i = 0;
  for (auto& [key, value] : from) {
    list[i].setKey(key);
    list[i++].setValue(value);
  }
}

void fill(capnp::List<schema::Device>::Builder list, const device_map& from) {
  unsigned i = 0;
  for (auto& [name, config] : from) {
    list[i].setName(name);
    fill(list[i++].initConfig(static_cast<unsigned>(config.size())), config);
  }
}

void fill(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& from) {
  for (unsigned i = 0; i < from.size(); ++i) list.set(i, from[i]);
}

bool is_true(std::string_view value) noexcept {
  static constexpr const char* yes[] = {"true", "1", "yes", "on"};
  return std::any_of(std::begin(yes), std::end(yes), [value](const char* word) {
    return value.size() == std::string_view{word}.size() && strncasecmp(value.data(), word, value.size()) == 0;
  });
}

} // namespace troupe
