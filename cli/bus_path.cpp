#include "cli/bus_path.hpp"

#include <cctype>

namespace troupe {

outcome<std::vector<bus_step>> parse_bus_path(const std::string& path) {
  std::vector<bus_step> out;
  size_t at = 0;
  while (at <= path.size()) {
    bus_step step;
    while (at < path.size() && std::isalnum(static_cast<unsigned char>(path[at]))) step.method += path[at++];
    if (step.method.empty()) return fail(fault::invalid, "A method's name is missing in \"" + path + "\"");
    if (at < path.size() && path[at] == '(') {
      auto end = path.find(')', at);
      if (end == path.npos) return fail(fault::invalid, "A bracket is not closed in \"" + path + "\"");
      for (auto from = at + 1; from < end;) {
        auto comma = std::min(path.find(',', from), end);
        step.words.push_back(path.substr(from, comma - from));
        from = comma + 1;
      }
      at = end + 1;
    }
    out.push_back(std::move(step));
    if (at == path.size()) return out;
    if (path[at] != '.') return fail(fault::invalid, "There must be a dot between methods in \"" + path + "\"");
    ++at;
  }
  return out;
}

} // namespace troupe
