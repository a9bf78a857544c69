#include "cli/audit/audit.hpp"
#include "cli/server.hpp"

namespace troupe::audit {

outcome<facts> gather(const std::string& dir) {
  struct question {
    nlohmann::json facts::*into;
    const char* target;
  };
  constexpr question questions[] = {
      {&facts::server, "/1.0"},
      {&facts::certificates, "/1.0/certificates?recursion=1"},
      {&facts::instances, "/1.0/instances?recursion=1&all-projects=true"},
      {&facts::projects, "/1.0/projects?recursion=1"},
      {&facts::sinks, "/1.0/sinks?recursion=1"},
  };
  server daemon{dir};
  facts out;
  out.dir = dir;
  for (auto& one : questions) {
    auto answer = daemon.get(one.target);
    if (!answer) return tl::unexpected{answer.error()};
    out.*one.into = std::move(*answer);
  }
  for (auto& project : out.projects) { // images have no list over all projects; shared ones belong to default
    auto name = project.value("name", "");
    auto own = project.value("config", nlohmann::json::object()).value("features.images", "");
    if (name != "default" && own != "true") continue;
    auto images = daemon.get("/1.0/images?recursion=1&project=" + url_encode(name));
    if (!images) return tl::unexpected{images.error()};
    for (auto& one : *images) out.images.push_back(one);
  }
  return out;
}

} // namespace troupe::audit
