#include "backends/image/bounded_yaml.hpp"

#include <nlohmann/json.hpp>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace troupe {
namespace {

/// Reads the document once without building it: what would grow out of proportion never becomes a tree.
class sizing_handler final : public YAML::EventHandler {
public:
  sizing_handler(const std::string& what, yaml_limits limits) : what_{what}, limits_{limits} {}
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override { count(); }
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override { refuse("uses aliases, which are not accepted"); }
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override { count(); }
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    enter();
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    enter();
  }
  void OnMapEnd() override { --depth_; }

private:
  [[noreturn]] void refuse(const char* why) const { throw yaml_refusal{what_ + " " + why}; }
  void count() {
    if (++nodes_ > limits_.nodes) refuse("has too many values");
  }
  void enter() {
    count();
    if (++depth_ > limits_.nesting) refuse("is nested too deep");
  }

  const std::string& what_;
  yaml_limits limits_;
  size_t nodes_ = 0;
  size_t depth_ = 0;
};

nlohmann::json to_json(const YAML::Node& from, const std::string& what) {
  if (from.IsScalar()) return from.Scalar();
  if (from.IsSequence()) {
    auto out = nlohmann::json::array();
    for (const auto& item : from) out.push_back(to_json(item, what));
    return out;
  }
  if (!from.IsMap()) return nullptr;
  auto out = nlohmann::json::object();
  for (const auto& item : from) {
    if (!item.first.IsScalar()) throw yaml_refusal{what + " has a key that is no plain value"};
    auto& key = item.first.Scalar();
    if (out.contains(key)) throw yaml_refusal{what + " says \"" + key.substr(0, 100) + "\" twice"};
    out[key] = to_json(item.second, what);
  }
  return out;
}

void emit(YAML::Emitter& to, const nlohmann::json& from) {
  if (from.is_object()) {
    to << YAML::BeginMap;
    for (auto& [key, value] : from.items()) {
      to << YAML::Key << key << YAML::Value;
      emit(to, value);
    }
    to << YAML::EndMap;
  } else if (from.is_array()) {
    to << YAML::BeginSeq;
    for (auto& item : from) emit(to, item);
    to << YAML::EndSeq;
  } else if (from.is_string()) {
    to << YAML::DoubleQuoted << from.get<std::string>();
  } else {
    to << from.dump();
  }
}

} // namespace

YAML::Node load_bounded(std::string_view yaml, const std::string& what, yaml_limits limits) {
  if (yaml.size() > limits.bytes) throw yaml_refusal{what + " is too large"};
  std::string text{yaml};
  std::istringstream stream{text};
  YAML::Parser parser{stream};
  sizing_handler sizes{what, limits};
  parser.HandleNextDocument(sizes);
  return YAML::Load(text);
}

outcome<nlohmann::json> json_of_yaml(std::string_view yaml, const std::string& what, yaml_limits limits) {
  try {
    return to_json(load_bounded(yaml, what, limits), what);
  } catch (const yaml_refusal& e) {
    return fail(fault::invalid, e.what());
  } catch (const YAML::Exception& e) {
    return fail(fault::invalid, what + " is no valid YAML: " + e.what());
  }
}

std::string yaml_of_json(const nlohmann::json& from) {
  YAML::Emitter out;
  emit(out, from);
  return std::string{out.c_str(), out.size()} + "\n";
}

} // namespace troupe
