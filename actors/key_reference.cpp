#include "actors/key_reference.hpp"

#include "actors/device_options.hpp"
#include "actors/instance_kinds.hpp"

namespace troupe {
namespace {

std::string_view words_of(applies when) {
  switch (when) {
    case applies::at_once:
      return "at once";
    case applies::at_restart:
      return "at the next start";
    case applies::stopped:
      return "while stopped";
    case applies::replug:
      return "by unplugging";
  }
  return {};
}

std::string code(std::string_view text) { return text.empty() ? "" : "`" + std::string{text} + "`"; }

std::string form_of(value_type type, std::string_view choices) {
  if (choices.empty()) return std::string{describe(type)};
  std::string out{choices};
  for (size_t at = 0; (at = out.find(' ', at)) != out.npos; at += 2) out.replace(at, 1, ", ");
  return out;
}

std::string state_of(std::string_view refused) {
  return refused.empty() ? "works" : "refused: " + std::string{refused};
}

std::string tenants(const key_row& row) {
  if (row.tenant_safe) return "yes";
  return row.rule.empty() ? "no" : code(std::string{row.rule} + "=allow");
}

std::string key_line(const key_row& row) {
  auto line = "| " + code(row.key) + " | " + std::string{row.meaning};
  if (auto kind = kind_with(row.key); !kind.empty()) line += " (" + std::string{kind} + " only)";
  line += " | ";
  if (!row.refused.empty()) return line + "| | | | " + state_of(row.refused) + " |\n";
  return line + form_of(row.type, row.choices) + " | " + code(row.fallback) + " | " + std::string{words_of(row.when)} +
         " | " + tenants(row) + " | works |\n";
}

std::string option_line(const device_option& row) {
  auto line = "| " + code(row.option) + " | " + std::string{row.meaning} + " | ";
  if (!row.refused.empty()) return line + "| | | " + state_of(row.refused) + " |\n";
  return line + form_of(row.form, row.choices) + (row.required ? ", required" : "") + " | " + code(row.fallback) +
         " | " + std::string{words_of(row.when)} + " | works |\n";
}

} // namespace

std::string container_key_reference() {
  std::string out =
      "# Configuration of instances\n\n"
      "Written from the tables in `actors/instance_keys.cpp` and `actors/device_table.cpp`; a test compares. Every key "
      "and\n"
      "option that LXD has for containers is here: it works, or it is refused with this reason. "
      "`tests/e2e/keys_test.py`\n"
      "and `syscalls_test.py`, `devices_test.py` and `found_devices_test.py` beside it show the effect of each that "
      "works.\n\n"
      "A change of a running container counts at once, or at its next start; a device is changed in place or taken out "
      "and\n"
      "put in again. What a profile says reaches running containers in the same way.\n\n"
      "## Keys\n\n"
      "| key | meaning | value | default | a change counts | tenants may set it | |\n|---|---|---|---|---|---|---|\n";
  for (auto& row : instance_keys()) out += key_line(row);
  out += "\n## Devices\n\n| device | meaning | tenants need | |\n|---|---|---|---|\n";
  for (auto& kind : device_kinds())
    out += "| " + code(kind.kind) + " | " + std::string{kind.meaning} + " | " +
           (kind.rule.empty() ? "" : code(std::string{kind.rule})) + " | " + state_of(kind.refused) + " |\n";
  for (auto& kind : device_kinds()) {
    if (!kind.refused.empty() || kind.kind == "none") continue;
    out += "\n### " + std::string{kind.kind} +
           "\n\n| option | meaning | value | default | a change counts | |\n|---|---|---|---|---|---|\n";
    for (auto& row : device_options())
      if (has_word(row.kinds, kind.kind)) out += option_line(row);
  }
  return out;
}

} // namespace troupe
