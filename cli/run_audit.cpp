#include "cli/audit/audit.hpp"
#include "cli/audit/waivers.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"

#include <algorithm>
#include <iostream>

namespace troupe {

using nlohmann::json;

namespace {

struct judged {
  const audit::check* of;
  audit::finding what;
  const std::string* waived; // the reason
};

// The gravest first; within a check as it found them.
std::vector<judged> run_checks(const audit::facts& facts, std::vector<audit::waiver>& waivers) {
  std::vector<judged> out;
  for (auto& each : audit::checks())
    for (auto& found : each.look(facts)) {
      auto* reason = audit::find_waiver(waivers, each.id, found.subject);
      out.push_back({&each, std::move(found), reason});
    }
  std::stable_sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.of->how > b.of->how; });
  return out;
}

std::string to_json_text(const std::vector<judged>& all) {
  auto out = json::array();
  for (auto& one : all)
    out.push_back({{"check", one.of->id},
                   {"severity", to_string(one.of->how)},
                   {"subject", one.what.subject},
                   {"finding", one.what.text},
                   {"remedy", one.of->remedy},
                   {"waived", one.waived ? json(*one.waived) : json(nullptr)}});
  return out.dump(2);
}

void print_table(const std::vector<judged>& all, bool waived_too) {
  std::vector<std::vector<std::string>> rows;
  for (auto& one : all)
    if (!one.waived || waived_too)
      rows.push_back({std::string{to_string(one.of->how)}, std::string{one.of->id}, one.what.subject, one.what.text,
                      one.waived ? "Waived: " + *one.waived : std::string{one.of->remedy}});
  std::cout << to_table({"SEVERITY", "CHECK", "SUBJECT", "FINDING", "REMEDY"}, rows);
}

} // namespace

outcome<void> run_audit(const invocation& call) {
  auto& format = call.text("--format");
  if (format != "table" && format != "json") return fail(fault::invalid, "--format must be table or json");
  auto& given = call.text("--waivers");
  auto path = given.empty() ? call.dir + "/audit.waivers" : given;
  auto waivers = audit::load_waivers(path);
  if (!waivers) return tl::unexpected{waivers.error()};
  auto facts = audit::gather(call.dir);
  if (!facts) return tl::unexpected{facts.error()};
  auto found = run_checks(*facts, *waivers);
  if (format == "json")
    std::cout << to_json_text(found) << '\n';
  else
    print_table(found, call.flag("--all"));
  for (auto& one : *waivers)
    if (!one.used)
      std::cerr << "Nothing is waived by \"" << one.check << ' ' << one.subject << "\" in " << path << '\n';
  return {};
}

} // namespace troupe
