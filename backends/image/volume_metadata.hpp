#pragma once

#include "backends/instance/root_mount.hpp"
#include "messages/error.hpp"
#include "messages/image.capnp.h"
#include "messages/message.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// What lies beside the root file system in an instance's volume: metadata.yaml and templates/, as the image brought
/// them and as they were edited since. They come from an image: nothing in them may lead out of the volume.
/// Paths are opened anew by every call; a change is complete or not there. Every call blocks.
class volume_metadata {
public:
  using metadata = message<schema::ImageMetadata>;

  static constexpr size_t template_bytes_max = 1 << 20;

  static outcome<volume_metadata> open(const root_mount& root);

  /// fault::not_found: there is none (an empty instance).
  outcome<metadata> read() const;
  /// `expected`: what the caller has read; fault::precondition if there is something else now. Null: whatever is there.
  outcome<void> replace(const metadata& with, const metadata* expected);

  /// Names of the templates, sorted.
  outcome<std::vector<std::string>> templates() const;
  /// `name` as metadata.yaml has it: a relative path below templates/; fault::invalid: it leads out of there.
  outcome<std::string> read_template(const std::string& name) const;
  /// A new one or another content of an old one; checked before anything changes.
  outcome<void> write_template(const std::string& name, std::string_view content);
  outcome<void> remove_template(const std::string& name);

private:
  outcome<std::string> read_file(const std::string& folder, const std::string& path) const; // nothing outside of it
  outcome<unique_fd> own_templates();
  int top() const { return layers_.front().get(); }

  std::vector<unique_fd> layers_; // one directory, or what the instance wrote and below it what the image holds
};

} // namespace troupe
