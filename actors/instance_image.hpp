#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

namespace troupe {

/// The image an instance is made from.
struct chosen_image {
  std::string fingerprint;
  config_map properties;             // as the instance's config has them: "image.os"
  std::vector<std::string> profiles; // of an instance that names none
};

/// That an alias, a fingerprint or the unique beginning of one stands for, in the images of `project`; for containers
/// of this host's architecture.
outcome<chosen_image> choose_image(const snapshot& records, const std::string& project,
                                   schema::InstanceSource::Reader source);

/// As images and instances name it.
std::string host_architecture();

} // namespace troupe
