#pragma once

#include "actors/images.hpp"

namespace troupe {

/// An instance or a snapshot becomes an image. To the images actor, whose project is `head`'s. -> operation_record
struct publish_image {
  std::shared_ptr<const header> head;
  std::string project;                  // of the instance
  std::string instance, snapshot;       // no snapshot: the instance itself, which must be down
  std::optional<config_map> properties; // none: those that its image had
  bool is_public = false;
  int64_t expires_at = 0;
  std::string filename, compression;
  std::vector<std::string> profiles;
  std::vector<image_alias> aliases;
};

/// From the body of POST /1.0/images; fault::unsupported for sources that are no instance.
outcome<publish_image> publication_of(schema::ImagesPost::Reader post, std::shared_ptr<const header> head,
                                      std::string project);

/// A saga that packs a copy of the volume and stores it; `into` is what its step "image.store" number `upload` takes.
outcome<std::shared_ptr<saga>> plan_publish(services& with, const publish_image& request, const std::string& upload,
                                            import_image& into);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::publish_image)
