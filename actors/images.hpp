#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"

namespace troupe {

struct image_alias {
  std::string name, description;
};

/// An upload that the gateway has spooled.
struct import_image { // -> operation_record
  std::shared_ptr<const header> head;
  std::shared_ptr<image_upload> upload;
  bool is_public = false;
  config_map properties;
  std::string expected_fingerprint; // from the client, empty: any
  std::vector<std::string> profiles;
  std::vector<image_alias> aliases;
  /// Makes the file (of `upload`) and says what it is, on a blocking thread; null: it came in and is looked at.
  std::function<outcome<image_facts>(const progress_sink&, const cancel_token*)> make = {};
};
struct delete_image { // -> operation_record
  std::shared_ptr<const header> head;
  std::string fingerprint; // or its unique beginning
};
struct update_image { // -> operation_record
  std::string fingerprint;
  envelope<schema::ImagePut> request;
  std::string etag;
  bool patch = false;
  std::vector<std::string> given;
};
struct change_alias { // -> operation_record
  enum class verb : uint8_t { create, update, rename, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, target, description, new_name;
  bool keep_target = false, keep_description = false; // PATCH
  std::string etag;
};

/// The full fingerprint of a unique beginning, among a project's images. Images and aliases are recorded under
/// PROJECT/…, the project being home_of(…, feature::images): who asks here has put it into the header.
outcome<std::string> full_fingerprint(const snapshot& records, std::string_view project, std::string_view beginning);

/// The IMAGES actor: image records, aliases and the files behind them.
caf::behavior images(caf::event_based_actor* self, services& with);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::import_image)
TROUPE_LOCAL_MESSAGE(troupe::delete_image)
TROUPE_LOCAL_MESSAGE(troupe::update_image)
TROUPE_LOCAL_MESSAGE(troupe::change_alias)
