#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

outcome<void> run_info(const invocation& call) {
  auto facts = server{call.dir}.get("/1.0");
  if (!facts) return tl::unexpected{facts.error()};
  std::cout << to_yaml(*facts);
  return {};
}

outcome<void> run_version(const invocation& call) {
  std::cout << "Client version: " TROUPE_VERSION "\n";
  auto facts = server{call.dir}.get("/1.0");
  std::string version = "unreachable";
  if (facts && facts->contains("environment")) version = (*facts)["environment"].value("server_version", "unknown");
  std::cout << "Server version: " << version << "\n";
  return {};
}

} // namespace troupe
