#include "cli/output.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

namespace troupe {

using nlohmann::json;

namespace {

/// True for text that YAML would read back as something else than text.
bool needs_quotes(const std::string& text) {
  static const char* words[] = {"true", "false", "yes", "no", "on", "off", "null", "~", "y", "n"};
  auto lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (text.empty() || std::find(std::begin(words), std::end(words), lower) != std::end(words)) return true;
  return text.find_first_not_of("0123456789+-.eExX_:") == std::string::npos;
}

void emit(YAML::Emitter& out, const json& value) {
  if (value.is_object()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginMap;
    for (auto& [key, member] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      emit(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (auto& member : value) emit(out, member);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    auto& text = value.get_ref<const std::string&>();
    if (text.find('\n') != std::string::npos)
      out << YAML::Literal << text;
    else if (needs_quotes(text))
      out << YAML::DoubleQuoted << text;
    else
      out << text;
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    out << value.dump();
  }
}

size_t width_of(const std::string& text) { // characters, not bytes
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

} // namespace

std::string to_yaml(const json& value) {
  YAML::Emitter out;
  emit(out, value);
  return std::string{out.c_str()} + "\n";
}

std::string to_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  widths.reserve(head.size());
  for (auto& cell : head) widths.push_back(width_of(cell));
  for (auto& row : rows)
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string rule = "+", out;
  for (auto width : widths) rule += std::string(width + 2, '-') + "+";
  rule += "\n";
  auto line = [&](const std::vector<std::string>& cells) {
    out += "|";
    for (size_t i = 0; i < widths.size(); ++i)
      out += " " + cells[i] + std::string(widths[i] - width_of(cells[i]) + 1, ' ') + "|";
    out += "\n";
  };
  out = rule;
  line(head);
  out += rule;
  for (auto& row : rows) line(row), out += rule;
  return out;
}

} // namespace troupe
