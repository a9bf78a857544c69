#pragma once

#include "actors/records.hpp"
#include "actors/saga.hpp"
#include "messages/error.hpp"

namespace troupe {

/// The image an instance is made from.
struct chosen_image {
  std::string fingerprint;
  config_map properties;             // as the instance's config has them: "image.os"
  std::vector<std::string> profiles; // of an instance that names none
};

/// That an alias, a fingerprint or the unique beginning of one stands for, in the images of `project`; for such
/// instances of this host's architecture.
outcome<chosen_image> choose_image(const snapshot& records, const std::string& project,
                                   schema::InstanceSource::Reader source, schema::InstanceType type);

/// The step that makes an instance's volume from an image, or an empty one where `fingerprint` is empty.
saga_step make_volume_step(schema::InstanceType type, const std::string& pool, const std::string& volume,
                           const std::string& fingerprint, const std::string& size);

/// As images and instances name it.
std::string host_architecture();

} // namespace troupe
