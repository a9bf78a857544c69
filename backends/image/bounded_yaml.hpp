#pragma once

#include "messages/error.hpp"

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace YAML {
class Node;
}

namespace troupe {

/// How much of a document of a stranger's is read. Aliases, by which a short text becomes a long one, never are.
struct yaml_limits {
  size_t bytes = 1 << 20;
  size_t nodes = 20'000;
  size_t nesting = 16;
};

/// Why a document is refused; its text is a sentence for a person.
struct yaml_refusal : std::runtime_error {
  using runtime_error::runtime_error;
};

/// Throws yaml_refusal, or YAML::Exception. `what` begins the sentences: "The image's metadata.yaml".
YAML::Node load_bounded(std::string_view yaml, const std::string& what, yaml_limits limits = {});

/// The same as JSON: objects, arrays, null, and every other value as a string, as it is written. A key twice is
/// refused.
outcome<nlohmann::json> json_of_yaml(std::string_view yaml, const std::string& what, yaml_limits limits = {});

/// A block of YAML that says the same; strings are quoted, so that none looks like something else.
std::string yaml_of_json(const nlohmann::json& from);

} // namespace troupe
