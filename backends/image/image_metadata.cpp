#include "backends/image/bounded_yaml.hpp"
#include "backends/image/image_store.hpp"
#include "backends/image/unpack_rules.hpp"

#include <algorithm>
#include <yaml-cpp/yaml.h>

namespace troupe {
namespace {

[[noreturn]] void refuse(const std::string& sentence) { throw yaml_refusal{sentence}; }

/// A value may have lines and tabs, but no other control characters.
std::string scalar(const YAML::Node& node, const std::string& name) {
  if (node.IsNull()) return {};
  if (!node.IsScalar()) refuse("\"" + name + "\" in the image's metadata.yaml must be a plain value");
  const auto& text = node.Scalar();
  if (std::any_of(text.begin(), text.end(),
                  [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }))
    refuse("\"" + name + "\" in the image's metadata.yaml has control characters");
  return text;
}

std::string one_line(const YAML::Node& node, const std::string& name) {
  auto text = scalar(node, name);
  if (text.find_first_of("\n\t") != text.npos)
    refuse("\"" + name + "\" in the image's metadata.yaml has control characters");
  return text;
}

int64_t seconds(const YAML::Node& node, const std::string& name) {
  int64_t out = 0;
  if (!node.IsScalar() || !YAML::convert<int64_t>::decode(node, out) || out < 0)
    refuse("\"" + name + "\" in the image's metadata.yaml must be a time in seconds");
  return out;
}

bool flag(const YAML::Node& node, const std::string& name) {
  bool out = false;
  if (node.IsNull()) return false;
  if (!node.IsScalar() || !YAML::convert<bool>::decode(node, out))
    refuse("\"" + name + "\" in the image's metadata.yaml must be true or false");
  return out;
}

config_map strings(const YAML::Node& node, const std::string& name) {
  config_map out;
  if (!node || node.IsNull()) return out;
  if (!node.IsMap()) refuse("\"" + name + "\" in the image's metadata.yaml must be a map");
  for (const auto& item : node) {
    auto key = one_line(item.first, name);
    out[key] = scalar(item.second, name + "." + key);
  }
  return out;
}

struct template_row {
  std::string path, file;
  std::vector<std::string> when;
  bool create_only = false;
  config_map properties;
};

/// A plain relative path below templates/.
void check_template_file(const std::string& path, const std::string& file) {
  const auto bounded = "/" + file + "/";
  if (file.empty() || file.front() == '/' || bounded.find("/../") != bounded.npos)
    refuse("The template of \"" + path + "\" in the image's metadata.yaml must be a file below templates");
}

template_row read_template(const std::string& path, const YAML::Node& node) {
  template_row out;
  const auto bounded = path + "/";
  if (path.empty() || path.front() != '/' || bounded.find("/../") != bounded.npos)
    refuse("The template target \"" + path + "\" in the image's metadata.yaml must be an absolute path");
  if (!node.IsMap()) refuse("The template of \"" + path + "\" in the image's metadata.yaml must be a map");
  out.path = path;
  out.file = one_line(node["template"] ? node["template"] : YAML::Node{}, "template");
  check_template_file(path, out.file);
  if (auto when = node["when"]; when && !when.IsNull()) {
    if (!when.IsSequence()) refuse("\"when\" in the image's metadata.yaml must be a list");
    for (const auto& item : when) out.when.push_back(one_line(item, "when"));
  }
  if (auto only = node["create_only"]) out.create_only = flag(only, "create_only");
  out.properties = strings(node["properties"], "properties");
  return out;
}

std::vector<template_row> read_templates(const YAML::Node& node) {
  std::vector<template_row> out;
  if (!node || node.IsNull()) return out;
  if (!node.IsMap()) refuse("\"templates\" in the image's metadata.yaml must be a map");
  for (const auto& item : node) out.push_back(read_template(one_line(item.first, "templates"), item.second));
  return out;
}

std::string read_architecture(const YAML::Node& root) {
  auto node = root["architecture"];
  auto out = node ? one_line(node, "architecture") : std::string{};
  if (out.empty()) refuse("The image's metadata.yaml names no architecture");
  return out;
}

message<schema::ImageMetadata> convert(const YAML::Node& root) {
  if (!root.IsMap()) refuse("The image's metadata.yaml is no map");
  const auto architecture = read_architecture(root);
  if (!root["creation_date"]) refuse("The image's metadata.yaml has no creation_date");
  const auto created = seconds(root["creation_date"], "creation_date");
  const auto expires =
      root["expiry_date"] && !root["expiry_date"].IsNull() ? seconds(root["expiry_date"], "expiry_date") : 0;
  const auto properties = strings(root["properties"], "properties");
  const auto templates = read_templates(root["templates"]);
  return message<schema::ImageMetadata>::make([&](schema::ImageMetadata::Builder out) {
    out.setArchitecture(architecture);
    out.setCreationDate(created);
    out.setExpiryDate(expires);
    fill(out.initProperties(static_cast<unsigned>(properties.size())), properties);
    auto list = out.initTemplates(static_cast<unsigned>(templates.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      const auto& from = templates[i];
      list[i].setPath(from.path);
      auto to = list[i].initTemplate();
      fill(to.initWhen(static_cast<unsigned>(from.when.size())), from.when);
      to.setCreateOnly(from.create_only);
      to.setTemplate(from.file);
      fill(to.initProperties(static_cast<unsigned>(from.properties.size())), from.properties);
    }
  });
}

} // namespace

outcome<message<schema::ImageMetadata>> parse_metadata(std::string_view yaml) {
  if (yaml.size() > metadata_size_max) return fail(fault::too_large, "The image's metadata.yaml is larger than 1 MiB");
  try {
    return convert(load_bounded(yaml, "The image's metadata.yaml"));
  } catch (const yaml_refusal& e) {
    return fail(fault::invalid, e.what());
  } catch (const YAML::Exception& e) {
    return fail(fault::invalid, std::string{"The image's metadata.yaml is no valid YAML: "} + e.what());
  }
}

} // namespace troupe
