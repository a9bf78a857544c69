#pragma once

#include <troupe/client.hpp>

#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <vector>

namespace troupe {

/// A connection to what a test names: a socket's path, or "HOST:PORT,SERVER.crt,CLIENT.crt,CLIENT.key".
inline std::unique_ptr<bus_client> connect_to(const std::string& target) {
  std::vector<std::string> parts;
  std::istringstream in{target};
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  if (parts.size() != 4) return std::make_unique<bus_client>(target);
  auto read = [](const std::string& path) {
    std::ifstream file{path};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  };
  return std::make_unique<bus_client>(tls_daemon{parts[0], read(parts[1]), read(parts[2]), read(parts[3])});
}

} // namespace troupe
