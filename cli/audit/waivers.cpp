#include "cli/audit/waivers.hpp"

#include "cli/audit/audit.hpp"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <sys/stat.h>

namespace troupe::audit {
namespace {

outcome<waiver> parse(const std::string& line, const std::string& where) {
  waiver out;
  std::istringstream in{line};
  in >> out.check >> std::quoted(out.subject) >> std::ws;
  std::getline(in, out.reason);
  if (out.reason.empty()) return fail(fault::invalid, where + ": a waiver is CHECK SUBJECT REASON");
  auto known = checks();
  if (std::none_of(known.begin(), known.end(), [&](auto& each) { return each.id == out.check; }))
    return fail(fault::invalid, where + ": there is no check \"" + out.check + '"');
  return out;
}

} // namespace

outcome<std::vector<waiver>> load_waivers(const std::string& path) {
  std::vector<waiver> out;
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return out;
  if (found.st_mode & 022) return fail(fault::forbidden, path + " can be written to by others than its owner");
  std::ifstream in{path};
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    auto first = line.find_first_not_of(" \t");
    if (first == line.npos || line[first] == '#') continue;
    auto one = parse(line, path + ":" + std::to_string(number));
    if (!one) return tl::unexpected{one.error()};
    out.push_back(std::move(*one));
  }
  return out;
}

const std::string* find_waiver(std::vector<waiver>& all, std::string_view check, std::string_view subject) {
  for (auto& one : all)
    if (one.check == check && (one.subject == "*" || one.subject == subject)) {
      one.used = true;
      return &one.reason;
    }
  return nullptr;
}

} // namespace troupe::audit
